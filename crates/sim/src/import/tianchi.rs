//! The 2018 Tianchi contest in scheduling, online part: apps with curves over a day, a first placement, rules.
//!
//! ```text
//!   app_resources:      app,cpu|cpu|...,memory|memory|...,disk,P,M,PM
//!   machine_resources:  machine,cpu,memory,disk,P,M,PM
//!   instance_deploy:    instance,app,[machine]
//!   app_interference:   app A,app B,k: at most k of B beside A; where both are the same, k + 1 of it
//! ```
//!
//! No file has a line of names. Each is read as `NAME.csv` or, packed, as `NAME.csv.xz`.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sigma::optimise::{App, AppId, Item, ItemId, Machine, MachineId, Parts, Placement, Problem, Rule, Tie};

use super::ImportError;
use super::table::{Row, Table};

const CURVE: &str = "numbers, 0 or more, with `|` between them, as many as in every other curve,";
const AMOUNT: &str = "a number, 0 or more,";
const WHOLE: &str = "a whole number, 0 or more,";

/// Everything but CPU and memory.
pub const COUNTS: [&str; 4] = ["disk", "P", "M", "PM"];

/// The contest's input in the optimiser's words.
#[derive(Clone, Debug)]
pub struct Tianchi {
    pub problem: Problem,
    /// Where the input has the instances already.
    pub placement: Placement,
    /// Names of the problem's machines.
    pub machines: Vec<String>,
    /// Names of the problem's items.
    pub instances: Vec<String>,
    /// Names of the problem's apps.
    pub apps: Vec<String>,
}

impl Tianchi {
    /// The name of a machine.
    pub fn machine(&self, machine: &MachineId) -> &str {
        &self.machines[machine.at()]
    }

    /// The name of an app.
    pub fn app(&self, app: AppId) -> &str {
        &self.apps[app.at()]
    }

    /// The name of an instance.
    pub fn instance(&self, item: ItemId) -> &str {
        &self.instances[item.at()]
    }
}

/// Reads the four files of `folder`.
pub fn read(folder: &Path) -> Result<Tianchi, ImportError> {
    let (machines, machine_offers) = machines(folder)?;
    let (apps, app_needs) = apps(folder)?;
    let points = app_needs.first().map_or(0, |app| app.cpu.len());
    let rules = rules(folder, &apps)?;
    let table = table(folder, "instance_deploy", &["instance", "app", "machine"])?;
    let mut instances = Names::default();
    let (mut items, mut placement) = (Vec::new(), Placement::new());
    for row in table.rows() {
        instances.add(row, "instance")?;
        items.push(Item { app: AppId(apps.find(row, "app")?), tie: Tie::Free });
        let machine = match row.text("machine") {
            "" => None,
            _ => Some(MachineId(machines.find(row, "machine")?)),
        };
        placement.push(machine);
    }
    let parts = Parts { points, machines: machine_offers, apps: app_needs, items, rules };
    let problem = Problem::try_new(parts).expect("every row was checked as it was read");
    Ok(Tianchi {
        problem,
        placement,
        machines: machines.in_order,
        instances: instances.in_order,
        apps: apps.in_order,
    })
}

fn machines(folder: &Path) -> Result<(Names, Vec<Machine>), ImportError> {
    let table = table(folder, "machine_resources", &["machine", "cpu", "memory", "disk", "P", "M", "PM"])?;
    let mut names = Names::default();
    let mut machines = Vec::new();
    for row in table.rows() {
        names.add(row, "machine")?;
        machines.push(Machine {
            cpu: amount(row, "cpu")?,
            memory: amount(row, "memory")?,
            counts: counts(row)?,
        });
    }
    Ok((names, machines))
}

fn apps(folder: &Path) -> Result<(Names, Vec<App>), ImportError> {
    let table = table(folder, "app_resources", &["app", "cpu", "memory", "disk", "P", "M", "PM"])?;
    let mut names = Names::default();
    let mut apps: Vec<App> = Vec::new();
    for row in table.rows() {
        names.add(row, "app")?;
        let points = apps.first().map(|app| app.cpu.len());
        let cpu = curve(row, "cpu", points)?;
        let memory = curve(row, "memory", Some(cpu.len()))?;
        apps.push(App { cpu, memory, counts: counts(row)?, machines: None });
    }
    Ok((names, apps))
}

fn rules(folder: &Path, apps: &Names) -> Result<Vec<Rule>, ImportError> {
    let table = table(folder, "app_interference", &["beside", "app", "at most"])?;
    let rule = |row: Row<'_>| -> Result<Rule, ImportError> {
        let (beside, app) = (AppId(apps.find(row, "beside")?), AppId(apps.find(row, "app")?));
        Ok(Rule { beside, app, at_most: row.value("at most", WHOLE)? })
    };
    table.rows().map(rule).collect()
}

fn table(folder: &Path, name: &str, columns: &[&'static str]) -> Result<Table, ImportError> {
    let plain: PathBuf = folder.join(name).with_extension("csv");
    let packed = folder.join(name).with_extension("csv.xz");
    Table::without_header(if plain.exists() || !packed.exists() { &plain } else { &packed }, columns)
}

fn amount(row: Row<'_>, column: &str) -> Result<f64, ImportError> {
    let amount: f64 = row.value(column, AMOUNT)?;
    if amount.is_finite() && amount >= 0.0 { Ok(amount) } else { Err(row.fault(column, AMOUNT)) }
}

fn curve(row: Row<'_>, column: &str, points: Option<usize>) -> Result<Vec<f64>, ImportError> {
    let curve: Result<Vec<f64>, _> = row.text(column).split('|').map(str::parse).collect();
    let sound = |curve: &Vec<f64>| {
        let in_range = curve.iter().all(|value| value.is_finite() && *value >= 0.0);
        in_range && points.is_none_or(|points| points == curve.len())
    };
    curve.ok().filter(sound).ok_or_else(|| row.fault(column, CURVE))
}

/// Disks are written as `60` or as `60.000000`.
fn counts(row: Row<'_>) -> Result<Vec<u64>, ImportError> {
    let whole = |column: &&str| {
        let text = row.text(column);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let number = whole.parse::<u64>().ok().filter(|_| fraction.bytes().all(|digit| digit == b'0'));
        number.ok_or_else(|| row.fault(column, WHOLE))
    };
    COUNTS.iter().map(whole).collect()
}

/// Names, each once, and the place of each.
#[derive(Debug, Default)]
struct Names {
    in_order: Vec<String>,
    places: BTreeMap<String, u32>,
}

impl Names {
    fn add(&mut self, row: Row<'_>, column: &str) -> Result<(), ImportError> {
        let name = row.text(column);
        if name.is_empty() {
            return Err(row.fault(column, "a name"));
        }
        let place = u32::try_from(self.in_order.len())
            .map_err(|_| row.fault(column, "an earlier end of the file"))?;
        if self.places.insert(name.to_owned(), place).is_some() {
            return Err(row.repeated(name));
        }
        self.in_order.push(name.to_owned());
        Ok(())
    }

    fn find(&self, row: Row<'_>, column: &str) -> Result<u32, ImportError> {
        self.places
            .get(row.text(column))
            .copied()
            .ok_or_else(|| row.fault(column, "a name from the file of those"))
    }
}

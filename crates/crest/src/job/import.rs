//! `crest job import`: a table of tasks as Alibaba publishes its traces, where a task's name says what it waits for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use model::dagjob::import::{TaskName, depends_on, task_columns};
use model::dagjob::{DagJob, DagJobSpec, Quantity, Task, TaskResources};

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// CSV with a header that names at least `task_name` and `instances`; `job`, `plan_cpu` (100 is one core) and
    /// `duration_s` are read where they are there. Without a header: Alibaba's `batch_task` of 2018 (nine columns), or
    /// arrival, job, task, seconds, CPU, memory and instances (seven)
    table: PathBuf,
    /// Only the tasks of this job
    #[arg(long)]
    job: Option<String>,
    /// The image that the instances run in
    #[arg(long, default_value = "busybox:latest")]
    image: String,
    /// The command of every instance; by default it sleeps as long as the table says
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) fn import(options: &ImportOptions) -> anyhow::Result<()> {
    let path = &options.table;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let rows = rows(&text, options.job.as_deref()).with_context(|| format!("`{}`", path.display()))?;
    anyhow::ensure!(!rows.is_empty(), "`{}` has no such tasks", path.display());
    let job = job(&rows, options)?;
    println!("{}", serde_yaml_ng::to_string(&job)?.trim_end());
    Ok(())
}

/// One task of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    job: String,
    name: String,
    instances: u32,
    /// Hundredths of a core.
    cpu: Option<f64>,
    seconds: Option<f64>,
}

fn rows(text: &str, only: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let first: Vec<&str> = lines.peek().context("it is empty")?.1.split(',').map(str::trim).collect();
    let (names, has_header) = task_columns(&first);
    lines.next_if(|_| has_header);
    let columns: BTreeMap<&str, usize> =
        names.into_iter().enumerate().map(|(index, name)| (name, index)).collect();
    for needed in ["task_name", "instances"] {
        anyhow::ensure!(columns.contains_key(needed), "its header has no column `{needed}`");
    }
    let mut rows = Vec::new();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let cell = |name: &str| columns.get(name).and_then(|index| cells.get(*index)).copied();
        let job = cell("job").unwrap_or_default();
        if only.is_some_and(|only| only != job) {
            continue;
        }
        let instances = cell("instances").unwrap_or_default();
        let instances =
            instances.parse().with_context(|| format!("line {}: `{instances}` instances", number + 1))?;
        let number_of = |name: &str| cell(name).and_then(|text| text.parse::<f64>().ok());
        let ran = || Some(number_of("end_time")? - number_of("start_time")?);
        let (cpu, seconds) = (number_of("plan_cpu"), number_of("duration_s").or_else(ran));
        let name = cell("task_name").unwrap_or_default().to_owned();
        rows.push(Row { job: job.to_owned(), name, instances, cpu, seconds });
    }
    Ok(rows)
}

fn job(rows: &[Row], options: &ImportOptions) -> anyhow::Result<DagJob> {
    let first = &rows[0].job;
    anyhow::ensure!(
        rows.iter().all(|row| row.job == *first),
        "it holds the tasks of several jobs: choose one by --job, `{first}` for example"
    );
    let names: Vec<TaskName> = rows.iter().map(|row| TaskName::parse(&row.name)).collect();
    let tasks = rows.iter().zip(&names).map(|(row, name)| -> anyhow::Result<Task> {
        let depends_on = depends_on(name, &names).with_context(|| format!("task `{}`", row.name))?;
        let seconds = row.seconds.unwrap_or(1.0).max(0.0);
        let sleep = || vec!["sleep".to_owned(), seconds.to_string()];
        let cpu = row.cpu.filter(|cpu| *cpu > 0.0).map(|cpu| format!("{}m", (cpu * 10.0).round().max(1.0)));
        Ok(Task {
            name: name.label(),
            depends_on,
            instances: row.instances.max(1),
            image: options.image.clone(),
            command: if options.command.is_empty() { sleep() } else { options.command.clone() },
            resources: TaskResources {
                cpu: Quantity(cpu.unwrap_or_else(|| "1".to_owned())),
                ..TaskResources::default()
            },
            max_attempts: 3,
            ..Task::default()
        })
    });
    let spec = DagJobSpec { tasks: tasks.collect::<anyhow::Result<_>>()?, ..DagJobSpec::default() };
    let name = if first.is_empty() { "imported".to_owned() } else { first.to_lowercase().replace('_', "-") };
    Ok(DagJob::new(&name, spec))
}

#[cfg(test)]
mod tests {
    use super::{ImportOptions, job, rows};

    fn options() -> ImportOptions {
        ImportOptions { table: "t".into(), job: None, image: "i".to_owned(), command: Vec::new() }
    }

    #[test]
    fn a_table_becomes_a_job() {
        let table =
            "job,task_name,duration_s,plan_cpu,instances\nj_1,M1,14,100,3\nj_1,R2_1,2,50,1\nj_2,M1,1,1,1\n";
        let imported = job(&rows(table, Some("j_1")).unwrap(), &options()).unwrap();
        assert_eq!(imported.metadata.name.as_deref(), Some("j-1"));
        let [map, reduce] = imported.spec.tasks.as_slice() else { panic!("{imported:?}") };
        assert_eq!((map.name.as_str(), map.instances, map.resources.cpu.0.as_str()), ("m1", 3, "1000m"));
        assert_eq!(
            (reduce.depends_on.clone(), reduce.command.clone()),
            (vec!["m1".to_owned()], vec!["sleep".to_owned(), "2".to_owned()])
        );
        assert_eq!(model::dagjob::check::faults(&imported.spec), []);
    }

    #[test]
    fn tables_without_a_header_are_known_by_their_columns() {
        let excerpt = "1,j_7,M1,11,50.0,0.39,1\n1,j_7,R2_1,9,50.0,0.39,4\n2,j_8,M1,1,1,1,1\n";
        let whole = "M1,1,j_7,1,Terminated,100,111,50,0.39\nR2_1,4,j_7,1,Terminated,200,209,50,0.39\n";
        let of = |table: &str| job(&rows(table, Some("j_7")).unwrap(), &options()).unwrap();
        assert_eq!(of(excerpt), of(whole));
        assert_eq!(of(whole).spec.tasks[1].depends_on, ["m1"]);
        assert_eq!(of(whole).spec.tasks[0].command, ["sleep", "11"]);
    }

    #[test]
    fn a_wrong_table_is_told_where() {
        let check = |table: &str, expected: &str| {
            let read = rows(table, None).and_then(|rows| job(&rows, &options()));
            let said = format!("{:#}", read.unwrap_err());
            assert!(said.contains(expected), "{said}");
        };
        check("", "empty");
        check("a,b\n", "no column `task_name`");
        check("task_name,instances\nM1,x\n", "line 2: `x` instances");
        check("task_name,instances\nR2_1,1\n", "task `R2_1`");
        check("job,task_name,instances\na,M1,1\nb,M1,1\n", "several jobs");
    }
}

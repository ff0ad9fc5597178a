//! What is to be placed: machines, apps whose use is a curve over the day, rules between apps, items.
//!
//! Plain tables of numbers. Names, labels and API objects stay with whoever asks: a machine that an app may not go to
//! is a fact here, why it may not is not.

/// A machine's place in [`Parts::machines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineId(pub u32);

/// An app's place in [`Parts::apps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub u32);

/// An item's place in [`Parts::items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u32);

impl MachineId {
    /// As an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl AppId {
    /// As an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

impl ItemId {
    /// As an index.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// What a machine offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Cores.
    pub cpu: f64,
    /// In any unit, the same for all.
    pub memory: f64,
    /// Whatever is counted in whole numbers: disk, devices, Pods. The same meaning at the same place everywhere.
    pub counts: Vec<u64>,
}

/// What one instance of an app needs, and where it may go.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Cores at each point in time.
    pub cpu: Vec<f64>,
    /// Memory at each point in time.
    pub memory: Vec<f64>,
    /// As in [`Machine::counts`].
    pub counts: Vec<u64>,
    /// The only machines that it may use; `None`: all.
    pub machines: Option<Vec<MachineId>>,
}

/// Beside one instance of `beside`, a machine holds at most so many of `app`. Where both are the same app, an instance
/// does not count itself: `at_most` of 0 means one instance per machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose presence limits.
    pub beside: AppId,
    /// Who is limited.
    pub app: AppId,
    /// How many of `app`.
    pub at_most: u32,
}

/// One instance of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its app.
    pub app: AppId,
    /// What holds it where it is.
    pub tie: Tie,
}

/// What holds an item where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Nothing: it may move.
    Free,
    /// It stays, and its machine is in use.
    Pinned,
    /// It belongs to its machine, as a daemon does: it stays, but a machine that holds nothing else is not in use.
    Resident,
}

/// Where each item is; `None` for what has no place.
pub type Placement = Vec<Option<MachineId>>;

/// A problem as its asker knows it; [`Problem::try_new`] checks it.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Points in time of every curve.
    pub points: usize,
    /// Machines.
    pub machines: Vec<Machine>,
    /// Apps.
    pub apps: Vec<App>,
    /// Items.
    pub items: Vec<Item>,
    /// Rules between apps. Of two for the same pair the narrower counts.
    pub rules: Vec<Rule>,
}

/// A checked problem: every reference leads somewhere, every curve has all points, every number is finite and not
/// below zero.
#[derive(Clone, Debug)]
pub struct Problem {
    parts: Parts,
}

/// What is wrong with a problem's parts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    #[error("a curve needs one point in time at least")]
    NoPoints,
    #[error("machine {0:?} has an amount below zero or no number, or counts other things than the first one")]
    Machine(MachineId),
    #[error(
        "app {0:?} has a curve with too few points or no numbers, counts other things, or names an unknown machine"
    )]
    App(AppId),
    #[error("item {0:?} is of an unknown app")]
    Item(ItemId),
    #[error("the rule at {0} names an unknown app")]
    Rule(usize),
}

impl Problem {
    /// Checks `parts`.
    pub fn try_new(parts: Parts) -> Result<Self, ProblemError> {
        if parts.points == 0 {
            return Err(ProblemError::NoPoints);
        }
        let counts = parts.machines.first().map_or(0, |machine| machine.counts.len());
        for (machine, id) in parts.machines.iter().zip(0..) {
            if !sound(&[machine.cpu, machine.memory]) || machine.counts.len() != counts {
                return Err(ProblemError::Machine(MachineId(id)));
            }
        }
        for (app, id) in parts.apps.iter().zip(0..) {
            let curves = [&app.cpu, &app.memory];
            let whole = curves.iter().all(|curve| curve.len() == parts.points && sound(curve));
            let known = app.machines.iter().flatten().all(|machine| machine.at() < parts.machines.len());
            if !whole || !known || (app.counts.len() != counts && !parts.machines.is_empty()) {
                return Err(ProblemError::App(AppId(id)));
            }
        }
        let known = |app: AppId| app.at() < parts.apps.len();
        if let Some((_, id)) = parts.items.iter().zip(0..).find(|(item, _)| !known(item.app)) {
            return Err(ProblemError::Item(ItemId(id)));
        }
        match parts.rules.iter().position(|rule| !known(rule.app) || !known(rule.beside)) {
            Some(place) => Err(ProblemError::Rule(place)),
            None => Ok(Self { parts }),
        }
    }

    /// Points in time of every curve.
    pub fn points(&self) -> usize {
        self.parts.points
    }

    /// All machines.
    pub fn machines(&self) -> &[Machine] {
        &self.parts.machines
    }

    /// All apps.
    pub fn apps(&self) -> &[App] {
        &self.parts.apps
    }

    /// All items.
    pub fn items(&self) -> &[Item] {
        &self.parts.items
    }

    /// All rules.
    pub fn rules(&self) -> &[Rule] {
        &self.parts.rules
    }

    /// The app of `item`.
    pub fn app(&self, item: ItemId) -> &App {
        &self.parts.apps[self.parts.items[item.at()].app.at()]
    }
}

fn sound(numbers: &[f64]) -> bool {
    numbers.iter().all(|number| number.is_finite() && *number >= 0.0)
}

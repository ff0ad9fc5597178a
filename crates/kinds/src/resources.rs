//! What a Pod asks for: sums over its containers, as schedulers, limit ranges and quotas reckon them.

use std::collections::BTreeMap;

use model::Quantity;
use serde_json::Value;

/// Resources of which a thing is one: core kinds, and kinds of Services. They limit namespaces, not containers.
pub(crate) const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// An amount of some resource, in thousandths, with the notation in which it is written back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    milli: i128,
    is_binary: bool,
}

/// Amounts by the names of their resources.
pub type Amounts = BTreeMap<String, Amount>;

impl Amount {
    /// A number of things.
    pub fn count(number: usize) -> Self {
        Self {
            milli: i128::try_from(number).unwrap_or(i128::MAX / 1000).saturating_mul(1000),
            is_binary: false,
        }
    }

    /// What is no quantity, validation refuses elsewhere; here it is nothing.
    pub fn parse(text: &str) -> Self {
        let milli = Quantity::parse(text).map_or(0, Quantity::to_milli);
        Self { milli, is_binary: text.trim().ends_with('i') }
    }

    /// All amounts of a map such as `resources.requests`.
    pub fn parse_all(map: &Value) -> Amounts {
        let entries = map.as_object().into_iter().flatten();
        let amount = |value: &Value| match value {
            Value::String(text) => Self::parse(text),
            other => Self::parse(&other.to_string()),
        };
        entries.map(|(name, value)| (name.clone(), amount(value))).collect()
    }

    /// Thousandths.
    pub fn milli(self) -> i128 {
        self.milli
    }

    pub fn is_zero(self) -> bool {
        self.milli == 0
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        // Nothing has no notation of its own.
        let is_binary = if self.milli == 0 { other.is_binary } else { self.is_binary };
        Self { milli: self.milli.saturating_add(other.milli), is_binary }
    }

    /// Never below nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_sub(other.milli).max(0), ..self }
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Amount {}

impl PartialOrd for Amount {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Amount {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::decode::quantity::render(self.milli, self.is_binary))
    }
}

/// Adds `other` to `sums`, name by name.
pub fn add(sums: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.plus(*amount);
    }
}

/// The greater of each name.
fn raise(highest: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let slot = highest.entry(name.clone()).or_default();
        *slot = (*slot).max(*amount);
    }
}

/// What a Pod asks for at its peak: `field` is `requests` or `limits`. A statement for the whole Pod counts before those of
/// its containers.
pub fn of_pod(pod: &Value, field: &str) -> Amounts {
    let spec = &pod["spec"];
    let mut peak = of_containers(spec, field);
    peak.extend(Amount::parse_all(&spec["resources"][field]));
    let overhead = Amount::parse_all(&spec["overhead"]);
    if field == "requests" {
        add(&mut peak, &overhead);
    } else {
        // What is not limited stays so.
        for (name, amount) in overhead {
            peak.entry(name).and_modify(|limit| *limit = limit.plus(amount));
        }
    }
    peak
}

/// What the containers of a Pod's spec ask for together at their peak.
///
/// Init containers run one after the other before the others start, so only the greediest counts; those that go on
/// running (`restartPolicy: Always`) count with all that comes after them.
pub(crate) fn of_containers(spec: &Value, field: &str) -> Amounts {
    let list = |name: &str| spec[name].as_array().into_iter().flatten();
    let ask = |container: &Value| Amount::parse_all(&container["resources"][field]);
    let mut running = Amounts::new();
    let mut peak = Amounts::new();
    for container in list("initContainers") {
        let mut needed = running.clone();
        add(&mut needed, &ask(container));
        if container["restartPolicy"] == "Always" {
            running.clone_from(&needed);
        }
        raise(&mut peak, &needed);
    }
    for container in list("containers") {
        add(&mut running, &ask(container));
    }
    raise(&mut peak, &running);
    peak
}

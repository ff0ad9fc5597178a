//! The class of a Pod: what it was promised, and who gives way to whom. It is said in several ways, by our users and by
//! Koordinator's; they must agree.
//!
//! | class | promised | gives way to | said by |
//! |---|---|---|---|
//! | `pinned` | CPUs of its own | nobody | `LSE`, `LSR`; the annotation `crest.dev/cpu-policy` |
//! | `shared` | its request | pinned | `LS`; mid resources, which are less than a request; what says nothing |
//! | `batch` | what services leave idle | services | `BE`; batch's resources; the scheduler `fuxi`; the classes `crest-batch`, `koord-batch` |
//! | `free` | nothing | all others | the classes `crest-free`, `koord-free` |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{
    BATCH_CPU, BATCH_MEMORY, CLASS_LABEL, CPU_POLICY, FUXI_SCHEDULER, MID_CPU, MID_MEMORY, QOS_LABEL,
};

/// Who gives way to whom: a class yields to every class before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Pinned,
    Shared,
    Batch,
    Free,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Pinned, Self::Shared, Self::Batch, Self::Free];

    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Shared => "shared",
            Self::Batch => "batch",
            Self::Free => "free",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// Whether it lives on what services leave idle.
    pub fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::Free)
    }

    /// The priority class of a Pod of this class that names none.
    pub fn priority_class(self) -> Option<&'static str> {
        match self {
            Self::Pinned | Self::Shared => None,
            Self::Batch => Some("crest-batch"),
            Self::Free => Some("crest-free"),
        }
    }
}

/// The priority class of a Pod that asks for the mid tier's resources and names none.
pub const MID_PRIORITY: &str = "crest-mid";
/// Those of services, which own what they were promised.
const SERVICE_PRIORITIES: [&str; 2] = ["crest-online", "koord-prod"];

/// All that a Pod says of its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs<'a> {
    /// The label `crest.dev/class`.
    pub label: Option<&'a str>,
    /// The label `koordinator.sh/qosClass`.
    pub koordinator: Option<&'a str>,
    pub priority_class: Option<&'a str>,
    /// What containers ask for of what is lent.
    pub asks_for: Option<Lent>,
    /// Who is to place it.
    pub scheduler: Option<&'a str>,
    /// Whether the Pod asks for CPUs of its own.
    pub has_cpu_policy: bool,
}

/// Resources that are lent: another has a right to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// Batch's.
    Batch,
    /// The mid tier's.
    Mid,
    /// Some of each, which nobody can have.
    Both,
}

impl Lent {
    /// Of somebody who `asks` for either of two names or does not.
    pub fn of(asks: impl Fn([&str; 2]) -> bool) -> Option<Self> {
        match (asks([BATCH_CPU, BATCH_MEMORY]), asks([MID_CPU, MID_MEMORY])) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Batch),
            (false, true) => Some(Self::Mid),
            (false, false) => None,
        }
    }

    pub fn is_mid(self) -> bool {
        matches!(self, Self::Mid | Self::Both)
    }

    pub fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::Both)
    }
}

/// Why what a Pod says cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("label {CLASS_LABEL}: `{0}` is not one of pinned, shared, batch, free")]
    Label(String),
    #[error("label {QOS_LABEL}: `{0}` is not one of LSE, LSR, LS, BE, SYSTEM")]
    Koordinator(String),
    #[error("{one} and {other} cannot both be: take one of them away")]
    Between { one: String, other: String },
}

/// What one sign allows, the likeliest first.
type Allowed = &'static [Class];

const SERVICES: Allowed = &[Class::Shared, Class::Pinned];
const BATCH: Allowed = &[Class::Batch, Class::Free];

/// The class that all signs agree on; `None` where there is no sign, and so as good as shared.
pub fn class_of(signs: &Signs<'_>) -> Result<Option<Class>, Contradiction> {
    let asks_for_mid = signs.asks_for.is_some_and(Lent::is_mid);
    // Both are shared, and yet one of them gives way to the other.
    if let Some(name) = signs.priority_class.filter(|name| asks_for_mid && SERVICE_PRIORITIES.contains(name))
    {
        let one = format!("a request for {MID_CPU} or its memory");
        return Err(Contradiction::Between { one, other: format!("priority class {name}") });
    }
    let mut agreed: Option<(Vec<Class>, String)> = None;
    for (allowed, sign) in told(signs)? {
        let Some((classes, by)) = agreed else {
            agreed = Some((allowed.to_vec(), sign));
            continue;
        };
        let both: Vec<Class> = classes.into_iter().filter(|class| allowed.contains(class)).collect();
        if both.is_empty() {
            return Err(Contradiction::Between { one: by, other: sign });
        }
        agreed = Some((both, by));
    }
    Ok(agreed.and_then(|(classes, _)| classes.first().copied()))
}

/// Every sign that says something, from the strongest.
fn told(signs: &Signs<'_>) -> Result<Vec<(Allowed, String)>, Contradiction> {
    let mut told: Vec<(Allowed, String)> = Vec::new();
    if let Some(text) = signs.label {
        let class = Class::parse(text).ok_or_else(|| Contradiction::Label(text.to_owned()))?;
        told.push((alone(class), format!("label {CLASS_LABEL}: {text}")));
    }
    if let Some(text) = signs.koordinator {
        let allowed: Option<Allowed> = match text {
            "LSE" | "LSR" => Some(&[Class::Pinned]),
            "LS" => Some(&[Class::Shared]),
            "BE" => Some(BATCH),
            "SYSTEM" | "" => None,
            other => return Err(Contradiction::Koordinator(other.to_owned())),
        };
        told.extend(allowed.map(|allowed| (allowed, format!("label {QOS_LABEL}: {text}"))));
    }
    if let Some(name) = signs.priority_class {
        let allowed: Option<Allowed> = match name {
            name if SERVICE_PRIORITIES.contains(&name) => Some(SERVICES),
            MID_PRIORITY | "koord-mid" => Some(&[Class::Shared]),
            "crest-batch" | "koord-batch" => Some(&[Class::Batch]),
            "crest-free" | "koord-free" => Some(&[Class::Free]),
            _ => None,
        };
        told.extend(allowed.map(|allowed| (allowed, format!("priority class {name}"))));
    }
    if signs.asks_for.is_some_and(Lent::is_batch) {
        told.push((BATCH, format!("a request for {BATCH_CPU} or its memory")));
    }
    if signs.asks_for.is_some_and(Lent::is_mid) {
        told.push((&[Class::Shared], format!("a request for {MID_CPU} or its memory")));
    }
    if signs.scheduler == Some(FUXI_SCHEDULER) {
        told.push((BATCH, format!("schedulerName: {FUXI_SCHEDULER}")));
    }
    if signs.has_cpu_policy {
        told.push((&[Class::Pinned], format!("annotation {CPU_POLICY}")));
    }
    Ok(told)
}

/// A class as all that is allowed.
fn alone(class: Class) -> Allowed {
    match class {
        Class::Pinned => &[Class::Pinned],
        Class::Shared => &[Class::Shared],
        Class::Batch => &[Class::Batch],
        Class::Free => &[Class::Free],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signs: Signs<'_>, expected: Option<Class>) {
        assert_eq!(class_of(&signs), Ok(expected), "{signs:?}");
    }

    fn refuse(signs: Signs<'_>, expected: &str) {
        assert_eq!(class_of(&signs).unwrap_err().to_string(), expected, "{signs:?}");
    }

    #[test]
    fn one_sign_is_enough() {
        let none = Signs::default();
        check(none, None);
        check(Signs { label: Some("free"), ..none }, Some(Class::Free));
        check(Signs { koordinator: Some("LSR"), ..none }, Some(Class::Pinned));
        check(Signs { koordinator: Some("LSE"), ..none }, Some(Class::Pinned));
        check(Signs { koordinator: Some("LS"), ..none }, Some(Class::Shared));
        check(Signs { koordinator: Some("BE"), ..none }, Some(Class::Batch));
        check(Signs { koordinator: Some("SYSTEM"), ..none }, None);
        check(Signs { priority_class: Some("koord-prod"), ..none }, Some(Class::Shared));
        check(Signs { priority_class: Some("koord-free"), ..none }, Some(Class::Free));
        check(Signs { priority_class: Some("of-somebody"), ..none }, None);
        check(Signs { asks_for: Some(Lent::Batch), ..none }, Some(Class::Batch));
        check(Signs { asks_for: Some(Lent::Mid), ..none }, Some(Class::Shared));
        check(
            Signs { asks_for: Some(Lent::Mid), priority_class: Some("koord-mid"), ..none },
            Some(Class::Shared),
        );
        check(Signs { priority_class: Some("crest-mid"), ..none }, Some(Class::Shared));
        check(Signs { scheduler: Some("fuxi"), ..none }, Some(Class::Batch));
        check(Signs { has_cpu_policy: true, ..none }, Some(Class::Pinned));
    }

    #[test]
    fn signs_narrow_each_other() {
        let be = Signs { koordinator: Some("BE"), ..Signs::default() };
        check(Signs { priority_class: Some("koord-free"), ..be }, Some(Class::Free));
        check(Signs { label: Some("free"), asks_for: Some(Lent::Batch), ..be }, Some(Class::Free));
        let prod = Signs { priority_class: Some("koord-prod"), ..Signs::default() };
        check(Signs { koordinator: Some("LSR"), ..prod }, Some(Class::Pinned));
        check(Signs { has_cpu_policy: true, ..prod }, Some(Class::Pinned));
    }

    #[test]
    fn what_cannot_be_is_told_by_both_its_sides() {
        let none = Signs::default();
        let be = Signs { koordinator: Some("BE"), ..none };
        refuse(
            Signs { priority_class: Some("koord-prod"), ..be },
            "label koordinator.sh/qosClass: BE and priority class koord-prod cannot both be: take one of them away",
        );
        let lsr = Signs { koordinator: Some("LSR"), ..none };
        for name in ["koord-mid", "koord-batch", "koord-free", "crest-batch"] {
            assert!(class_of(&Signs { priority_class: Some(name), ..lsr }).is_err(), "{name}");
        }
        refuse(
            Signs { label: Some("shared"), asks_for: Some(Lent::Batch), ..none },
            "label crest.dev/class: shared and a request for kubernetes.io/batch-cpu or its memory cannot both be: \
             take one of them away",
        );
        refuse(
            Signs { asks_for: Some(Lent::Mid), ..be },
            "label koordinator.sh/qosClass: BE and a request for kubernetes.io/mid-cpu or its memory cannot both be: \
             take one of them away",
        );
        refuse(
            Signs { asks_for: Some(Lent::Mid), priority_class: Some("koord-prod"), ..none },
            "a request for kubernetes.io/mid-cpu or its memory and priority class koord-prod cannot both be: \
             take one of them away",
        );
        assert!(class_of(&Signs { asks_for: Some(Lent::Both), ..none }).is_err());
        assert!(class_of(&Signs { asks_for: Some(Lent::Mid), has_cpu_policy: true, ..none }).is_err());
        refuse(
            Signs { has_cpu_policy: true, ..be },
            "label koordinator.sh/qosClass: BE and annotation crest.dev/cpu-policy cannot both be: take one of them away",
        );
        refuse(
            Signs { label: Some("gold"), ..none },
            "label crest.dev/class: `gold` is not one of pinned, shared, batch, free",
        );
        refuse(
            Signs { koordinator: Some("BEST"), ..none },
            "label koordinator.sh/qosClass: `BEST` is not one of LSE, LSR, LS, BE, SYSTEM",
        );
    }
}

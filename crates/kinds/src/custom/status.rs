//! What becomes of a definition: which of its names are accepted beside those of others, and whether it is served.
//!
//! ```text
//!   names free? ──► NamesAccepted ──► Established, for good
//!   deleted?    ──► Terminating: its objects go first
//! ```
//! Pure: the time comes from outside.

use serde_json::{Map, Value, json};

/// Keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether its objects are served: once its names were accepted they stay so.
pub fn is_established(definition: &Value) -> bool {
    condition(definition, "Established").is_some_and(|condition| condition["status"] == "True")
}

/// Whether it is on its way out: no new objects are made then.
pub fn is_terminating(definition: &Value) -> bool {
    condition(definition, "Terminating").is_some_and(|condition| condition["status"] == "True")
}

fn condition<'v>(definition: &'v Value, kind: &str) -> Option<&'v Value> {
    let conditions = definition["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// The status of a new definition.
pub fn initial(definition: &Value) -> Value {
    let stored: Vec<&Value> = storage_version(definition).into_iter().collect();
    json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
}

/// The name of the version in which objects are stored.
fn storage_version(definition: &Value) -> Option<&Value> {
    let versions = definition["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["storage"] == true).map(|version| &version["name"])
}

/// Notes the storage version among those in which objects may be stored.
pub fn note_stored_version(definition: &mut Value) {
    let Some(version) = storage_version(definition).cloned() else { return };
    let stored = &mut definition["status"]["storedVersions"];
    match stored.as_array_mut() {
        Some(stored) if stored.contains(&version) => {}
        Some(stored) => stored.push(version),
        None => *stored = json!([version]),
    }
}

/// The status that a definition should have beside the others of its group; `None` if it has it.
pub fn settled<'v>(definition: &Value, others: impl Iterator<Item = &'v Value>, now: &str) -> Option<Value> {
    let taken = Taken::by(others);
    let (names, conflict) = accepted(definition, &taken);
    let mut status = definition["status"].clone();
    status["acceptedNames"] = names;
    let mut conditions =
        Conditions { list: status["conditions"].as_array().cloned().unwrap_or_default(), now };
    match &conflict {
        Some((reason, message)) => conditions.set("NamesAccepted", false, (reason, message)),
        None => conditions.set("NamesAccepted", true, ("NoConflicts", "no conflicts found")),
    }
    match (&conflict, is_established(definition)) {
        (_, true) => {}
        (None, false) => conditions.set(
            "Established",
            true,
            ("InitialNamesAccepted", "the initial names have been accepted"),
        ),
        (Some(_), false) => {
            conditions.set("Established", false, ("NotAccepted", "not all names are accepted"));
        }
    }
    approval(definition, &mut conditions);
    status["conditions"] = conditions.list.into();
    (status != definition["status"]).then_some(status)
}

/// A definition whose deletion was asked for.
pub fn terminating(definition: &mut Value, now: &str) {
    let list = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut conditions = Conditions { list, now };
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions.set("Terminating", true, ("InstanceDeletionPending", message));
    definition["status"]["conditions"] = conditions.list.into();
}

/// The names in use within a group.
#[derive(Default)]
struct Taken<'v> {
    resources: Vec<&'v str>,
    kinds: Vec<&'v str>,
}

impl<'v> Taken<'v> {
    fn by(others: impl Iterator<Item = &'v Value>) -> Self {
        let mut taken = Self::default();
        for other in others {
            let names = &other["status"]["acceptedNames"];
            let said = |field: &str| names[field].as_str().filter(|name| !name.is_empty());
            taken.resources.extend([said("plural"), said("singular")].into_iter().flatten());
            taken.resources.extend(texts(&names["shortNames"]));
            taken.kinds.extend([said("kind"), said("listKind")].into_iter().flatten());
        }
        taken
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The accepted names, and of the conflicts the last one: reason and message.
fn accepted(definition: &Value, taken: &Taken<'_>) -> (Value, Option<(&'static str, String)>) {
    let wanted = &definition["spec"]["names"];
    let before = &definition["status"]["acceptedNames"];
    let mut names = before.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    let fields = [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ];
    for (field, reason, taken) in fields {
        let asked: Vec<&str> = match &wanted[field] {
            Value::String(name) => vec![name],
            list => texts(list).collect(),
        };
        let is_new = wanted[field] != before[field];
        match asked.iter().find(|name| is_new && taken.contains(name)) {
            Some(name) => conflict = Some((reason, format!("\"{name}\" is already in use"))),
            None => put(&mut names, field, &wanted[field]),
        }
    }
    put(&mut names, "categories", &wanted["categories"]);
    (Value::Object(names), conflict)
}

fn put(names: &mut Map<String, Value>, field: &str, value: &Value) {
    if value.is_null() {
        names.remove(field);
    } else {
        names.insert(field.to_owned(), value.clone());
    }
}

/// Groups of Kubernetes itself say who approved that they are used.
fn approval(definition: &Value, conditions: &mut Conditions<'_>) {
    const KIND: &str = "KubernetesAPIApprovalPolicyConformant";
    if !is_protected_group(definition["spec"]["group"].as_str().unwrap_or_default()) {
        return;
    }
    match definition["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default() {
        "" => conditions.set(
            KIND,
            false,
            ("MissingAnnotation", "protected groups must have approval annotation"),
        ),
        text if text.starts_with("unapproved") => {
            conditions.set(KIND, false, ("UnapprovedAnnotation", "not approved"));
        }
        text => conditions.set(KIND, true, ("ApprovedAnnotation", &format!("approved in {text}"))),
    }
}

/// Where approval is told.
pub(crate) const APPROVAL: &str = "api-approved.kubernetes.io";

pub(crate) fn is_protected_group(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].into_iter().any(|suffix| {
        group == suffix || group.strip_suffix(suffix).is_some_and(|prefix| prefix.ends_with('.'))
    })
}

struct Conditions<'a> {
    list: Vec<Value>,
    now: &'a str,
}

impl Conditions<'_> {
    fn set(&mut self, kind: &str, status: bool, (reason, message): (&str, &str)) {
        let status = if status { "True" } else { "False" };
        let mut next = json!({"type": kind, "status": status, "lastTransitionTime": self.now, "reason": reason,
            "message": message});
        match self.list.iter_mut().find(|condition| condition["type"] == kind) {
            Some(before) => {
                if before["status"] == status {
                    next["lastTransitionTime"] = before["lastTransitionTime"].clone();
                }
                // What else an older state says of it, its generation for example, stays.
                if let (Some(before), Value::Object(next)) = (before.as_object_mut(), next) {
                    before.extend(next);
                }
            }
            None => self.list.push(next),
        }
    }
}

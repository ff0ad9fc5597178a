//! Field selectors: `spec.nodeName=n1,status.phase!=Failed`.

use serde_json::{Value, json};

use crate::Kind;
use crate::status::Failure;

/// A parsed field selector; empty matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    field: String,
    value: String,
    equal: bool,
}

/// The fields that a kind selects by, beside its name and namespace.
fn selectable(kind: &Kind) -> Vec<&str> {
    match kind.custom() {
        Some(version) => version.selectable.iter().map(String::as_str).collect(),
        None => selectable_of_table(kind).to_vec(),
    }
}

fn selectable_of_table(kind: &Kind) -> &'static [&'static str] {
    match (kind.group, kind.kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "Namespace") => &["status.phase"],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    }
}

impl Fields {
    /// Reads the text of a query parameter; `\` quotes `,`, `=` and itself.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut requirements = Vec::new();
        for part in split_unquoted(text) {
            if part.is_empty() {
                continue;
            }
            let split = ["!=", "==", "="].iter().find_map(|operator| {
                let (field, value) = part.split_once(operator)?;
                (!field.ends_with('\\')).then_some((*operator, field, value))
            });
            let Some((operator, field, value)) = split else {
                let message = format!("invalid selector: '{text}'; can't understand '{part}'");
                return Err(Failure::bad_request(message));
            };
            let value = unquote(value).ok_or_else(|| {
                Failure::bad_request(format!(
                    "invalid field selector: \"{value}\" in '{text}' has a stray '\\' or '='"
                ))
            })?;
            requirements.push(Requirement { field: field.trim().to_owned(), value, equal: operator != "!=" });
        }
        Ok(Self { requirements })
    }

    /// Refuses fields that `kind` does not select by; to be called once per request, before `matches`.
    pub fn check(&self, kind: &Kind) -> Result<(), Failure> {
        let selectable = selectable(kind);
        let known = |field: &str| {
            field == "metadata.name"
                || (field == "metadata.namespace" && kind.is_namespaced())
                || selectable.contains(&field)
        };
        match self.requirements.iter().find(|requirement| !known(&requirement.field)) {
            Some(Requirement { field, .. }) if selectable.is_empty() => {
                let known = "only \"metadata.name\", \"metadata.namespace\"";
                Err(Failure::bad_request(format!("\"{field}\" is not a known field selector: {known}")))
            }
            Some(Requirement { field, .. }) => {
                Err(Failure::bad_request(format!("field label not supported: {field}")))
            }
            None => Ok(()),
        }
    }

    /// An absent field counts as empty (`false` and `0` where that is its zero).
    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            (value_of(kind, &requirement.field, object) == requirement.value) == requirement.equal
        })
    }

    /// The value that `metadata.name` must equal, so that a list of one needs no scan.
    pub fn name(&self) -> Option<&str> {
        self.requirement("metadata.name")
    }

    /// The value that `metadata.namespace` must equal.
    pub fn namespace(&self) -> Option<&str> {
        self.requirement("metadata.namespace")
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must equal, if the selector says so.
    pub fn requirement(&self, field: &str) -> Option<&str> {
        let found =
            self.requirements.iter().find(|requirement| requirement.equal && requirement.field == field);
        found.map(|requirement| requirement.value.as_str())
    }
}

/// Where selectors look at objects of a kind.
fn looked_at(kind: &Kind) -> Vec<&str> {
    let behind: &[&str] = match kind.table_name() {
        "Job" => &["status.succeeded"],
        "Event" => &["source.component", "reportingComponent"],
        _ => &[],
    };
    let always = ["metadata.name", "metadata.namespace", "metadata.labels"];
    always.into_iter().chain(selectable(kind)).chain(behind.iter().copied()).collect()
}

/// As [`outline`] of an object that is given as JSON, of which no more is read than that.
pub fn outline_of_text(kind: &Kind, text: &[u8]) -> Result<Value, serde_json::Error> {
    Ok(outline(kind, &crate::sparse::read(text, &looked_at(kind))?))
}

/// As little of `object` as any selector looks at: every selector finds the same in it.
pub fn outline(kind: &Kind, object: &Value) -> Value {
    let mut outline = json!({});
    for path in looked_at(kind) {
        let value = path.split('.').fold(object, |value, name| &value[name]);
        // A field that is an object is not selected by as a whole.
        if value.is_null() || (value.is_object() && path != "metadata.labels") {
            continue;
        }
        let mut place = &mut outline;
        for name in path.split('.') {
            place = &mut place[name];
        }
        *place = value.clone();
    }
    outline
}

fn value_of(kind: &Kind, field: &str, object: &Value) -> String {
    let text = |path: &str| {
        let value = path.split('.').fold(object, |value, name| &value[name]);
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    };
    let or = |text: String, zero: &str| if text.is_empty() { zero.to_owned() } else { text };
    match (kind.table_name(), field) {
        ("Pod", "spec.hostNetwork") | ("Node", "spec.unschedulable") => or(text(field), "false"),
        ("Job", "status.successful") => or(text("status.succeeded"), "0"),
        ("Event", "source") => or(text("source.component"), &text("reportingComponent")),
        ("Event", "reportingComponent") => text("reportingComponent"),
        _ => text(field),
    }
}

/// Splits at commas that no `\` quotes.
fn split_unquoted(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (index, c) in text.char_indices() {
        if c == ',' && !quoted {
            parts.push(&text[start..index]);
            start = index + 1;
        }
        quoted = c == '\\' && !quoted;
    }
    parts.push(&text[start..]);
    parts
}

fn unquote(value: &str) -> Option<String> {
    let mut result = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => result.push(chars.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            '=' | ',' => return None,
            other => result.push(other),
        }
    }
    Some(result)
}

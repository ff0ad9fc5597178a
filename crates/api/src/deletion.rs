//! What a delete request makes of an object: gone at once, marked and waiting, or left as it is.
//!
//! ```text
//!   delete ──► preconditions ──► finalizers by propagation ──► grace ──► Remove | Mark | Keep
//! ```
//! Pure: the time comes from outside.

use jiff::{SignedDuration, Timestamp};
use kinds::Kind;
use kinds::custom::status;
use kinds::status::{Failure, FieldError};
use serde_json::{Map, Value, json};

use crate::query::Query;
use crate::registry::Next;
use crate::{definitions, object, strategy};

/// What becomes of the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Orphan,
    Background,
    Foreground,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// A deletion in the cluster's own namespaces would take the cluster down.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// `DeleteOptions`, from the body or from the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// From the query, of a request without a body.
    pub(crate) fn from_query(query: &Query) -> Result<Self, Failure> {
        let flag = |name: &str| query.get(name).filter(|text| !text.is_empty()).map(|_| query.flag(name));
        Self::parse(&json!({
            "gracePeriodSeconds": query.number("gracePeriodSeconds")?,
            "propagationPolicy": query.get("propagationPolicy"),
            "orphanDependents": flag("orphanDependents"),
            "dryRun": query.get("dryRun").map(|stage| [stage]),
        }))
    }

    /// As the object that a client could have sent.
    pub(crate) fn to_value(&self) -> Value {
        let policy = self.propagation.map(|policy| match policy {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        });
        let mut preconditions = Map::new();
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.revision)] {
            preconditions.extend(value.clone().map(|value| (field.to_owned(), value.into())));
        }
        let fields = [
            ("gracePeriodSeconds", self.grace_period_seconds.map(Value::from)),
            ("propagationPolicy", policy.map(Value::from)),
            ("preconditions", (!preconditions.is_empty()).then_some(Value::Object(preconditions))),
            ("dryRun", self.dry_run.then(|| json!(["All"]))),
        ];
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        for (field, value) in fields {
            if let Some(value) = value {
                options[field] = value;
            }
        }
        options
    }

    pub(crate) fn parse(body: &Value) -> Result<Self, Failure> {
        check_kind(body)?;
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let policy = text(&body["propagationPolicy"]);
        let orphan = body["orphanDependents"].as_bool();
        if policy.is_some() && orphan.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            return Err(options_invalid(FieldError::invalid(
                "propagationPolicy",
                policy.unwrap_or_default(),
                why,
            )));
        }
        let propagation = match policy.as_deref() {
            None => orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background }),
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => return Err(unknown_policy(other)),
        };
        let grace = match &body["gracePeriodSeconds"] {
            Value::Null => None,
            value => Some(value.as_i64().ok_or_else(|| {
                Failure::bad_request(format!("gracePeriodSeconds: {value} is no whole number"))
            })?),
        };
        let stages = body["dryRun"].as_array().into_iter().flatten();
        let mut dry_run = false;
        for stage in stages {
            dry_run |= crate::query::dry_run(stage.as_str(), "DeleteOptions")?;
        }
        Ok(Self {
            grace_period_seconds: grace,
            propagation,
            uid: text(&body["preconditions"]["uid"]),
            revision: text(&body["preconditions"]["resourceVersion"]),
            dry_run,
        })
    }
}

fn unknown_policy(policy: &str) -> Failure {
    let supported = ["Background", "Foreground", "Orphan"];
    options_invalid(FieldError::not_supported("propagationPolicy", policy, &supported))
}

fn options_invalid(error: FieldError) -> Failure {
    Failure::invalid_object("meta.k8s.io", "DeleteOptions", "", &[error])
}

/// The options may come in the words of any group, but nothing else may come in their place.
fn check_kind(body: &Value) -> Result<(), Failure> {
    match body["kind"].as_str().unwrap_or("DeleteOptions") {
        "" | "DeleteOptions" => Ok(()),
        other => {
            let version = body["apiVersion"].as_str().unwrap_or_default();
            Err(Failure::bad_request(format!(
                "{other} in version \"{version}\" cannot be handled as DeleteOptions"
            )))
        }
    }
}

/// The next state of `current` when its deletion is asked for.
pub(crate) fn decide(
    kind: &Kind,
    current: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<Next, Failure> {
    check_preconditions(kind, current, options)?;
    if kind.table_name() == "Namespace" && IMMORTAL_NAMESPACES.contains(&object::name(current)) {
        return Err(Failure::forbidden(kind, object::name(current), "this namespace may not be deleted"));
    }
    let mut next = current.clone();
    propagate(kind, &mut next, options.propagation);
    if definitions::is_definition(kind) && !object::is_being_deleted(current) {
        terminate(&mut next, now);
    }
    mark(kind, &mut next, options.grace_period_seconds, now);
    if object::is_deletion_complete(kind.table_name(), &next) {
        // Only what is taken down in steps is answered as marked; the rest is answered as it last stood.
        let is_gradual = matches!(kind.table_name(), "Pod" | "Namespace");
        return Ok(Next::Remove(if is_gradual { next } else { current.clone() }));
    }
    if kind.table_name() == "Namespace" {
        next["status"]["phase"] = json!("Terminating");
    }
    Ok(if next == *current { Next::Keep(next) } else { Next::Replace(next) })
}

/// The objects of a definition go before it.
fn terminate(definition: &mut Value, now: Timestamp) {
    let mut finalizers: Vec<String> = object::finalizers(definition).map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == status::CLEANUP) {
        finalizers.push(status::CLEANUP.to_owned());
    }
    object::set_metadata(definition, "finalizers", finalizers);
    status::terminating(definition, &object::time(now));
}

fn check_preconditions(kind: &Kind, current: &Value, options: &DeleteOptions) -> Result<(), Failure> {
    let refuse = |what: &str, asked: &str, found: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({asked}) does not match the {what} in record ({found}). \
             The object might have been {then}"
        );
        Err(Failure::precondition(kind, object::name(current), &why))
    };
    let (uid, revision) = (object::metadata(current, "uid"), object::metadata(current, "resourceVersion"));
    match (&options.uid, &options.revision) {
        (Some(asked), _) if asked != uid => refuse("UID", asked, uid, "deleted and then recreated"),
        (_, Some(asked)) if asked != revision => refuse("ResourceVersion", asked, revision, "modified"),
        _ => Ok(()),
    }
}

/// The finalizers that make the garbage collector do as the policy says.
fn propagate(kind: &Kind, object: &mut Value, asked: Option<Propagation>) {
    let had: Vec<String> = object::finalizers(object).map(str::to_owned).collect();
    let Some(policy) = asked.or_else(|| default_propagation(kind, &had)) else { return };
    let wanted = match policy {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    let mut finalizers: Vec<String> =
        had.iter().filter(|name| *name != ORPHAN && *name != FOREGROUND).cloned().collect();
    finalizers.extend(wanted.map(str::to_owned));
    if finalizers == had {
        return;
    }
    if finalizers.is_empty() {
        object::remove_metadata(object, "finalizers");
    } else {
        object::set_metadata(object, "finalizers", finalizers);
    }
}

/// Jobs and replication controllers leave their Pods behind unless told otherwise, as they have always done. `None`: the
/// finalizers that the object carries already say what was decided before.
fn default_propagation(kind: &Kind, finalizers: &[String]) -> Option<Propagation> {
    let decided = finalizers.iter().any(|name| name == ORPHAN || name == FOREGROUND);
    (matches!(kind.table_name(), "Job" | "ReplicationController") && !decided).then_some(Propagation::Orphan)
}

/// Whether `kind` is deleted with a warning that its dependents stay.
pub(crate) fn warns_of_orphans(kind: &Kind, options: &DeleteOptions) -> bool {
    kind.table_name() == "Job" && options.propagation.is_none()
}

/// Writes the deletion's time and grace into the object. A later request can only shorten the grace.
fn mark(kind: &Kind, object: &mut Value, asked: Option<i64>, now: Timestamp) {
    let grace = grace_seconds(kind, object, asked);
    if let Ok(marked) = object::metadata(object, "deletionTimestamp").parse::<Timestamp>() {
        let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        let shorter = if asked.is_some() { grace.min(before) } else { before };
        if shorter != before {
            let requested_at = marked.saturating_sub(SignedDuration::from_secs(before)).unwrap_or(marked);
            stamp(object, requested_at, shorter);
        }
        return;
    }
    stamp(object, now, grace);
    if kind.table_name() == "Namespace" {
        object::remove_metadata(object, "deletionGracePeriodSeconds");
    }
    strategy::bump_generation(object);
}

fn stamp(object: &mut Value, requested_at: Timestamp, grace: i64) {
    let at = requested_at.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(requested_at);
    object::set_metadata(object, "deletionTimestamp", object::time(at));
    object::set_metadata(object, "deletionGracePeriodSeconds", grace);
}

/// Only a Pod that runs on a node takes time to go: its agent deletes it with grace 0 in the end.
fn grace_seconds(kind: &Kind, object: &Value, asked: Option<i64>) -> i64 {
    let spec = &object["spec"];
    let is_finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let is_unscheduled = spec["nodeName"].as_str().unwrap_or_default().is_empty();
    if kind.kind != "Pod" || is_unscheduled || is_finished {
        return 0;
    }
    let wanted = asked.or_else(|| spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    if wanted < 0 { 1 } else { wanted }
}

#[cfg(test)]
mod tests;

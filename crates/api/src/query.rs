//! A request's query: the options of lists, watches and writes.

use axum::extract::Query as QueryExtractor;
use http::Uri;
use kinds::Kind;
use kinds::selector::{Fields, Labels};
use kinds::status::{Failure, FieldError};
use serde_json::Value;

/// Names and values as the client wrote them. Unknown names are ignored, as Kubernetes does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Failure> {
        if uri.query().is_none() {
            return Ok(Self::default());
        }
        match QueryExtractor::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(QueryExtractor(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Failure::bad_request(format!("invalid query: {error}"))),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As [`Query::get`]; what is empty is not said.
    fn said(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    /// All values of a name that may stand there several times.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// As Kubernetes reads booleans: there and not plainly false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "false" | "0"))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let refused = |_| Failure::bad_request(format!("{name}: `{text}` is no whole number"));
        text.parse().map(Some).map_err(refused)
    }

    /// The `resourceVersion`; zero and nothing are told apart by the callers that care.
    pub(crate) fn revision(&self) -> Result<Option<u64>, Failure> {
        let Some(text) = self.get("resourceVersion").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let refused = |_| Failure::bad_request(format!("invalid resource version: `{text}` is no number"));
        text.parse().map(Some).map_err(refused)
    }
}

/// Which objects of a kind a list or watch wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
}

impl Selection {
    pub(crate) fn parse(kind: &Kind, query: &Query) -> Result<Self, Failure> {
        let labels = Labels::parse(query.get("labelSelector").unwrap_or_default())?;
        let fields = Fields::parse(query.get("fieldSelector").unwrap_or_default())?;
        fields.check(kind)?;
        Ok(Self { labels, fields })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, kind: &Kind, object: &Value) -> bool {
        self.labels.matches(kind, object) && self.fields.matches(kind, object)
    }
}

/// How old the answer to a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// As it is now; also for `resourceVersion=0`, which would allow older.
    Latest,
    NotOlderThan(u64),
    Exact(u64),
}

impl Freshness {
    pub(crate) fn parse(query: &Query) -> Result<Self, Failure> {
        match (query.get(MATCH).unwrap_or_default(), query.revision()?) {
            ("Exact", Some(revision)) => Ok(Self::Exact(revision)),
            (_, None | Some(0)) => Ok(Self::Latest),
            (_, Some(revision)) => Ok(Self::NotOlderThan(revision)),
        }
    }
}

const MATCH: &str = "resourceVersionMatch";

/// 422 with all that contradicts itself in the options of a list.
pub(crate) fn must_agree_for_list(query: &Query) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let mut forbid = |why: &str| faults.push(FieldError::forbidden(MATCH, why));
    let matching = query.said(MATCH);
    if matching.is_some() && query.said("resourceVersion").is_none() {
        forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    if matching.is_some() && query.said("continue").is_some() {
        forbid("resourceVersionMatch is forbidden when continue is provided");
    }
    if matching == Some("Exact") && query.get("resourceVersion") == Some("0") {
        forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if let Some(other) = matching.filter(|matching| !matches!(*matching, "Exact" | "NotOlderThan")) {
        faults.push(FieldError::not_supported(MATCH, other, &["Exact", "NotOlderThan", ""]));
    }
    if query.said("sendInitialEvents").is_some() {
        faults.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
    }
    list_options_agree(&faults)
}

/// As [`must_agree_for_list`] for a watch.
pub(crate) fn must_agree_for_watch(query: &Query) -> Result<(), Failure> {
    let mut faults = Vec::new();
    let mut forbid = |why: &str| faults.push(FieldError::forbidden(MATCH, why));
    let (matching, initial) = (query.said(MATCH), query.said("sendInitialEvents"));
    if initial.is_some() && matching != Some("NotOlderThan") {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if initial.is_none() && matching.is_some() {
        forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if matching.is_some() && query.said("continue").is_some() {
        forbid("resourceVersionMatch is forbidden when continue is provided");
    }
    if let Some(other) = matching.filter(|matching| *matching != "NotOlderThan") {
        faults.push(FieldError::not_supported(MATCH, other, &["NotOlderThan"]));
    }
    list_options_agree(&faults)
}

fn list_options_agree(faults: &[FieldError]) -> Result<(), Failure> {
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_object("meta.k8s.io", "ListOptions", "", faults))
}

/// What happens to unknown and duplicate fields of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// The options that every write has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
}

impl WriteOptions {
    /// `kind` names the options in refusals: `CreateOptions`, `PatchOptions`.
    pub(crate) fn parse(query: &Query, kind: &str) -> Result<Self, Failure> {
        let field_validation = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                let error = FieldError::not_supported("fieldValidation", other, &supported);
                return Err(options_invalid(kind, error));
            }
        };
        check_manager(query.get("fieldManager").unwrap_or_default(), kind)?;
        Ok(Self { dry_run: dry_run(query.get("dryRun"), kind)?, field_validation })
    }
}

/// The longest name of a field manager.
const MAX_MANAGER_BYTES: usize = 128;

fn check_manager(name: &str, kind: &str) -> Result<(), Failure> {
    let error = if name.len() > MAX_MANAGER_BYTES {
        FieldError::too_long("fieldManager", MAX_MANAGER_BYTES)
    } else if name.chars().any(char::is_control) {
        FieldError::invalid("fieldManager", name, "should only contain printable characters")
    } else {
        return Ok(());
    };
    Err(options_invalid(kind, error))
}

/// Whether the write is only to be tried; `All` is the one stage there is.
pub(crate) fn dry_run(stage: Option<&str>, kind: &str) -> Result<bool, Failure> {
    match stage.unwrap_or_default() {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(options_invalid(kind, FieldError::not_supported("dryRun", other, &["All"]))),
    }
}

fn options_invalid(kind: &str, error: FieldError) -> Failure {
    Failure::invalid_object("meta.k8s.io", kind, "", &[error])
}

#[cfg(test)]
mod tests {
    use kinds::status::Failure;

    use super::{Query, must_agree_for_list, must_agree_for_watch};

    /// The causes of a refusal: reason and field of each.
    fn causes(verdict: Result<(), Failure>) -> Vec<String> {
        let Err(failure) = verdict else { return Vec::new() };
        let status = failure.to_value();
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        causes
            .iter()
            .map(|cause| format!("{} {}", cause["reason"], cause["field"]).replace('"', ""))
            .collect()
    }

    #[test]
    fn all_contradictions_are_told() {
        const FORBIDDEN: &str = "FieldValueForbidden resourceVersionMatch";
        const UNSUPPORTED: &str = "FieldValueNotSupported resourceVersionMatch";
        let query = |text: &str| Query::parse(&format!("/?{text}").parse().unwrap()).unwrap();
        let lists: &[(&str, &[&str])] = &[
            ("limit=5&resourceVersion=7&resourceVersionMatch=Exact", &[]),
            ("resourceVersionMatch=Exact", &[FORBIDDEN]),
            ("resourceVersionMatch=Other", &[FORBIDDEN, UNSUPPORTED]),
            ("resourceVersionMatch=Exact&resourceVersion=0", &[FORBIDDEN]),
            ("resourceVersionMatch=Exact&resourceVersion=7&continue=x", &[FORBIDDEN]),
            ("sendInitialEvents=false", &["FieldValueForbidden sendInitialEvents"]),
        ];
        for (text, expected) in lists {
            assert_eq!(causes(must_agree_for_list(&query(text))), *expected, "{text}");
        }
        let watches: &[(&str, &[&str])] = &[
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", &[]),
            ("sendInitialEvents=true", &[FORBIDDEN]),
            ("sendInitialEvents=true&resourceVersionMatch=Exact", &[FORBIDDEN, UNSUPPORTED]),
            ("resourceVersionMatch=NotOlderThan", &[FORBIDDEN]),
        ];
        for (text, expected) in watches {
            assert_eq!(causes(must_agree_for_watch(&query(text))), *expected, "{text}");
        }
    }
}

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
        match QueryExtractor::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(QueryExtractor(pairs)) => Ok(Self(pairs)),
            Err(error) => Err(Failure::bad_request(format!("invalid query: {error}"))),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
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
        let revision = query.revision()?;
        let name = "resourceVersionMatch";
        match (query.get(name).unwrap_or_default(), revision) {
            ("", None | Some(0)) | ("NotOlderThan", Some(0)) => Ok(Self::Latest),
            ("" | "NotOlderThan", Some(revision)) => Ok(Self::NotOlderThan(revision)),
            ("Exact", Some(0)) => Err(list_options_invalid(FieldError::forbidden(
                name,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ))),
            ("Exact", Some(revision)) => Ok(Self::Exact(revision)),
            ("Exact" | "NotOlderThan", None) => Err(list_options_invalid(FieldError::forbidden(
                name,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ))),
            (other, _) => {
                let supported = ["Exact", "NotOlderThan", ""];
                Err(list_options_invalid(FieldError::not_supported(name, other, &supported)))
            }
        }
    }
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

pub(crate) fn list_options_invalid(error: FieldError) -> Failure {
    options_invalid("ListOptions", error)
}

fn options_invalid(kind: &str, error: FieldError) -> Failure {
    Failure::invalid_object("meta.k8s.io", kind, "", &[error])
}

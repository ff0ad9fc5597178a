//! Kinds that users define: what a CustomResourceDefinition says, understood once and used by every request.
//!
//! ```text
//!   definition ──► Version ──► Kind ──► the same decoding, defaults, validation, tables, ownership as any kind
//!                  ├ schema: prune, defaults, check, rules
//!                  └ columns, scale paths, selectable fields, conversion
//! ```
//! A [`Kind`] of the table is data of the program; one from here carries its [`Version`], which lives as long as
//! somebody uses it. Only the names live for ever ([`names`]).

pub(crate) mod check;
mod columns;
mod defaults;
mod embedded;
mod format;
mod lists;
mod names;
mod path;
pub(crate) mod prune;
pub(crate) mod rules;
pub(crate) mod schema;
pub mod status;

use std::sync::Arc;

use serde_json::Value;

pub(crate) use columns::Column;
pub(crate) use path::Path;
pub(crate) use schema::Schema;

use crate::Kind;
use crate::status::{FieldError, FieldErrorKind};

/// One version of a kind that a user defined.
#[derive(Debug)]
pub struct Version {
    /// The whole definition, as it is stored.
    pub definition: Arc<Value>,
    pub(crate) schema: Schema,
    pub(crate) columns: Vec<Column>,
    pub(crate) selectable: Vec<String>,
    pub scale: Option<ScalePaths>,
    /// The version in which objects are stored.
    pub storage: String,
    /// Told to everyone who uses this version.
    pub(crate) deprecation: Option<String>,
    /// By which the schema in this very state is known: objects bear it in the store. `None` if it has no name.
    seal: Option<String>,
    /// Where its definition stands in `spec.versions`.
    index: usize,
}

/// Where a Scale finds its numbers.
#[derive(Debug)]
pub struct ScalePaths {
    spec_replicas: Path,
    status_replicas: Path,
    selector: Option<Path>,
}

impl ScalePaths {
    /// How many replicas the object asks for, if it says so.
    pub fn wanted(&self, object: &Value) -> Option<i64> {
        self.spec_replicas.find(object)?.as_i64()
    }

    /// How many replicas there are.
    pub fn found(&self, object: &Value) -> i64 {
        self.status_replicas.find(object).and_then(Value::as_i64).unwrap_or(0)
    }

    /// The selector of the replicas, as text.
    pub fn selector<'v>(&self, object: &'v Value) -> &'v str {
        self.selector.as_ref().and_then(|path| path.find(object)?.as_str()).unwrap_or_default()
    }

    /// Makes the object ask for so many replicas.
    pub fn set(&self, object: &mut Value, replicas: i64) {
        self.spec_replicas.set(object, replicas.into());
    }
}

/// The kinds that a definition lets the server serve, one for each served version: none before its names are accepted.
pub fn kinds(definition: &Arc<Value>) -> Vec<Kind> {
    if !status::is_established(definition) {
        return Vec::new();
    }
    of_versions(definition, |version| version["served"] == true)
}

/// The kinds that objects of a definition may be stored as, whether they are served or not.
pub fn stored_kinds(definition: &Arc<Value>) -> Vec<Kind> {
    of_versions(definition, |_| true)
}

fn of_versions(definition: &Arc<Value>, is_meant: impl Fn(&Value) -> bool) -> Vec<Kind> {
    let versions = definition["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let meant = versions.iter().enumerate().filter(|(_, version)| is_meant(version));
    meant.map(|(index, version)| kind(definition, index, version)).collect()
}

fn kind(definition: &Arc<Value>, index: usize, version: &Value) -> Kind {
    let entry = names::entry(definition, version);
    Kind::custom_of(entry, Arc::new(Version::of(definition, index, version)))
}

impl Version {
    fn of(definition: &Arc<Value>, index: usize, version: &Value) -> Self {
        let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        let storage = versions.clone().find(|version| version["storage"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let fields = version["selectableFields"].as_array().into_iter().flatten();
        Self {
            schema: Schema::root(&version["schema"]["openAPIV3Schema"]),
            columns: columns::of(version),
            selectable: fields
                .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
                .collect(),
            scale: scale_paths(&version["subresources"]["scale"]),
            storage: storage.map(|version| text(&version["name"])).unwrap_or_default(),
            deprecation: deprecation(definition, version),
            seal: seal(definition, version),
            definition: Arc::clone(definition),
            index,
        }
    }

    /// The name of this version's schema in its present state. What bears it was pruned and filled by this very schema,
    /// whichever server did so, and however old the definition was that it knew.
    pub fn seal(&self) -> Option<&str> {
        self.seal.as_deref()
    }

    /// Whether users' expressions are run for each object.
    pub fn has_rules(&self) -> bool {
        self.schema.has_rules()
    }

    /// The schema as the user wrote it.
    pub fn open_api_schema(&self) -> &Value {
        &self.definition["spec"]["versions"][self.index]["schema"]["openAPIV3Schema"]
    }

    /// What becomes of objects that are stored in another version.
    pub fn conversion(&self) -> &Value {
        &self.definition["spec"]["conversion"]
    }

    /// Takes away what the schema does not know; answers the paths of it, in their order.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.schema, object)
    }

    /// Fills in the defaults of the schema.
    pub(crate) fn fill(&self, object: &mut Value) {
        defaults::fill(&self.schema, object);
    }

    /// The faults of an object, which is the next state of `old` if there is one: what did not change is not faulted.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut faults = check::check(&self.schema, object, old);
        embedded::check(&self.schema, object, &mut faults);
        lists::check(&self.schema, object, old, &mut faults);
        if !self.schema.has_rules() {
            return faults;
        }
        if faults.iter().any(is_in_the_way) {
            let message = "some validation rules were not checked because the object was invalid; correct the existing \
                           errors to complete validation";
            faults.push(FieldError::invalid(check::NOWHERE, Value::Null, message));
        } else {
            rules::check(&self.schema, object, old, &mut faults);
        }
        faults
    }
}

/// Whether a fault means that rules would meet values of other types than they are written for.
fn is_in_the_way(fault: &FieldError) -> bool {
    matches!(
        fault.kind,
        FieldErrorKind::NotSupported
            | FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::Duplicate
            | FieldErrorKind::TypeInvalid
    )
}

/// A definition's uid tells it from those of the same name before and after; its generation grows with every change of
/// what it says.
fn seal(definition: &Value, version: &Value) -> Option<String> {
    let metadata = &definition["metadata"];
    let (uid, generation) = (metadata["uid"].as_str()?, metadata["generation"].as_i64()?);
    let is_plain =
        |text: &str| text.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
    let name = version["name"].as_str().filter(|name| is_plain(name))?;
    is_plain(uid).then(|| format!("{uid}.{generation}.{name}"))
}

fn scale_paths(scale: &Value) -> Option<ScalePaths> {
    let path = |field: &str| Path::parse(scale[field].as_str()?);
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let said = version["deprecationWarning"].as_str().map(str::to_owned);
    said.or_else(|| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, name) = (text(&definition["spec"]["group"]), text(&version["name"]));
        Some(format!("{group}/{name} {} is deprecated", text(&definition["spec"]["names"]["kind"])))
    })
}

/// Whether a format of texts or numbers demands something.
pub(crate) fn is_known_format(name: &str) -> bool {
    format::Format::parse(name).is_some()
}

/// `path.name`, or `name` at the root.
fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests;

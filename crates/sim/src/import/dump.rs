//! A live cluster's dump: what `kubectl get nodes,pods,namespaces -A -o json` (or `-o yaml`) prints. Lists are opened,
//! YAML may hold several documents; what an object means is for others to say.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a dump was not understood.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("cannot read `{}`", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not JSON; write it with `kubectl get nodes,pods,namespaces -A -o json`", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("`{}` is not YAML; write it with `kubectl get nodes,pods,namespaces -A -o yaml`", path.display())]
    Yaml { path: PathBuf, source: serde_yaml_ng::Error },
    #[error("`{}`: {what} has no kind: is it a Kubernetes object?", path.display())]
    NoKind { path: PathBuf, what: String },
    #[error("`{}`: {what} is not a valid {kind}", path.display())]
    Malformed { path: PathBuf, what: String, kind: String, source: serde_json::Error },
}

/// One object of a dump.
#[derive(Clone, Debug)]
pub struct Object {
    /// Of its API; empty for the first kinds of all, such as Pods.
    pub group: String,
    pub kind: String,
    path: PathBuf,
    what: String,
    value: Value,
}

impl Object {
    /// The object as what its kind says it is.
    pub fn typed<T: DeserializeOwned>(self) -> Result<T, DumpError> {
        self.read(|_, _, value| serde_json::from_value(value))
    }

    /// What `understand` makes of group, kind and object.
    pub fn read<T>(
        self,
        understand: impl FnOnce(&str, &str, Value) -> serde_json::Result<T>,
    ) -> Result<T, DumpError> {
        let Self { group, kind, path, what, value } = self;
        let understood = understand(&group, &kind, value);
        understood.map_err(|source| DumpError::Malformed { path, what, kind, source })
    }

    /// The object as it stands in the file.
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// The objects of a file, in its order.
pub fn objects(path: &Path) -> Result<Vec<Object>, DumpError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| DumpError::Open { path: path.to_owned(), source })?;
    let mut found = Vec::new();
    for (position, document) in documents(path, &text)?.into_iter().enumerate() {
        open(path, document, &format!("document {}", position + 1), &mut found)?;
    }
    Ok(found)
}

fn documents(path: &Path, text: &str) -> Result<Vec<Value>, DumpError> {
    if text.trim_start().starts_with('{') {
        let document = serde_json::from_str(text);
        return document
            .map(|document| vec![document])
            .map_err(|source| DumpError::Json { path: path.to_owned(), source });
    }
    let all = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    // An empty document is what stands between two separators.
    let all = all.filter(|document| !matches!(document, Ok(Value::Null)));
    all.collect::<Result<_, _>>().map_err(|source| DumpError::Yaml { path: path.to_owned(), source })
}

fn open(path: &Path, mut value: Value, place: &str, found: &mut Vec<Object>) -> Result<(), DumpError> {
    let name = value.pointer("/metadata/name").and_then(Value::as_str);
    let what = name.map_or_else(|| place.to_owned(), |name| format!("{place} (`{name}`)"));
    let Some(kind) = value.get("kind").and_then(Value::as_str).map(str::to_owned) else {
        return Err(DumpError::NoKind { path: path.to_owned(), what });
    };
    let Some(Value::Array(items)) =
        value.get_mut("items").filter(|_| kind.ends_with("List")).map(Value::take)
    else {
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let group = version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
        found.push(Object { group, kind, path: path.to_owned(), what, value });
        return Ok(());
    };
    let kind_of_items = kind.trim_end_matches("List");
    let version = value.get("apiVersion").cloned();
    for (position, mut item) in items.into_iter().enumerate() {
        // In a PodList, items do not repeat that they are Pods.
        if let Some(item) = item.as_object_mut().filter(|_| !kind_of_items.is_empty()) {
            item.entry("kind").or_insert_with(|| kind_of_items.into());
            if let Some(version) = &version {
                item.entry("apiVersion").or_insert_with(|| version.clone());
            }
        }
        open(path, item, &format!("item {}", position + 1), found)?;
    }
    Ok(())
}

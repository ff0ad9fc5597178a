//! The columns that a definition prints beside the name.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::path::Path;
use crate::table::age;

/// One additional column.
#[derive(Debug)]
pub(crate) struct Column {
    kind: String,
    /// `None` for a path that leads nowhere.
    path: Option<Path>,
    definition: Value,
}

/// The columns of a version.
pub(super) fn of(version: &Value) -> Vec<Column> {
    version["additionalPrinterColumns"].as_array().into_iter().flatten().map(Column::parse).collect()
}

impl Column {
    fn parse(column: &Value) -> Self {
        let text = |field: &str| column[field].as_str().unwrap_or_default();
        let path = text("jsonPath");
        let description = match text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            said => said.to_owned(),
        };
        let definition = json!({"name": text("name"), "type": text("type"), "format": text("format"),
            "description": description, "priority": column["priority"].as_i64().unwrap_or(0)});
        Self { kind: text("type").to_owned(), path: Path::parse(path), definition }
    }

    pub(crate) fn definition(&self) -> Value {
        self.definition.clone()
    }

    /// What it shows of an object; null where there is nothing to show.
    pub(crate) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.as_ref().and_then(|path| path.find(object)) else { return Value::Null };
        match (self.kind.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", other) => other.to_string().into(),
            ("integer", Value::Number(number)) => whole(number),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(_)) => match age::parse(value) {
                Some(time) => age::between(time, now).into(),
                None => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a column of whole numbers shows no fractions")]
fn whole(number: &serde_json::Number) -> Value {
    match number.as_i64() {
        Some(whole) => whole.into(),
        None => number.as_f64().map_or(Value::Null, |float| (float as i64).into()),
    }
}

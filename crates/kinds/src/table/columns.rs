//! The columns of every kind, as one table; priority 1 are those that `-o wide` adds.
//!
//! What a column tells is mostly a field, so its description is the field's, as the schema has it.

mod cluster;
mod placement;
mod workloads;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use self::Description::{Field, Own};
use crate::schema::source;
use crate::{Kind, custom};

#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: &'static str,
    description: Description,
    priority: u8,
    /// Whether clients may take the cell for the object's name.
    format_is_name: bool,
}

#[derive(Debug)]
enum Description {
    Own(&'static str),
    /// The description of a field, by the name of its definition (without `io.k8s.api.`) and its own.
    Field(&'static str, &'static str),
}

const fn own(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", description: Own(description), priority: 0, format_is_name: false }
}

const fn field(name: &'static str, definition: &'static str, field: &'static str) -> Column {
    let description = Field(definition, field);
    Column { name, kind: "string", description, priority: 0, format_is_name: false }
}

impl Column {
    const fn integer(self) -> Self {
        self.of("integer")
    }

    const fn boolean(self) -> Self {
        self.of("boolean")
    }

    const fn of(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    const fn identifying(self) -> Self {
        Self { format_is_name: true, ..self }
    }

    const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const NAME: Column = field("Name", META, "name").identifying();
const AGE: Column = field("Age", META, "creationTimestamp");
/// The age of kinds that say no columns.
const AGE_AS_DATE: Column = AGE.of("date");
const CREATED: Column = field("Created At", META, "creationTimestamp").of("date");
const CONTAINERS: Column = own("Containers", "Names of each container in the template.");
const IMAGES: Column = own("Images", "Images referenced by each container in the template.");

/// What is printed of a Scale, which says no more.
const SCALE: &[Column] = &[
    field("Name", META, "name"),
    field("Desired", "autoscaling.v1.ScaleSpec", "replicas").integer(),
    field("Available", "autoscaling.v1.ScaleStatus", "replicas").integer(),
    AGE,
];

const MEASURED: &[Column] = &[
    NAME,
    own("CPU", "Processor time in use."),
    own("Memory", "Memory in use."),
    own("Window", "The time over which it was measured."),
];

/// What is printed of a kind that has no columns of its own.
const OTHERS: &[Column] = &[NAME, CREATED];

fn columns(kind: &Kind) -> &'static [Column] {
    let found = match kind.group {
        "autoscaling" if kind.kind == "Scale" => Some(SCALE),
        "" | "events.k8s.io" => match kind.kind {
            "Pod" | "ReplicationController" | "PodTemplate" | "ResourceQuota" => workloads::columns(kind),
            _ => cluster::columns(kind),
        },
        "metrics.k8s.io" => Some(MEASURED),
        "apps" | "batch" | "autoscaling" | "policy" => workloads::columns(kind),
        "crest.dev" => workloads::columns(kind).or_else(|| placement::columns(kind)),
        _ => cluster::columns(kind),
    };
    found.unwrap_or(OTHERS)
}

/// Whether a kind has columns of its own.
pub(super) fn has_own(kind: &Kind) -> bool {
    !std::ptr::eq(columns(kind), OTHERS)
}

/// The column definitions of a kind's table.
pub(super) fn of(kind: &Kind) -> Vec<Value> {
    let Some(version) = kind.custom() else { return columns(kind).iter().map(definition).collect() };
    if version.columns.is_empty() {
        return [definition(&NAME), definition(&AGE_AS_DATE)].into();
    }
    let own = version.columns.iter().map(custom::Column::definition);
    std::iter::once(definition(&NAME)).chain(own).collect()
}

fn definition(column: &Column) -> Value {
    let Column { name, kind, description, priority, format_is_name } = column;
    let format = if *format_is_name { "name" } else { "" };
    let description = match description {
        Own(text) => text,
        Field(definition, field) => DESCRIPTIONS.get(&(*definition, *field)).map_or("", String::as_str),
    };
    json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
}

/// The few descriptions that columns need, out of the megabytes that the schemas are.
static DESCRIPTIONS: LazyLock<HashMap<(&str, &str), String>> = LazyLock::new(|| {
    let definitions = source::definitions();
    let all = crate::all().iter().flat_map(columns).chain(SCALE);
    all.filter_map(|column| match column.description {
        Own(_) => None,
        Field(name, field) => {
            let full = if name.starts_with("io.") { name.to_owned() } else { format!("io.k8s.api.{name}") };
            let text = definitions.get(&full)?["properties"][field]["description"].as_str()?;
            Some(((name, field), text.to_owned()))
        }
    })
    .collect()
});

#[cfg(test)]
mod tests {
    use super::{DESCRIPTIONS, Field, columns};

    #[test]
    fn every_description_is_found() {
        for column in crate::all().iter().flat_map(columns) {
            if let Field(definition, field) = column.description {
                assert!(DESCRIPTIONS.contains_key(&(definition, field)), "{column:?}");
            }
        }
    }
}

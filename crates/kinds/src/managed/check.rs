//! Whether an applied configuration fits its type. What a plain write would drop or mend is refused here, because
//! nobody can own a field that does not exist.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field_type::{Form, ItemError, Keys, Scalar, Type};
use super::set::shown;

/// Why a configuration does not fit, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}")]
pub(crate) struct Misfit {
    path: String,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("field not declared in schema")]
    Undeclared,
    #[error("expected {expected}, got {found}")]
    Type { expected: &'static str, found: String },
    #[error("element {index}: {why}")]
    Item { index: usize, why: ItemError },
    #[error("duplicate entries for key {0}")]
    Duplicate(String),
}

pub(crate) fn check(root: Type<'_>, object: &Value) -> Result<(), Misfit> {
    Walk { path: String::new() }.value(root, object)
}

struct Walk {
    path: String,
}

impl Walk {
    fn value(&mut self, kind: Type<'_>, value: &Value) -> Result<(), Misfit> {
        if value.is_null() {
            return Ok(());
        }
        match kind.parts(Some(value)) {
            Form::Whole => self.scalar(kind.scalar(), value),
            Form::Fields => {
                let Some(fields) = value.as_object() else { return Err(self.wrong("map", value)) };
                for (name, value) in fields {
                    let length = self.enter(&format!(".{name}"));
                    let field = kind.field(name).ok_or_else(|| self.misfit(Fault::Undeclared))?;
                    self.value(field.inner, value)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            Form::Entries(inner) => {
                let Some(entries) = value.as_object() else { return Err(self.wrong("map", value)) };
                for (name, value) in entries {
                    let length = self.enter(&format!(".{name}"));
                    self.value(inner, value)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
            Form::Items(keys, inner) => {
                let Some(items) = value.as_array() else { return Err(self.wrong("list", value)) };
                // A list that is written as a whole may say the same twice.
                if !matches!(kind.form(Some(value)), Form::Whole) {
                    self.elements(keys, items)?;
                }
                for (index, item) in items.iter().enumerate() {
                    let length = self.enter(&format!("[{index}]"));
                    self.value(inner, item)?;
                    self.path.truncate(length);
                }
                Ok(())
            }
        }
    }

    fn elements(&self, keys: Keys<'_>, items: &[Value]) -> Result<(), Misfit> {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = keys.element(item).map_err(|why| self.misfit(Fault::Item { index, why }))?;
            if let Some(twice) = seen.replace(element) {
                return Err(self.misfit(Fault::Duplicate(shown(&twice))));
            }
        }
        Ok(())
    }

    fn scalar(&self, scalar: Scalar, value: &Value) -> Result<(), Misfit> {
        let (fits, expected) = match scalar {
            Scalar::Any => (true, "anything"),
            Scalar::Text => (value.is_string(), "string"),
            Scalar::Number => (value.is_number(), "numeric (int or float)"),
            Scalar::Boolean => (value.is_boolean(), "boolean"),
        };
        if fits { Ok(()) } else { Err(self.wrong(expected, value)) }
    }

    fn enter(&mut self, step: &str) -> usize {
        let length = self.path.len();
        self.path.push_str(step);
        length
    }

    fn wrong(&self, expected: &'static str, value: &Value) -> Misfit {
        self.misfit(Fault::Type { expected, found: value.to_string() })
    }

    fn misfit(&self, fault: Fault) -> Misfit {
        Misfit { path: self.path.clone(), fault }
    }
}

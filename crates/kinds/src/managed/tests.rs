//! Writes to objects, and who owns what after them.

mod applies;
mod custom;
mod laws;
mod updates;

use expect_test::Expect;
use serde_json::{Value, json};

use super::{Applied, Writer};
use crate::status::Failure;
use crate::{Kind, find};

/// A write by `manager` at a minute of the first hour of 2026.
#[derive(Clone, Copy)]
struct By {
    manager: &'static str,
    subresource: &'static str,
    minute: u8,
}

fn by(manager: &'static str, minute: u8) -> By {
    By { manager, subresource: "", minute }
}

impl By {
    fn with(self, write: impl FnOnce(&Writer<'_>)) {
        let now = format!("2026-01-01T00:{:02}:00Z", self.minute);
        write(&Writer { manager: self.manager, subresource: self.subresource, now: &now });
    }
}

fn kind(plural: &str) -> &'static Kind {
    let group = match plural {
        "deployments" => "apps",
        "dagjobs" => "crest.dev",
        _ => "",
    };
    let version = if group == "crest.dev" { "v1alpha1" } else { "v1" };
    find(group, version, plural).unwrap()
}

/// An object with its managers, as one manager after the other leaves it.
#[derive(Clone)]
struct Story {
    kind: &'static Kind,
    object: Option<Value>,
}

impl Story {
    fn of(plural: &str) -> Self {
        Self { kind: kind(plural), object: None }
    }

    fn named(&self, mut object: Value) -> Value {
        object["apiVersion"] = self.kind.api_version().into();
        object["kind"] = self.kind.kind.into();
        object["metadata"]["name"] = "x".into();
        object
    }

    fn update(&mut self, by: By, object: Value) {
        let mut new = self.named(object);
        by.with(|writer| super::update(self.kind, writer, self.object.as_ref(), &mut new));
        self.object = Some(new);
    }

    fn try_apply(&mut self, by: By, object: Value, force: bool) -> Result<(), Failure> {
        let applied = Applied::check(self.kind, self.named(object))?;
        let current = self.object.clone().unwrap_or_else(|| json!({}));
        let mut outcome = Ok(Value::Null);
        by.with(|writer| outcome = super::apply(self.kind, writer, &current, &applied, force));
        self.object = Some(outcome?);
        Ok(())
    }

    fn apply(&mut self, by: By, object: Value) {
        self.try_apply(by, object, false).unwrap();
    }

    fn refused(&mut self, by: By, object: Value, expect: Expect) {
        let failure = self.try_apply(by, object, false).unwrap_err();
        expect.assert_eq(&format!("{} {failure}", failure.code()));
    }

    /// One line per manager, then the object without its identity.
    fn shows(&self, expect: Expect) {
        let mut object = self.object.clone().unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("name");
        let entries = metadata.remove("managedFields").unwrap_or_default();
        let mut lines: Vec<String> = entries.as_array().into_iter().flatten().map(line).collect();
        let fields = object.as_object_mut().unwrap();
        fields.remove("apiVersion");
        fields.remove("kind");
        lines.push(object.to_string());
        expect.assert_eq(&lines.join("\n"));
    }
}

fn line(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let minute = text("time").get(14..16).unwrap_or("--");
    let subresource = match text("subresource") {
        "" => String::new(),
        name => format!("/{name}"),
    };
    format!("{minute} {} {}{subresource} {}", text("operation"), text("manager"), entry["fieldsV1"])
}

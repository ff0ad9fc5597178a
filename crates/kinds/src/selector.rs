//! Label and field selectors of lists, watches and specs.

use serde_json::Value;

use crate::Kind;
use crate::status::Failure;

/// A parsed label selector; empty matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {}

impl Labels {
    /// `app=web,tier in (a, b),!canary`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let _used_soon = text;
        Ok(Self {})
    }

    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        let _used_soon = (kind, object);
        true
    }

    pub fn is_empty(&self) -> bool {
        true
    }
}

/// A parsed field selector; empty matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {}

impl Fields {
    /// `spec.nodeName=n1,status.phase!=Failed`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let _used_soon = text;
        Ok(Self {})
    }

    /// Refuses fields that `kind` does not select by; to be called once per request, before `matches`.
    pub fn check(&self, kind: &Kind) -> Result<(), Failure> {
        let _used_soon = kind;
        Ok(())
    }

    pub fn matches(&self, kind: &Kind, object: &Value) -> bool {
        let _used_soon = (kind, object);
        true
    }

    /// The value that `metadata.name` must equal, so that a list of one needs no scan.
    pub fn name(&self) -> Option<&str> {
        None
    }

    pub fn is_empty(&self) -> bool {
        true
    }
}

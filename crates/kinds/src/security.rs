//! The Pod Security Standards: which Pods a namespace's level lets in, and what of a Pod is against it. Pure.
//!
//! ```text
//!   privileged   everything
//!   baseline     nothing that is known to break out of a container
//!   restricted   baseline, and nothing that is not needed
//! ```

mod baseline;
mod facts;
mod restricted;

use serde_json::Value;

use crate::status::FieldError;
use facts::Facts;

/// How strict a namespace is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Self::Privileged),
            "baseline" => Some(Self::Baseline),
            "restricted" => Some(Self::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// A level, as some version of Kubernetes understood it: the rules became stricter over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    /// The minor version; `u32::MAX` is the latest.
    minor: u32,
}

impl Default for Standard {
    fn default() -> Self {
        Self { level: Level::Privileged, minor: u32::MAX }
    }
}

impl std::fmt::Display for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.minor {
            u32::MAX => write!(f, "{}:latest", self.level.as_str()),
            minor => write!(f, "{}:v1.{minor}", self.level.as_str()),
        }
    }
}

/// What becomes of Pods that are against a namespace's standards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// They are refused.
    pub enforce: Standard,
    /// They are let in, and the audit log says so.
    pub audit: Standard,
    /// They are let in, and the client is told.
    pub warn: Standard,
}

/// The labels of each: of the level, and of the version.
const MODES: [[&str; 2]; 3] = [
    ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"],
    ["pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/audit-version"],
    ["pod-security.kubernetes.io/warn", "pod-security.kubernetes.io/warn-version"],
];

impl Policy {
    /// What the labels of a namespace say. A label that cannot be understood means the strictest; whoever sets one is
    /// told by [`label_faults`].
    pub fn of_labels(labels: &Value) -> Self {
        let standard = |[level, version]: [&str; 2]| {
            let level = labels[level]
                .as_str()
                .map_or(Level::Privileged, |text| Level::parse(text).unwrap_or(Level::Restricted));
            let minor = labels[version].as_str().and_then(minor).unwrap_or(u32::MAX);
            Standard { level, minor }
        };
        let [enforce, audit, warn] = MODES.map(standard);
        Self { enforce, audit, warn }
    }
}

/// `latest` or `v1.<minor>`.
fn minor(text: &str) -> Option<u32> {
    if text == "latest" {
        return Some(u32::MAX);
    }
    let digits = text.strip_prefix("v1.")?;
    digits.parse().ok().filter(|minor: &u32| minor.to_string() == digits)
}

/// What of a namespace's labels cannot be understood.
pub fn label_faults(labels: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    for [level, version] in MODES {
        if let Some(text) = labels[level].as_str().filter(|text| Level::parse(text).is_none()) {
            let why = "must be one of privileged, baseline, restricted";
            faults.push(FieldError::invalid(format!("metadata.labels[{level}]"), text, why));
        }
        if let Some(text) = labels[version].as_str().filter(|text| minor(text).is_none()) {
            let why = "must be \"latest\" or \"v1.x\"";
            faults.push(FieldError::invalid(format!("metadata.labels[{version}]"), text, why));
        }
    }
    faults
}

/// One rule that a Pod breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Of what it speaks, such as `host namespaces`.
    what: &'static str,
    /// Where, such as `hostPID=true`.
    detail: String,
}

/// What of a Pod, or of a template of Pods, is against `standard`; empty if nothing is.
pub fn violations(standard: Standard, metadata: &Value, spec: &Value) -> Vec<String> {
    let facts = Facts { metadata, spec, minor: standard.minor };
    let mut found = match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline::violations(&facts),
        Level::Restricted => {
            let mut found = baseline::shared(&facts);
            found.extend(restricted::violations(&facts));
            found
        }
    };
    found.sort_by_key(|violation| violation.what);
    found.into_iter().map(|Violation { what, detail }| format!("{what} ({detail})")).collect()
}

#[cfg(test)]
mod tests;

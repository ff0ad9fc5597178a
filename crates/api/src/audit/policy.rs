//! What of a request is written down: an `audit.k8s.io/v1` Policy. The first rule that matches decides; where none does,
//! nothing is written.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attributes::{Attributes, Target};
use crate::authentication::User;

/// What is written down where nothing else is asked for: who did what, never what was in it.
const DEFAULT: &str = include_str!("default.yaml");

/// How much of a request is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Level {
    None,
    /// Who, what, when and how it ended.
    Metadata,
    /// And the body of the request.
    Request,
    /// And that of the answer.
    RequestResponse,
}

/// When a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It is known who asks, and nothing is done yet.
    RequestReceived,
    /// An answer without a foreseeable end has begun: a watch.
    ResponseStarted,
    ResponseComplete,
    /// The request made the server panic.
    Panic,
}

/// What a policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) level: Level,
    omitted: Vec<Stage>,
    pub(super) omits_managed_fields: bool,
}

impl Judgement {
    pub(super) fn nothing() -> Self {
        Self { level: Level::None, omitted: Vec::new(), omits_managed_fields: false }
    }

    pub(super) fn wants(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omitted.contains(&stage)
    }
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read the audit policy `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the audit policy `{path}` is no YAML: {message}")]
    Yaml { path: PathBuf, message: String },
    #[error("the audit policy `{path}` is wrong at {at}: {message}")]
    Wrong { path: PathBuf, at: String, message: String },
}

/// The rules, in their order.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    rules: Vec<Rule>,
    omitted: Vec<Stage>,
    omits_managed_fields: bool,
}

/// The file, with rules that are not read yet, so that an error can name the rule.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    rules: Vec<Value>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

/// Resources of one group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Where in the file something is wrong, and what.
type Wrong = (String, String);

impl Default for Policy {
    fn default() -> Self {
        Self::parse(DEFAULT).expect("the policy that comes with the program is right; a test reads it")
    }
}

impl Policy {
    pub(super) fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(at, message)| match at.as_str() {
            "" => PolicyError::Yaml { path: path.to_owned(), message },
            _ => PolicyError::Wrong { path: path.to_owned(), at, message },
        })
    }

    fn parse(text: &str) -> Result<Self, Wrong> {
        let value = kinds::decode::raw("application/yaml", text.as_bytes());
        let value = value.map_err(|failure| (String::new(), failure.message().to_owned()))?;
        let file: File =
            serde_json::from_value(value).map_err(|error| ("the top".to_owned(), error.to_string()))?;
        if (file.api_version.as_str(), file.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            let message =
                format!("it is a {} of {}, not a Policy of audit.k8s.io/v1", file.kind, file.api_version);
            return Err(("apiVersion".to_owned(), message));
        }
        if file.rules.is_empty() {
            return Err(("rules".to_owned(), "without a rule nothing would be written".to_owned()));
        }
        let rules = file.rules.into_iter().enumerate().map(|(index, rule)| Rule::parse(index, rule));
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            omitted: file.omit_stages,
            omits_managed_fields: file.omit_managed_fields,
        })
    }

    /// What is to be written of a request; `user` is who sent it, if that became known.
    pub(super) fn judge(&self, user: Option<&User>, attributes: &Attributes) -> Judgement {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, attributes)) else {
            return Judgement::nothing();
        };
        Judgement {
            level: rule.level,
            omitted: self.omitted.iter().chain(&rule.omit_stages).copied().collect(),
            omits_managed_fields: rule.omit_managed_fields.unwrap_or(self.omits_managed_fields),
        }
    }
}

impl Rule {
    fn parse(index: usize, value: Value) -> Result<Self, Wrong> {
        let at = format!("rules[{index}]");
        let rule: Self = serde_json::from_value(value).map_err(|error| (at.clone(), error.to_string()))?;
        match rule.fault() {
            Some((field, message)) => Err((format!("{at}.{field}"), message)),
            None => Ok(rule),
        }
    }

    /// The field that makes no sense, and why.
    fn fault(&self) -> Option<Wrong> {
        let is_of_objects = !self.resources.is_empty() || !self.namespaces.is_empty();
        if is_of_objects && !self.non_resource_urls.is_empty() {
            let message = "a rule is about resources or about other paths, not both";
            return Some(("nonResourceURLs".to_owned(), message.to_owned()));
        }
        let is_path = |url: &String| {
            url == "*" || (url.starts_with('/') && !url.strip_suffix('*').unwrap_or(url).contains('*'))
        };
        if let Some(url) = self.non_resource_urls.iter().find(|url| !is_path(url)) {
            let message = format!("`{url}` must begin with `/` and may have a `*` at its end only");
            return Some(("nonResourceURLs".to_owned(), message));
        }
        let nameless = |one: &Resources| one.resources.is_empty() && !one.resource_names.is_empty();
        let index = self.resources.iter().position(nameless)?;
        let message = "names say nothing without resources".to_owned();
        Some((format!("resources[{index}].resourceNames"), message))
    }

    fn matches(&self, user: Option<&User>, attributes: &Attributes) -> bool {
        let has = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        let is_of_user = match user {
            Some(user) => {
                let in_group = |group: &String| self.user_groups.contains(group);
                has(&self.users, &user.name)
                    && (self.user_groups.is_empty() || user.groups.iter().any(in_group))
            }
            None => self.users.is_empty() && self.user_groups.is_empty(),
        };
        is_of_user && has(&self.verbs, &attributes.verb) && self.is_about(attributes)
    }

    fn is_about(&self, attributes: &Attributes) -> bool {
        let is_of_objects = !self.resources.is_empty() || !self.namespaces.is_empty();
        match &attributes.object {
            _ if !is_of_objects && self.non_resource_urls.is_empty() => true,
            None => self.non_resource_urls.iter().any(|url| is_below(url, &attributes.path)),
            Some(target) => is_of_objects && self.is_about_object(target),
        }
    }

    fn is_about_object(&self, target: &Target) -> bool {
        let namespace = target.namespace.as_deref().unwrap_or_default();
        (self.namespaces.is_empty() || self.namespaces.iter().any(|one| one == namespace))
            && (self.resources.is_empty() || self.resources.iter().any(|one| one.contain(target)))
    }
}

impl Resources {
    fn contain(&self, target: &Target) -> bool {
        if self.group != target.group {
            return false;
        }
        let name = target.name.as_deref().unwrap_or_default();
        let is_named = self.resource_names.is_empty() || self.resource_names.iter().any(|one| one == name);
        self.resources.is_empty()
            || (is_named && self.resources.iter().any(|pattern| is_resource(pattern, target)))
    }
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/scale` or `*` means the target.
fn is_resource(pattern: &str, target: &Target) -> bool {
    let part = target.subresource.as_deref();
    match pattern.split_once('/') {
        None => pattern == "*" || (pattern == target.resource && part.is_none()),
        Some(("*", wanted)) => part == Some(wanted),
        Some((resource, "*")) => resource == target.resource,
        Some((resource, wanted)) => resource == target.resource && part == Some(wanted),
    }
}

fn is_below(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests;

//! Which requests a webhook or a policy wants to see.

use serde_json::Value;

use super::Request;
use crate::Kind;
use crate::selector::Labels;
use crate::status::Failure;

const GROUP: &str = "admissionregistration.k8s.io";

/// The rules and selectors of a webhook, of a policy or of a binding.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    /// `None` is about everything: a binding narrows only where it says so.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    /// Whether another version of what a rule names is meant as well.
    takes_equivalents: bool,
    namespaces: Labels,
    objects: Labels,
}

#[derive(Clone, Debug, Default)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// `pods`, `pods/status`, `*/scale`, `*/*`.
    resources: Vec<String>,
    /// Empty for all.
    names: Vec<String>,
    scope: String,
}

impl Matcher {
    /// That of a webhook.
    pub fn of_webhook(webhook: &Value) -> Result<Self, Failure> {
        let rules = Some(rules(&webhook["rules"]));
        Ok(Self { rules, ..Self::of_resources(webhook)? })
    }

    /// That of a policy or a binding, from its `MatchResources`.
    pub fn of_resources(matched: &Value) -> Result<Self, Failure> {
        let labels = |field: &str| Labels::from_spec(&matched[field]).map(Option::unwrap_or_default);
        let named = &matched["resourceRules"];
        Ok(Self {
            rules: named.as_array().filter(|rules| !rules.is_empty()).map(|_| rules(named)),
            excluded: rules(&matched["excludeResourceRules"]),
            takes_equivalents: matched["matchPolicy"] != "Exact",
            namespaces: labels("namespaceSelector")?,
            objects: labels("objectSelector")?,
        })
    }

    /// As which kind the rules speak of what is requested; `None` if they do not.
    pub fn seen_as<'a>(&self, request: &Request<'a>) -> Option<&'a Kind> {
        if is_exempt(request.kind) || self.is_among(&self.excluded, request).is_some() {
            return None;
        }
        match &self.rules {
            None => Some(request.kind),
            Some(rules) => self.is_among(rules, request),
        }
    }

    fn is_among<'a>(&self, rules: &[Rule], request: &Request<'a>) -> Option<&'a Kind> {
        let is_about = |kind: &Kind| rules.iter().any(|rule| rule.is_about(request, kind));
        if is_about(request.kind) {
            return Some(request.kind);
        }
        if !self.takes_equivalents {
            return None;
        }
        let of_table = crate::all().iter().filter(|kind| kind.shares_storage_with(request.kind));
        let mut others = of_table.chain(request.versions);
        others.find(|kind| is_about(kind))
    }

    /// The labels that the namespace of the object must have.
    pub fn namespaces(&self) -> &Labels {
        &self.namespaces
    }

    /// Whether the new or the old state has the labels that are asked for.
    pub fn selects(&self, object: &Value, old: &Value) -> bool {
        let is_selected = |object: &Value| {
            object["metadata"].is_object() && self.objects.match_labels(&object["metadata"]["labels"])
        };
        self.objects.is_empty() || is_selected(object) || is_selected(old)
    }
}

/// What decides over admission is itself not subject to it: else one bad configuration could never be mended.
fn is_exempt(kind: &Kind) -> bool {
    kind.group == GROUP
}

fn rules(rules: &Value) -> Vec<Rule> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let texts = rule[field].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rules = rules.as_array().into_iter().flatten();
    let read = rules.map(|rule| Rule {
        operations: texts(rule, "operations"),
        groups: texts(rule, "apiGroups"),
        versions: texts(rule, "apiVersions"),
        resources: texts(rule, "resources"),
        names: texts(rule, "resourceNames"),
        scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
    });
    read.collect()
}

impl Rule {
    fn is_about(&self, request: &Request<'_>, kind: &Kind) -> bool {
        let has = |texts: &[String], wanted: &str| texts.iter().any(|text| text == "*" || text == wanted);
        has(&self.operations, request.operation.as_str())
            && has(&self.groups, kind.group)
            && has(&self.versions, kind.version)
            && self.is_in_scope(kind)
            && (self.names.is_empty() || self.names.contains(&request.name))
            && self
                .resources
                .iter()
                .any(|resource| names_resource(resource, kind.plural, request.subresource))
    }

    fn is_in_scope(&self, kind: &Kind) -> bool {
        match self.scope.as_str() {
            "Cluster" => !kind.is_namespaced(),
            "Namespaced" => kind.is_namespaced(),
            _ => true,
        }
    }
}

fn names_resource(said: &str, plural: &str, subresource: Option<&str>) -> bool {
    let (resource, part) = said.split_once('/').unwrap_or((said, ""));
    (resource == "*" || resource == plural) && (part == "*" || part == subresource.unwrap_or_default())
}

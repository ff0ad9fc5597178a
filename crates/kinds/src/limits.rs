//! Limit ranges: what containers get that say nothing, and how much, how little and how unevenly may be asked. Pure.

use serde_json::{Map, Value};

use crate::resources::{self, Amount, Amounts};

const NOTE: &str = "kubernetes.io/limit-ranger";

/// Fills in what the containers of `pod` leave open, from the defaults of `range`; notes on the Pod what was filled in.
pub fn complete(range: &Value, pod: &mut Value) {
    let mut notes = Vec::new();
    for (list, role) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list)?.as_array_mut());
        for container in containers.into_iter().flatten() {
            for (field, source) in [("requests", "defaultRequest"), ("limits", "default")] {
                let set = fill(container, field, &defaults(range, source));
                if !set.is_empty() {
                    let what = field.trim_end_matches('s');
                    let name = container["name"].as_str().unwrap_or_default();
                    notes.push(format!("{} {what} for {role} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        let annotations = &mut pod["metadata"]["annotations"];
        if !annotations.is_object() {
            *annotations = Value::Object(Map::new());
        }
        annotations[NOTE] = note.into();
    }
}

/// What the range gives containers, of `default` or `defaultRequest`.
fn defaults(range: &Value, source: &str) -> Vec<(String, Value)> {
    let containers = items(range, "Container");
    let all = containers.flat_map(|item| item[source].as_object().into_iter().flatten());
    all.map(|(name, amount)| (name.clone(), amount.clone())).collect()
}

fn items<'a>(range: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let items = range["spec"]["limits"].as_array().into_iter().flatten();
    items.filter(move |item| item["type"] == kind)
}

/// The names that were set, in order.
fn fill(container: &mut Value, field: &str, defaults: &[(String, Value)]) -> Vec<String> {
    let Some(container) = container.as_object_mut() else { return Vec::new() };
    let mut set = Vec::new();
    for (name, amount) in defaults {
        let resources = &mut container.entry("resources").or_insert(Value::Null)[field];
        if resources[name].is_null() {
            resources[name] = amount.clone();
            set.push(name.clone());
        }
    }
    set.sort();
    set
}

/// What of a Pod breaks `range`.
pub fn faults_of_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let lists = ["containers", "initContainers"];
    for container in lists.iter().flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten()) {
        let requests = Amount::parse_all(&container["resources"]["requests"]);
        let limits = Amount::parse_all(&container["resources"]["limits"]);
        items(range, "Container").for_each(|item| check(item, &requests, &limits, &mut faults));
    }
    let (requests, limits) = (resources::of_pod(pod, "requests"), resources::of_pod(pod, "limits"));
    items(range, "Pod").for_each(|item| check(item, &requests, &limits, &mut faults));
    faults
}

/// What of a volume claim breaks `range`.
pub fn faults_of_claim(range: &Value, claim: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let asked = Amount::parse_all(&claim["spec"]["resources"]["requests"]);
    for item in items(range, "PersistentVolumeClaim") {
        for (name, least) in Amount::parse_all(&item["min"]) {
            let subject = Subject { name: &name, item };
            faults.extend(subject.too_small(least, asked.get(&name), None));
        }
        for (name, most) in Amount::parse_all(&item["max"]) {
            let subject = Subject { name: &name, item };
            match asked.get(&name) {
                None => faults.push(subject.bound("maximum", most, ".  No request is specified")),
                Some(asked) if *asked > most => {
                    faults.push(subject.bound("maximum", most, &format!(", but request is {asked}")));
                }
                Some(_) => {}
            }
        }
    }
    faults
}

fn check(item: &Value, requests: &Amounts, limits: &Amounts, faults: &mut Vec<String>) {
    for (name, least) in Amount::parse_all(&item["min"]) {
        faults.extend(Subject { name: &name, item }.too_small(least, requests.get(&name), limits.get(&name)));
    }
    for (name, most) in Amount::parse_all(&item["max"]) {
        faults.extend(Subject { name: &name, item }.too_big(most, requests.get(&name), limits.get(&name)));
    }
    for (name, ratio) in Amount::parse_all(&item["maxLimitRequestRatio"]) {
        faults.extend(Subject { name: &name, item }.too_uneven(
            ratio,
            requests.get(&name),
            limits.get(&name),
        ));
    }
}

/// Of what and of whom a fault speaks.
struct Subject<'a> {
    name: &'a str,
    item: &'a Value,
}

impl Subject<'_> {
    fn kind(&self) -> &str {
        self.item["type"].as_str().unwrap_or_default()
    }

    fn bound(&self, which: &str, bound: Amount, rest: &str) -> String {
        format!("{which} {} usage per {} is {bound}{rest}", self.name, self.kind())
    }

    fn too_small(&self, least: Amount, request: Option<&Amount>, limit: Option<&Amount>) -> Option<String> {
        let rest = match (request, limit) {
            (None, _) => ".  No request is specified".to_owned(),
            (Some(request), _) if *request < least => format!(", but request is {request}"),
            (_, Some(limit)) if *limit < least => format!(", but limit is {limit}"),
            _ => return None,
        };
        Some(self.bound("minimum", least, &rest))
    }

    fn too_big(&self, most: Amount, request: Option<&Amount>, limit: Option<&Amount>) -> Option<String> {
        let rest = match (request, limit) {
            (_, None) => ".  No limit is specified".to_owned(),
            (_, Some(limit)) if *limit > most => format!(", but limit is {limit}"),
            (Some(request), _) if *request > most => format!(", but request is {request}"),
            _ => return None,
        };
        Some(self.bound("maximum", most, &rest))
    }

    /// The ratio of limit to request.
    fn too_uneven(&self, most: Amount, request: Option<&Amount>, limit: Option<&Amount>) -> Option<String> {
        let (name, kind) = (self.name, self.kind());
        let start = format!("{name} max limit to request ratio per {kind} is {most}, but ");
        let set = |amount: Option<&Amount>| amount.filter(|amount| !amount.is_zero()).copied();
        let Some(request) = set(request) else {
            return Some(format!("{start}no request is specified or request is 0"));
        };
        let Some(limit) = set(limit) else {
            return Some(format!("{start}no limit is specified or limit is 0"));
        };
        // limit / request > most, without division.
        let is_over = limit.milli().saturating_mul(1000) > most.milli().saturating_mul(request.milli());
        let ratio = limit.milli().saturating_mul(1000) / request.milli();
        let (whole, rest) = (ratio / 1000, ratio % 1000);
        is_over.then(|| format!("{start}provided ratio is {whole}.{rest:03}000"))
    }
}

#[cfg(test)]
mod tests;

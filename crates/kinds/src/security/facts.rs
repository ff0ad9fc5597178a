//! What the rules ask of a Pod: its containers, and what their security contexts say.

use serde_json::Value;

use super::Violation;

/// A Pod or a template of Pods, and the version of the rules.
pub(super) struct Facts<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) minor: u32,
}

impl<'a> Facts<'a> {
    /// All containers of all sorts, with their names.
    pub(super) fn containers(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let spec = self.spec;
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let all = lists.into_iter().flat_map(move |list| spec[list].as_array().into_iter().flatten());
        all.map(|container| (container["name"].as_str().unwrap_or_default(), container))
    }

    /// Security contexts of the containers, with their names.
    pub(super) fn contexts(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.containers().map(|(name, container)| (name, &container["securityContext"]))
    }

    pub(super) fn pod_context(&self) -> &'a Value {
        &self.spec["securityContext"]
    }

    /// The names of the containers of which `is_bad` holds.
    pub(super) fn names(&self, is_bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.contexts().filter(|(_, context)| is_bad(context)).map(|(name, _)| name).collect()
    }

    pub(super) fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn listed(what: &str, names: &[&str]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{what}{plural} {}", quoted(names))
}

pub(super) fn quoted(names: &[&str]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for name in names.iter().map(|name| format!("\"{name}\"")) {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen.join(", ")
}

/// The violation, if any container is at fault.
pub(super) fn by_containers(what: &'static str, names: &[&str], must: &str) -> Option<Violation> {
    let detail = || format!("{} {must}", listed("container", names));
    (!names.is_empty()).then(|| Violation { what, detail: detail() })
}

/// The violation, if the Pod or any of its containers is at fault.
pub(super) fn by_pod_or_containers(
    what: &'static str,
    is_pod: bool,
    names: &[&str],
    must: &str,
) -> Option<Violation> {
    let mut subjects: Vec<String> = is_pod.then(|| "pod".to_owned()).into_iter().collect();
    if !names.is_empty() {
        subjects.push(listed("container", names));
    }
    let detail = || format!("{} {must}", subjects.join(" and "));
    (!subjects.is_empty()).then(|| Violation { what, detail: detail() })
}

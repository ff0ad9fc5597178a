//! The restricted level: nothing that is not needed.

use serde_json::Value;

use super::Violation;
use super::facts::{Facts, by_containers, by_pod_or_containers, listed};

/// Volumes that are made of the Pod's own, or that an administrator has put behind a claim.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Since when a Pod that says to be for Windows is not asked for what only Linux has.
const WINDOWS_SINCE: u32 = 25;

pub(super) fn violations(facts: &Facts<'_>) -> Vec<Violation> {
    let exempt = facts.is_windows() && facts.minor >= WINDOWS_SINCE;
    let linux = if exempt {
        Vec::new()
    } else {
        let escalates = facts.names(|context| context["allowPrivilegeEscalation"] != false);
        let must = "must set securityContext.allowPrivilegeEscalation=false";
        let mut found: Vec<Violation> =
            by_containers("allowPrivilegeEscalation != false", &escalates, must).into_iter().collect();
        found.extend(capabilities(facts));
        found.extend(seccomp(facts));
        found
    };
    let mut found: Vec<Violation> =
        [volumes(facts), non_root(facts), root(facts)].into_iter().flatten().collect();
    found.extend(linux);
    found
}

fn capabilities(facts: &Facts<'_>) -> Option<Violation> {
    let list = |context: &Value, field: &str| -> Vec<String> {
        let items = context["capabilities"][field].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keeps = facts.names(|context| !list(context, "drop").iter().any(|name| name == "ALL"));
    let adds = facts.names(|context| list(context, "add").iter().any(|name| name != "NET_BIND_SERVICE"));
    let mut added: Vec<String> = facts
        .contexts()
        .flat_map(|(_, context)| list(context, "add"))
        .filter(|name| name != "NET_BIND_SERVICE")
        .map(|name| format!("\"{name}\""))
        .collect();
    added.sort();
    added.dedup();
    let mut said = Vec::new();
    if !keeps.is_empty() {
        said.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            listed("container", &keeps)
        ));
    }
    if !adds.is_empty() {
        said.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            listed("container", &adds),
            added.join(", ")
        ));
    }
    (!said.is_empty()).then(|| Violation { what: "unrestricted capabilities", detail: said.join("; ") })
}

fn volumes(facts: &Facts<'_>) -> Option<Violation> {
    let volumes = facts.spec["volumes"].as_array().into_iter().flatten();
    let kind = |volume: &Value| {
        let fields = volume.as_object()?.iter().filter(|(field, value)| *field != "name" && !value.is_null());
        fields.map(|(field, _)| field.clone()).find(|field| !VOLUMES.contains(&field.as_str()))
    };
    let mut names: Vec<&str> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    for volume in volumes {
        if let Some(kind) = kind(volume) {
            names.push(volume["name"].as_str().unwrap_or_default());
            kinds.push(format!("\"{kind}\""));
        }
    }
    kinds.sort();
    kinds.dedup();
    let plural = if names.len() == 1 { "uses restricted volume type" } else { "use restricted volume types" };
    let detail = || format!("{} {plural} {}", listed("volume", &names), kinds.join(", "));
    (!names.is_empty()).then(|| Violation { what: "restricted volume types", detail: detail() })
}

/// Whoever does not say it himself is bound by what the Pod says.
fn non_root(facts: &Facts<'_>) -> Option<Violation> {
    let pod = facts.pod_context()["runAsNonRoot"].as_bool();
    let refuses = facts.names(|context| context["runAsNonRoot"] == false);
    let silent = facts.names(|context| context["runAsNonRoot"].is_null());
    let what = "runAsNonRoot != true";
    let is_pod = pod == Some(false);
    if is_pod || !refuses.is_empty() {
        let must = "must not set securityContext.runAsNonRoot=false";
        return by_pod_or_containers(what, is_pod, &refuses, must);
    }
    let detail =
        || format!("pod or {} must set securityContext.runAsNonRoot=true", listed("container", &silent));
    (pod.is_none() && !silent.is_empty()).then(|| Violation { what, detail: detail() })
}

fn root(facts: &Facts<'_>) -> Option<Violation> {
    let is_root = |context: &Value| context["runAsUser"] == 0;
    let must = "must not set runAsUser=0";
    by_pod_or_containers("runAsUser=0", is_root(facts.pod_context()), &facts.names(is_root), must)
}

fn seccomp(facts: &Facts<'_>) -> Option<Violation> {
    let kind = |context: &Value| context["seccompProfile"]["type"].as_str().map(str::to_owned);
    let is_bad =
        |context: &Value| kind(context).is_some_and(|kind| kind != "RuntimeDefault" && kind != "Localhost");
    let bad = facts.names(is_bad);
    let is_pod = is_bad(facts.pod_context());
    if is_pod || !bad.is_empty() {
        let must = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
        return by_pod_or_containers("seccompProfile", is_pod, &bad, must);
    }
    let silent = facts.names(|context| kind(context).is_none());
    let detail = || {
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            listed("container", &silent)
        )
    };
    let is_open = kind(facts.pod_context()).is_none() && !silent.is_empty();
    is_open.then(|| Violation { what: "seccompProfile", detail: detail() })
}

//! APIServices: each version of each group that is served shows as one, as in a Kubernetes whose every group is its own.
//!
//! ```text
//!   kinds of the table ──from the start──► v1.apps            automanaged: onstart
//!   definitions        ──as they change──► v1.example.com     automanaged: true, and gone with the last kind
//! ```

use std::collections::BTreeSet;

use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Value, json};

use crate::context::Context;
use crate::object;
use crate::registry::{Next, gone_is_fine};
use crate::request::ObjectPath;

const GROUP: &str = "apiregistration.k8s.io";
/// Says who looks after an APIService, and how long.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const WHILE_SERVED: &str = "true";

/// In which order clients prefer groups, and the versions of one: where two groups have a kind of one name, and a client
/// names no group, the first counts.
const PRIORITIES: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
];
/// Those of all other groups.
const OTHER: (i64, i64) = (1_000, 100);

/// Those of the kinds of the table. The group of APIServices itself has none.
pub(super) fn objects() -> impl Iterator<Item = Value> {
    let versions: BTreeSet<(&str, &str)> =
        kinds::kind::all().iter().map(|kind| (kind.group, kind.version)).collect();
    let shown = versions.into_iter().filter(|(group, _)| *group != GROUP);
    shown.map(|(group, version)| service(group, version, "onstart"))
}

fn service(group: &str, version: &str, managed: &str) -> Value {
    let known = PRIORITIES.iter().find(|(of, at, ..)| *of == group && *at == version);
    let (group_priority, version_priority) = known.map_or(OTHER, |(.., group, version)| (*group, *version));
    let mut spec = json!({"version": version, "groupPriorityMinimum": group_priority,
        "versionPriority": version_priority});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({"kind": "APIService", "apiVersion": format!("{GROUP}/v1"),
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: managed}}, "spec": spec})
}

/// Makes those of user-defined kinds what is served now.
pub(crate) async fn settle(context: &Context) -> Result<(), Failure> {
    let Some(kind) = kinds::find(GROUP, "v1", "apiservices") else { return Ok(()) };
    let served = context.served().await?;
    let mut wanted: BTreeSet<(&str, &str)> =
        served.defined().filter(|kind| !is_of_table(kind)).map(|kind| (kind.group, kind.version)).collect();
    for found in context.registry.all(kind).await? {
        if found["metadata"]["labels"][MANAGED] != WHILE_SERVED {
            continue;
        }
        let text = |field: &str| found["spec"][field].as_str().unwrap_or_default();
        let (group, version) = (text("group"), text("version"));
        let n_wanted = wanted.len();
        wanted.retain(|wanted| *wanted != (group, version));
        if wanted.len() == n_wanted {
            let path = ObjectPath::of(kind, &found);
            let removed = context.registry.modify(&path, false, |current| {
                let is_ours = current["metadata"]["labels"][MANAGED] == WHILE_SERVED;
                Ok(if is_ours { Next::Remove(current.clone()) } else { Next::Keep(current.clone()) })
            });
            gone_is_fine(removed.await)?;
        }
    }
    for (group, version) in wanted {
        let wanted = service(group, version, WHILE_SERVED);
        tracing::debug!(service = object::name(&wanted), "A group of user-defined kinds is served");
        super::create(context, wanted).await?;
    }
    Ok(())
}

fn is_of_table(defined: &Kind) -> bool {
    kinds::kind::all().iter().any(|kind| kind.group == defined.group && kind.version == defined.version)
}

#[cfg(test)]
mod tests {
    use super::objects;
    use crate::object;

    #[test]
    fn every_version_of_the_table_has_one() {
        let services: Vec<_> = objects().collect();
        let of = |name: &str| services.iter().find(|service| object::name(service) == name).unwrap();
        assert_eq!(of("v1.")["spec"]["groupPriorityMinimum"], 18_000);
        assert!(of("v1.")["spec"].get("group").is_none());
        assert_eq!(of("v2.autoscaling")["spec"]["versionPriority"], 30);
        assert_eq!(of("v1alpha1.crest.dev")["spec"]["groupPriorityMinimum"], 1_000);
    }
}

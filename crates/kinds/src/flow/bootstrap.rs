//! The flow schemas and priority levels that every cluster has, read from a table; names and figures are Kubernetes'.
//!
//! The mandatory ones stand as they are here, whatever anybody writes. The others do for as long as their owner does
//! not say otherwise by the annotation [`AUTO_UPDATE`].

use serde_json::{Value, json};

use super::{CATCH_ALL, EXEMPT};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Whether the server keeps an object's spec as it wants it.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// name, shares, percent that may be lent, queues, queues of a flow, requests in a queue. No queues: refused at once.
const LEVELS: [(&str, u32, u32, Option<[u32; 3]>); 7] = [
    (CATCH_ALL, 5, 0, None),
    ("global-default", 20, 50, Some([128, 6, 50])),
    ("leader-election", 10, 0, Some([16, 4, 50])),
    ("node-high", 40, 25, Some([64, 6, 50])),
    ("system", 30, 33, Some([64, 6, 50])),
    ("workload-high", 40, 50, Some([128, 6, 50])),
    ("workload-low", 100, 90, Some([128, 6, 50])),
];

/// name │ level │ precedence │ distinguisher │ subjects │ verbs group resources ... (`all`: whatever is asked)
const SCHEMAS: &str = "
exempt | exempt | 1 | - | group system:masters | all
probes | exempt | 2 | - | group system:unauthenticated, group system:authenticated | paths get /healthz,/readyz,/livez
system-leader-election | leader-election | 100 | ByUser | user system:kube-controller-manager, \
user system:kube-scheduler, account kube-system/* | get,create,update coordination.k8s.io leases
endpoint-controller | workload-high | 150 | ByUser | user system:kube-controller-manager, \
account kube-system/endpoint-controller, account kube-system/endpointslicemirroring-controller | \
get,create,update core endpoints
workload-leader-election | leader-election | 200 | ByUser | account kube-system/* | \
get,create,update core endpoints,configmaps; get,create,update coordination.k8s.io leases
system-node-high | node-high | 400 | ByUser | group system:nodes | \
* core nodes,nodes/status cluster; * coordination.k8s.io leases
system-nodes | system | 500 | ByUser | group system:nodes | all
kube-controller-manager | workload-high | 800 | ByNamespace | user system:kube-controller-manager | all
kube-scheduler | workload-high | 800 | ByNamespace | user system:kube-scheduler | all
kube-system-service-accounts | workload-high | 900 | ByNamespace | account kube-system/* | all
service-accounts | workload-low | 9000 | ByUser | group system:serviceaccounts | all
global-default | global-default | 9900 | ByUser | group system:unauthenticated, group system:authenticated | all
catch-all | catch-all | 10000 | ByUser | group system:unauthenticated, group system:authenticated | all
";

/// An object that every cluster has.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub object: Value,
    pub is_mandatory: bool,
}

/// All of them, levels first.
pub fn bootstrap() -> Vec<Bootstrap> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let levels = LEVELS.iter().map(|level| object("PriorityLevelConfiguration", level.0, limited(level)));
    let exempt = object("PriorityLevelConfiguration", EXEMPT, exempt);
    let schemas = SCHEMAS.lines().filter_map(schema);
    std::iter::once(exempt).chain(levels).chain(schemas).map(Bootstrap::new).collect()
}

impl Bootstrap {
    fn new(object: Value) -> Self {
        let is_mandatory =
            object["metadata"]["name"].as_str().is_some_and(|name| [EXEMPT, CATCH_ALL].contains(&name));
        Self { object, is_mandatory }
    }
}

/// What must be made of an object as it stands; `None` if it is as it should be, or as its owner wants it.
pub fn mended(current: &Value, wanted: &Bootstrap) -> Option<Value> {
    let metadata = &current["metadata"];
    let is_kept = match metadata["annotations"][AUTO_UPDATE].as_str() {
        Some(text) => text == "true",
        // Written by somebody who does not know of the annotation: theirs once they changed it.
        None => metadata["generation"] == 1,
    };
    let spec = &wanted.object["spec"];
    let is_due = (wanted.is_mandatory || is_kept) && current["spec"] != *spec;
    is_due.then(|| {
        let mut mended = current.clone();
        mended["spec"] = spec.clone();
        mended
    })
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let mut annotations = json!({});
    annotations[AUTO_UPDATE] = "true".into();
    json!({"kind": kind, "apiVersion": API_VERSION, "metadata": {"name": name, "annotations": annotations},
        "spec": spec})
}

fn limited((_, shares, lendable, queuing): &(&str, u32, u32, Option<[u32; 3]>)) -> Value {
    let response = match queuing {
        Some([queues, hand, longest]) => json!({"type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": longest}}),
        None => json!({"type": "Reject"}),
    };
    json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares, "limitResponse": response,
        "lendablePercent": lendable}})
}

fn schema(line: &str) -> Option<Value> {
    let fields: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let [name, level, precedence, distinguisher, subjects, rules] = fields.as_slice() else { return None };
    let subjects: Vec<Value> = subjects.split(", ").filter_map(subject).collect();
    let (objects, paths) = match (*rules, rules.strip_prefix("paths ")) {
        ("all", _) => (vec![rule("* * * cluster")], vec![path_rule("* *")]),
        (_, Some(paths)) => (Vec::new(), vec![path_rule(paths)]),
        (rules, None) => (rules.split("; ").map(rule).collect(), Vec::new()),
    };
    let mut policy = json!({"subjects": subjects});
    for (field, rules) in [("resourceRules", objects), ("nonResourceRules", paths)] {
        if !rules.is_empty() {
            policy[field] = rules.into_iter().flatten().collect::<Vec<_>>().into();
        }
    }
    let precedence: i32 = precedence.parse().ok()?;
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence});
    if *distinguisher != "-" {
        spec["distinguisherMethod"] = json!({"type": distinguisher});
    }
    spec["rules"] = json!([policy]);
    Some(object("FlowSchema", name, spec))
}

fn subject(text: &str) -> Option<Value> {
    match text.trim().split_once(' ')? {
        ("group", name) => Some(json!({"kind": "Group", "group": {"name": name}})),
        ("user", name) => Some(json!({"kind": "User", "user": {"name": name}})),
        (_, account) => {
            let (namespace, name) = account.split_once('/')?;
            Some(json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}))
        }
    }
}

/// `verbs group resources`, in all namespaces; with `cluster` behind also what is in none.
fn rule(text: &str) -> Option<Value> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [verbs, group, resources, rest @ ..] = words.as_slice() else { return None };
    let group = if *group == "core" { "" } else { group };
    let mut rule = json!({"verbs": list(verbs), "apiGroups": [group], "resources": list(resources)});
    if rest == ["cluster"] {
        rule["clusterScope"] = true.into();
    }
    rule["namespaces"] = json!(["*"]);
    Some(rule)
}

/// `verbs paths`.
fn path_rule(text: &str) -> Option<Value> {
    let (verbs, paths) = text.split_once(' ')?;
    Some(json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}))
}

fn list(text: &str) -> Value {
    text.split(',').collect::<Vec<_>>().into()
}

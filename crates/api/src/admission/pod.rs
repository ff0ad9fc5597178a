//! Pods get the number of their priority class, a service account and the usual tolerations.

use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::object;

/// How long a Pod stays on a node that stopped answering.
const EVICTION_SECONDS: i64 = 300;
const UNWELL_NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) async fn complete(context: &Context, kind: &Kind, pod: &mut Value) -> Result<(), Failure> {
    set_priority(context, kind, pod).await?;
    let spec = object::entry_object(pod, "spec");
    set_service_account(spec);
    add_tolerations(spec);
    Ok(())
}

async fn set_priority(context: &Context, kind: &Kind, pod: &mut Value) -> Result<(), Failure> {
    let Some(classes) = kinds::find("scheduling.k8s.io", "v1", "priorityclasses") else { return Ok(()) };
    let refuse = |why: String| Failure::forbidden(kind, object::name(pod), &why);
    let wanted = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let class = if wanted.is_empty() {
        context.registry.all(classes).await?.into_iter().find(|class| class["globalDefault"] == true)
    } else {
        let found = context.registry.find(classes, "", wanted).await?;
        Some(found.ok_or_else(|| refuse(format!("no PriorityClass with name {wanted} was found")))?)
    };
    let class = class.unwrap_or(Value::Null);
    let priority = class["value"].as_i64().unwrap_or(0);
    let asked = pod["spec"]["priority"].as_i64();
    if let Some(asked) = asked.filter(|asked| *asked != priority) {
        return Err(refuse(format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        )));
    }
    let spec = object::entry_object(pod, "spec");
    if !object::name(&class).is_empty() {
        spec.insert("priorityClassName".into(), object::name(&class).into());
    }
    spec.insert("priority".into(), priority.into());
    let policy = class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority");
    spec.entry("preemptionPolicy").or_insert_with(|| policy.into());
    Ok(())
}

/// The old name of the field is kept in step, as clients of either kind read it.
fn set_service_account(spec: &mut Map<String, Value>) {
    let text = |field: &str| spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = text("serviceAccountName").or_else(|| text("serviceAccount")).unwrap_or("default").to_owned();
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.into());
}

fn add_tolerations(spec: &mut Map<String, Value>) {
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for taint in UNWELL_NODE_TAINTS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, taint)) {
            tolerations.push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": EVICTION_SECONDS}));
        }
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let is = |field: &str, wanted: &str| {
        let value = toleration[field].as_str().unwrap_or_default();
        value.is_empty() || value == wanted
    };
    is("key", taint) && is("effect", "NoExecute")
}

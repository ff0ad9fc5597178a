//! What must hold of a job's tolerations: what must of a Pod's, as its workers are to have them.

use k8s_openapi::api::core::v1::Toleration;

use super::{Fault, FaultKind};

pub(super) fn faults(tolerations: &[Toleration], found: &mut Vec<Fault>) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let mut fault = |field: &str, value: &str, message: &str| {
            let field = format!("spec.tolerations[{index}].{field}");
            found.push(Fault::new(FaultKind::Invalid, field, value, message));
        };
        let operator = text(&toleration.operator);
        let effect = text(&toleration.effect);
        match operator.as_str() {
            "" | "Equal" if text(&toleration.key).is_empty() => {
                fault("operator", &operator, "must be Exists where there is no key: it then means all keys");
            }
            "Exists" if !text(&toleration.value).is_empty() => {
                fault("value", &text(&toleration.value), "leave it out: Exists means all values");
            }
            "" | "Equal" | "Exists" => {}
            _ => fault("operator", &operator, "is Equal or Exists"),
        }
        if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect.as_str()) {
            fault(
                "effect",
                &effect,
                "is NoSchedule, PreferNoSchedule or NoExecute; left out it means all of them",
            );
        }
        if let Some(seconds) = toleration.toleration_seconds.filter(|_| effect != "NoExecute") {
            fault("tolerationSeconds", &seconds.to_string(), "goes with the effect NoExecute");
        }
    }
}

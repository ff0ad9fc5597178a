//! Objects that have found their controller: orphans are taken in, what the selector no longer matches is let go.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::json;

use crate::act::{Act, ActError, Acted};
use crate::key::ObjectKey;
use crate::owner::{self, Claim};

/// Those of `candidates` that `object` controls, after taking in the orphans that `may_have` allows and letting go of
/// what `selector` no longer matches.
pub(crate) async fn claim<Owner: Acted, Owned: Acted>(
    act: &Act,
    object: &Owner,
    selector: &LabelSelector,
    candidates: Vec<Arc<Owned>>,
    may_have: impl Fn(&Owned) -> bool,
) -> Result<Vec<Arc<Owned>>, ActError> {
    let selector = owner::selector(selector);
    let (mut owned, mut may_adopt) = (Vec::new(), None);
    for candidate in candidates {
        let meta = candidate.meta();
        let mut references = meta.owner_references.clone().unwrap_or_default();
        match owner::claim(object.meta(), &selector, meta) {
            Claim::Keep => {
                owned.push(candidate);
                continue;
            }
            Claim::Leave => continue,
            Claim::Release => references.retain(|each| Some(&each.uid) != object.meta().uid.as_ref()),
            Claim::Adopt if !may_have(&candidate) => continue,
            Claim::Adopt => {
                if may_adopt.is_none() {
                    may_adopt = Some(act.may_adopt(object).await?);
                }
                if may_adopt == Some(false) {
                    continue;
                }
                references.push(owner::controller_reference(object));
            }
        }
        // The uid keeps a namesake from being changed.
        let patch = json!({ "metadata": {
            "ownerReferences": references,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }});
        let patched: Owned = act.patch(&ObjectKey::of(&*candidate), &patch).await?;
        if owner::controller_uid(patched.meta()) == object.meta().uid.as_deref() {
            owned.push(Arc::new(patched));
        }
    }
    Ok(owned)
}

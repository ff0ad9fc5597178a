//! The revisions of a StatefulSet's or DaemonSet's template, kept as ControllerRevisions for rollout and undo.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde::Serialize;
use serde_json::{Value, json};

use crate::act::{ActError, Acted, only};
use crate::key::ObjectKey;
use crate::owner;
use crate::world::World;

/// The label with the hash of a revision's template.
pub(crate) const HASH: &str = "controller.kubernetes.io/hash";
/// The label of pods with the revision that they are of.
pub(crate) const REVISION_HASH: &str = "controller-revision-hash";
/// Letters and digits that spell no words, as Kubernetes picks them.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a over the template as written, in Kubernetes' safe alphabet. Collisions are told apart by their count.
pub(crate) fn hash<T: Serialize>(template: &T, collisions: Option<i32>) -> String {
    let text = serde_json::to_vec(template).unwrap_or_default();
    let salt = collisions.filter(|&count| count > 0).map(i32::to_le_bytes).into_iter().flatten();
    let hash = text
        .into_iter()
        .chain(salt)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// What a revision records: a patch that brings the template back.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The template that a revision records.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// The revisions of one object.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The one of the object's template as it is now.
    pub(crate) update: Arc<ControllerRevision>,
    /// All others, oldest first.
    pub(crate) others: Vec<Arc<ControllerRevision>>,
}

impl History {
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.others.iter().chain([&self.update]).find(|each| each.name_any() == name)
    }
}

/// What the history lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It has the template under the highest number.
    Keep(Arc<ControllerRevision>),
    /// An old template again (undo): its revision gets a new number.
    Renumber(Arc<ControllerRevision>, i64),
    Create(Box<ControllerRevision>),
}

/// Decides how `object` comes to a revision of its `template`.
pub(crate) fn decide<K: Acted>(
    object: &K,
    template: &PodTemplateSpec,
    existing: &[Arc<ControllerRevision>],
    collisions: i32,
) -> Step {
    let data = data(template);
    let highest = existing.iter().map(|each| each.revision).max().unwrap_or(0);
    let same = existing.iter().filter(|each| each.data.as_ref().is_some_and(|known| known.0 == data));
    match same.max_by_key(|each| each.revision) {
        Some(known) if known.revision == highest => Step::Keep(Arc::clone(known)),
        Some(known) => Step::Renumber(Arc::clone(known), highest + 1),
        None => {
            let hash = hash(template, Some(collisions));
            let mut labels =
                template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
            labels.extend([(HASH.to_owned(), hash.clone()), (REVISION_HASH.to_owned(), hash.clone())]);
            let metadata = ObjectMeta {
                name: Some(format!("{}-{hash}", object.name_any())),
                namespace: object.namespace(),
                labels: Some(labels),
                annotations: object.meta().annotations.clone(),
                owner_references: Some(vec![owner::controller_reference(object)]),
                ..ObjectMeta::default()
            };
            let data = Some(RawExtension(data));
            Step::Create(Box::new(ControllerRevision { metadata, data, revision: highest + 1 }))
        }
    }
}

/// Brings the history of `object` up to date. `None` when the name of its new revision is taken by another template.
pub(crate) async fn sync<K: Acted>(
    world: &World,
    object: &K,
    template: &PodTemplateSpec,
    collisions: i32,
) -> Result<Option<History>, ActError> {
    let mut existing = world.revisions.controlled_by(object.meta().uid.as_deref().unwrap_or_default());
    existing.sort_by_key(|each| each.revision);
    let update = match decide(object, template, &existing, collisions) {
        Step::Keep(known) => known,
        Step::Renumber(known, revision) => {
            let patch = json!({ "revision": revision });
            Arc::new(world.act.patch::<ControllerRevision>(&ObjectKey::of(&*known), &patch).await?)
        }
        Step::Create(new) => match create(world, object, &new).await? {
            Some(created) => Arc::new(created),
            None => return Ok(None),
        },
    };
    existing.retain(|each| each.metadata.uid != update.metadata.uid);
    Ok(Some(History { update, others: existing }))
}

/// Creates the revision, or takes the one that stands there already if it says the same.
async fn create<K: Acted>(
    world: &World,
    object: &K,
    new: &ControllerRevision,
) -> Result<Option<ControllerRevision>, ActError> {
    let refused = match world.act.create(new).await {
        Err(error) if error.code() == Some(409) => error,
        other => return other.map(Some),
    };
    let key = ObjectKey::of(new);
    let Some(known) = world.act.get::<ControllerRevision>(&key).await? else { return Err(refused) };
    if known.data != new.data {
        return Ok(None);
    }
    if owner::controller(&known.metadata).is_none() {
        // Left behind by a deletion that spared dependents.
        let patch = json!({ "metadata": { "ownerReferences": [owner::controller_reference(object)] } });
        return world.act.patch(&key, &patch).await.map(Some);
    }
    Ok((owner::controller_uid(&known.metadata) == object.meta().uid.as_deref()).then_some(known))
}

/// Deletes the oldest revisions beyond `limit` that `is_used` does not hold.
pub(crate) async fn truncate(
    world: &World,
    history: &History,
    limit: i32,
    is_used: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), ActError> {
    let unused: Vec<&Arc<ControllerRevision>> = history.others.iter().filter(|each| !is_used(each)).collect();
    let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for revision in unused.into_iter().take(excess) {
        let how: DeleteParams = only(revision.metadata.uid.as_deref());
        world.act.delete::<ControllerRevision>(&ObjectKey::of(&**revision), &how).await?;
    }
    Ok(())
}

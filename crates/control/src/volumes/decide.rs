//! Which volume a claim gets, and what becomes of both at the end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeSpec, Pod,
    VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use model::Quantity;
use serde_json::{Value, json};

use crate::key::ObjectKey;
use crate::owner;
use crate::pods;

/// Keeps a claim while pods use it, and a volume while a claim has it.
pub(crate) const CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";
pub(crate) const VOLUME_IN_USE: &str = "kubernetes.io/pv-protection";
/// The provisioner of volumes that are directories of a node.
pub(crate) const LOCAL: &str = "crest.dev/local";
/// Where local volumes are, unless the class says otherwise by its parameter `path`.
const LOCAL_PATH: &str = "/var/lib/crest/volumes";
const BOUND: &str = "pv.kubernetes.io/bind-completed";
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A claim and what there is for it.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) claim: &'a PersistentVolumeClaim,
    /// The pods that use it.
    pub(crate) users: &'a [Arc<Pod>],
    pub(crate) class: Option<&'a StorageClass>,
    pub(crate) volumes: &'a [Arc<PersistentVolume>],
    /// The node of the first of its users that has one, if it is there.
    pub(crate) place: Option<&'a Node>,
}

/// One change owed to the API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// The claim's finalizer goes.
    Release,
    Provision(Box<PersistentVolume>),
    TakeVolume {
        name: String,
        patch: Value,
    },
    TakeClaim(Value),
    /// Of the claim.
    Status(Value),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Rest,
    /// It has to wait, and for what.
    Tell {
        reason: &'static str,
        message: String,
    },
    Do(Vec<Step>),
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) phase: Option<&'static str>,
    /// Nobody uses it: its finalizer goes.
    pub(crate) is_released: bool,
    pub(crate) is_deleted: bool,
}

pub(crate) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The class that the claim names; an empty name means: no class.
pub(crate) fn class_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    let old = claim.annotations().get(OLD_CLASS).map(String::as_str);
    old.or(claim.spec.as_ref()?.storage_class_name.as_deref()).filter(|name| !name.is_empty())
}

/// Whether the claim still has no volume.
pub(crate) fn is_waiting(claim: &PersistentVolumeClaim) -> bool {
    volume_name(claim).is_none() && claim.metadata.deletion_timestamp.is_none()
}

/// The claim that a volume is for.
pub(crate) fn claim_of(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.as_deref()?, reference.name.as_deref()?))
}

pub(crate) fn is_claimed_by(volume: &PersistentVolume, claim: &ObjectKey) -> bool {
    claim_of(volume).as_ref() == Some(claim)
}

/// Whether the volume is for this very claim, or for a claim of its name that nobody took yet.
pub(crate) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_deref());
    is_claimed_by(volume, &ObjectKey::of(claim))
        && uid.is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
}

pub(crate) fn claim(view: &View<'_>) -> Verdict {
    let claim = view.claim;
    if claim.metadata.deletion_timestamp.is_some() {
        let is_used = view.users.iter().any(|pod| !pods::has_ended(pod));
        let is_held = claim.finalizers().iter().any(|each| each == CLAIM_IN_USE);
        return if is_held && !is_used { Verdict::Do(vec![Step::Release]) } else { Verdict::Rest };
    }
    let Some(spec) = &claim.spec else { return Verdict::Rest };
    match volume_name(claim) {
        Some(name) => {
            match view.volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name)) {
                Some(volume) if is_for(volume, claim) => settle(claim, volume),
                Some(volume) if claim_of(volume).is_none() => bind(claim, volume),
                Some(_) => Verdict::Rest,
                None if phase(claim) == Some("Bound") => {
                    Verdict::Do(vec![Step::Status(json!({ "status": { "phase": "Lost" } }))])
                }
                None => Verdict::Rest,
            }
        }
        None => match best(view, spec) {
            Some(volume) => bind(claim, volume),
            None => provision(view, spec),
        },
    }
}

/// Whether the claim is given a volume of which nobody has said yet that it is the claim's.
pub(crate) fn is_choice(verdict: &Verdict) -> bool {
    let Verdict::Do(steps) = verdict else { return false };
    steps.iter().any(|step| matches!(step, Step::TakeVolume { .. } | Step::Provision(_)))
}

fn phase(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.status.as_ref()?.phase.as_deref()
}

/// The smallest volume that is free and fits.
fn best<'a>(view: &View<'a>, spec: &PersistentVolumeClaimSpec) -> Option<&'a Arc<PersistentVolume>> {
    let own = view.volumes.iter().find(|volume| is_for(volume, view.claim));
    // A class that waits for a pod gives no volume away before it knows where the pod is.
    if own.is_some() || waits_for_pod(view) && node(view).is_none() {
        return own;
    }
    let free = view.volumes.iter().filter(|volume| is_free(volume) && fits(view.claim, spec, volume));
    // What is bound for a pod must be within its reach.
    let place = view.place.filter(|_| waits_for_pod(view)).map(crate::sigma::node);
    let mut free = free.filter(|volume| place.as_ref().is_none_or(|place| is_within_reach(volume, place)));
    let first = free.next()?;
    Some(free.fold(first, |best, other| if rank(other) < rank(best) { other } else { best }))
}

/// Of volumes that fit the least is given away.
pub(crate) fn rank(volume: &PersistentVolume) -> (i128, Option<String>) {
    (capacity(volume), volume.metadata.name.clone())
}

fn is_free(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    claim_of(volume).is_none()
        && matches!(phase, None | Some("Available" | "Pending"))
        && volume.metadata.deletion_timestamp.is_none()
}

/// Whether the claim could have the volume, or has it already as far as the volume says.
pub(crate) fn is_free_for(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let fits = |spec| fits(claim, spec, volume);
    is_for(volume, claim) || is_free(volume) && claim.spec.as_ref().is_some_and(fits)
}

fn is_within_reach(volume: &PersistentVolume, node: &sigma::node::Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let terms =
        affinity.map(|required| required.node_selector_terms.iter().map(crate::sigma::node_term).collect());
    sigma::Pod { required_nodes: terms, ..sigma::Pod::default() }.admits(node)
}

fn fits(claim: &PersistentVolumeClaim, spec: &PersistentVolumeClaimSpec, volume: &PersistentVolume) -> bool {
    let Some(offer) = &volume.spec else { return false };
    let modes = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let offered = modes(&offer.access_modes);
    let selector = spec.selector.as_ref();
    let kind = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    offer.storage_class_name.as_deref().unwrap_or_default() == class_name(claim).unwrap_or_default()
        && modes(&spec.access_modes).iter().all(|mode| offered.contains(mode))
        && kind(&offer.volume_mode) == kind(&spec.volume_mode)
        && capacity(volume) >= request(spec)
        && selector.is_none_or(|selector| owner::selector(selector).matches(volume.labels()))
}

fn storage(text: Option<&k8s_openapi::apimachinery::pkg::api::resource::Quantity>) -> i128 {
    text.and_then(|text| Quantity::parse(&text.0).ok()).map_or(0, Quantity::to_units)
}

fn capacity(volume: &PersistentVolume) -> i128 {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage")))
}

fn request(spec: &PersistentVolumeClaimSpec) -> i128 {
    storage(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage")))
}

fn waits_for_pod(view: &View<'_>) -> bool {
    view.class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Whether volumes of the class are found or made only once a pod has its node. A local volume cannot be made before,
/// whatever its class says.
pub(crate) fn is_late(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") || class.provisioner == LOCAL
}

/// The node of the first pod that uses the claim and has one.
fn node<'a>(view: &View<'a>) -> Option<&'a str> {
    view.users.iter().filter(|pod| !pods::has_ended(pod)).find_map(|pod| pods::node_name(pod))
}

/// First the volume says whose it is, then the claim what it has: who is interrupted in between goes on from there.
fn bind(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Verdict {
    let mut steps = Vec::new();
    let is_taken = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref())
        == claim.metadata.uid.as_ref();
    if !is_taken {
        steps.push(Step::TakeVolume { name: volume.name_any(), patch: taking(claim, volume) });
    }
    steps.push(Step::TakeClaim(json!({
        "metadata": { "annotations": { BOUND: "yes", BY_CONTROLLER: "yes" } },
        "spec": { "volumeName": volume.name_any() },
    })));
    steps.push(bound_status(volume));
    Verdict::Do(steps)
}

/// What makes a volume be for the claim and no other, as long as the volume is as it was.
pub(crate) fn taking(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Value {
    json!({ "spec": { "claimRef": reference(claim) },
        "metadata": { "resourceVersion": volume.resource_version(), "annotations": { BY_CONTROLLER: "yes" } } })
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.namespace(),
        name: claim.metadata.name.clone(),
        uid: claim.uid(),
        resource_version: claim.resource_version(),
        ..ObjectReference::default()
    }
}

fn bound_status(volume: &PersistentVolume) -> Step {
    let spec = volume.spec.clone().unwrap_or_default();
    Step::Status(json!({ "status": {
        "phase": "Bound", "accessModes": spec.access_modes, "capacity": spec.capacity,
    }}))
}

/// What a claim lacks that has its volume.
fn settle(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Verdict {
    let uid = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.as_ref());
    if uid != claim.metadata.uid.as_ref() {
        return bind(claim, volume);
    }
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.clone());
    let status = claim.status.clone().unwrap_or_default();
    if phase(claim) == Some("Bound") && status.capacity == capacity {
        return Verdict::Rest;
    }
    Verdict::Do(vec![bound_status(volume)])
}

/// A new volume, or why there is none.
fn provision(view: &View<'_>, spec: &PersistentVolumeClaimSpec) -> Verdict {
    let Some(class) = view.class else {
        return match class_name(view.claim) {
            Some(name) => Verdict::Tell {
                reason: "ProvisioningFailed",
                message: format!("storageclass.storage.k8s.io \"{name}\" not found"),
            },
            None => Verdict::Tell {
                reason: "FailedBinding",
                message: "no persistent volumes available for this claim and no storage class is set"
                    .to_owned(),
            },
        };
    };
    let place = node(view);
    if place.is_none() && is_late(class) {
        return Verdict::Tell {
            reason: "WaitForFirstConsumer",
            message: "waiting for first consumer to be created before binding".to_owned(),
        };
    }
    let Some(node) = place.filter(|_| class.provisioner == LOCAL) else {
        let provisioner = &class.provisioner;
        return Verdict::Tell {
            reason: "ExternalProvisioning",
            message: format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually \
                 by the system administrator"
            ),
        };
    };
    let mut steps = vec![Step::Provision(Box::new(local_volume(view.claim, spec, (class, node))))];
    if phase(view.claim).is_none() {
        steps.push(Step::Status(json!({ "status": { "phase": "Pending" } })));
    }
    Verdict::Do(steps)
}

/// A directory of the node.
fn local_volume(
    claim: &PersistentVolumeClaim,
    spec: &PersistentVolumeClaimSpec,
    (class, node): (&StorageClass, &str),
) -> PersistentVolume {
    let name = format!("pvc-{}", claim.uid().unwrap_or_default());
    let parameters = class.parameters.as_ref();
    let root = parameters.and_then(|parameters| parameters.get("path")).map_or(LOCAL_PATH, String::as_str);
    let here = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![here]), match_fields: None };
    let path = format!("{}/{name}", root.trim_end_matches('/'));
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some([(PROVISIONED_BY.to_owned(), LOCAL.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: spec.resources.as_ref().and_then(|resources| resources.requests.clone()),
            claim_ref: Some(reference(claim)),
            host_path: Some(HostPathVolumeSource { path, type_: Some("DirectoryOrCreate".to_owned()) }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: class.reclaim_policy.clone(),
            storage_class_name: class.metadata.name.clone(),
            mount_options: class.mount_options.clone(),
            volume_mode: spec.volume_mode.clone(),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// What becomes of a volume whose claim is as given.
pub(crate) fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Fate {
    let spec = volume.spec.clone().unwrap_or_default();
    let is_ours = |claim: &&PersistentVolumeClaim| is_for(volume, claim);
    let claim = claim.filter(is_ours);
    let known = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let is_taken = spec.claim_ref.as_ref().is_some_and(|reference| reference.uid.is_some());
    let has_it = claim.is_some_and(|claim| volume_name(claim) == volume.metadata.name.as_deref());
    let phase = match claim {
        Some(_) if has_it => "Bound",
        // Its claim was here and is not any more. One that never came is still awaited.
        None if is_taken && matches!(known, Some("Bound" | "Released")) => "Released",
        Some(_) | None => "Available",
    };
    let is_going = volume.metadata.deletion_timestamp.is_some();
    let is_held = volume.finalizers().iter().any(|each| each == VOLUME_IN_USE);
    let is_local = volume.annotations().get(PROVISIONED_BY).map(String::as_str) == Some(LOCAL);
    let is_delete = spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete");
    Fate {
        phase: (known != Some(phase)).then_some(phase),
        is_released: is_going && is_held && phase != "Bound",
        is_deleted: phase == "Released" && is_local && is_delete && !is_going,
    }
}

//! What a pod's volumes ask of the node that it will run on, or why it has to wait for them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::ResourceExt;
use sigma::label::{NodeTerm, Operator, Requirement};
use sigma::volume::{Attachment, Disk, Place, Volumes};

use super::choice::Choice;
use super::decide::{self, LOCAL, class_name, volume_name};
use crate::key::ObjectKey;
use crate::owner;
use crate::sigma::node_term;
use crate::world::World;

/// The class has no one who makes volumes: there must be one.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Labels of volumes that say where they are, as clouds put them on before there was node affinity.
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// With their newer names.
const PLACE_LABELS: [(&str, Option<&str>); 4] = [
    (ZONE, None),
    (REGION, None),
    ("failure-domain.beta.kubernetes.io/zone", Some(ZONE)),
    ("failure-domain.beta.kubernetes.io/region", Some(REGION)),
];
/// Separates several values in such a label.
const BETWEEN_PLACES: &str = "__";
/// Where a claim says on which node its volume shall be made.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// What a pod's volumes ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) volumes: Volumes,
    /// Claims for which there are volumes to choose from.
    pub(crate) choices: Vec<Choice>,
    /// Why no node would do at the moment.
    pub(crate) obstacle: Option<String>,
}

/// A claim of a pod, and what there is for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) name: String,
    /// The claim is to be made for this pod.
    pub(super) is_ephemeral: bool,
    pub(super) claim: Option<Arc<PersistentVolumeClaim>>,
    pub(super) volume: Option<Arc<PersistentVolume>>,
    pub(super) class: Option<Arc<StorageClass>>,
    /// Volumes that the claim could have.
    pub(super) free: Vec<Arc<PersistentVolume>>,
}

/// The names of the claims that the pod uses, generic ephemeral volumes included.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    claims(pod).map(|(name, _)| name)
}

fn claims(pod: &Pod) -> impl Iterator<Item = (String, bool)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{}-{}", pod.name_any(), volume.name), true)),
        (None, None) => None,
    })
}

/// Where claims are looked up, and what there is for them.
pub(crate) trait Storage {
    fn claim(&self, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>>;
    fn class(&self, name: &str) -> Option<Arc<StorageClass>>;
    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>>;
    fn volumes(&self) -> Vec<Arc<PersistentVolume>>;
}

impl Storage for World {
    fn claim(&self, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.storage_classes.get(&ObjectKey::cluster(name))
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&ObjectKey::cluster(name))
    }

    fn volumes(&self) -> Vec<Arc<PersistentVolume>> {
        self.volumes.all()
    }
}

/// What the pod's volumes ask for, as things stand.
pub(crate) fn needs_of(storage: &impl Storage, pod: &Pod) -> Needs {
    let namespace = pod.namespace().unwrap_or_default();
    let find = |(name, is_ephemeral): (String, bool)| {
        let claim = storage.claim(&ObjectKey::new(&namespace, &name));
        let volume = claim.as_deref().and_then(volume_name);
        let class = claim.as_deref().and_then(class_name);
        let is_unbound = claim.is_some() && volume.is_none();
        let mut free = if is_unbound { storage.volumes() } else { Vec::new() };
        free.retain(|volume| claim.as_deref().is_some_and(|claim| decide::is_free_for(claim, volume)));
        if let Some(claim) = &claim
            && free.iter().any(|volume| decide::is_for(volume, claim))
        {
            free.retain(|volume| decide::is_for(volume, claim));
        }
        let volume = volume.and_then(|name| storage.volume(name));
        let class = class.and_then(|name| storage.class(name));
        Found { name, is_ephemeral, claim, volume, class, free }
    };
    needs(pod, &claims(pod).map(find).collect::<Vec<_>>())
}

/// The claims of `pod` that are told on which node their volume shall be made.
pub(crate) fn claims_to_tell(world: &World, pod: &Pod, node: &str) -> Vec<ObjectKey> {
    let is_untold = |claim: &PersistentVolumeClaim, _: &StorageClass| {
        claim.annotations().get(SELECTED_NODE).map(String::as_str) != Some(node)
    };
    late_claims(world, pod, is_untold)
}

/// The claims of `pod` whose volumes somebody else makes once they know where.
pub(crate) fn claims_in_the_making(world: &World, pod: &Pod) -> Vec<ObjectKey> {
    late_claims(world, pod, |_, class| class.provisioner != NO_PROVISIONER)
}

/// Of the claims of `pod` that wait until its node is known to have a volume, those that are meant. Directories of a node
/// are made by ourselves.
fn late_claims(
    world: &World,
    pod: &Pod,
    is_meant: impl Fn(&PersistentVolumeClaim, &StorageClass) -> bool,
) -> Vec<ObjectKey> {
    let namespace = pod.namespace().unwrap_or_default();
    let keys = claims_of(pod).map(|name| ObjectKey::new(&namespace, &name));
    let is_late = |key: &ObjectKey| {
        let Some(claim) = world.claims.get(key).filter(|claim| volume_name(claim).is_none()) else {
            return false;
        };
        let class = class_name(&claim).and_then(|name| world.storage_classes.get(&ObjectKey::cluster(name)));
        class.is_some_and(|class| {
            decide::is_late(&class) && class.provisioner != LOCAL && is_meant(&claim, &class)
        })
    };
    keys.filter(is_late).collect()
}

/// How a claim fares whose volume was to be made for `node`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Making {
    Made,
    UnderWay,
    /// It is gone, or whoever makes volumes could not make it there, and has taken the node back.
    GivenUp,
}

pub(crate) fn making(claim: Option<&PersistentVolumeClaim>, node: &str) -> Making {
    let phase = |claim: &PersistentVolumeClaim| claim.status.as_ref()?.phase.clone();
    match claim {
        Some(claim) if phase(claim).as_deref() == Some("Bound") => Making::Made,
        Some(claim) if claim.annotations().get(SELECTED_NODE).map(String::as_str) == Some(node) => {
            Making::UnderWay
        }
        _ => Making::GivenUp,
    }
}

/// What tells a claim that its volume shall be made for `node`.
pub(crate) fn selected(node: &str) -> serde_json::Value {
    serde_json::json!({ "metadata": { "annotations": { SELECTED_NODE: node } } })
}

/// How many volumes of each driver a node can attach.
pub(crate) fn limits(node: &CSINode) -> std::collections::BTreeMap<String, u64> {
    let limit = |driver: &k8s_openapi::api::storage::v1::CSINodeDriver| {
        let count = driver.allocatable.as_ref()?.count?;
        Some((driver.name.clone(), u64::try_from(count).unwrap_or(0)))
    };
    node.spec.drivers.iter().filter_map(limit).collect()
}

pub(super) fn needs(pod: &Pod, found: &[Found]) -> Needs {
    let mut needs = Needs::default();
    for each in found {
        match add_claim(&mut needs, each, pod) {
            Ok(()) => {}
            Err(obstacle) => drop(needs.obstacle.get_or_insert(obstacle)),
        }
    }
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        needs.volumes.disks.extend(disks(volume));
        needs.volumes.attached.extend(inline(volume).map(|(driver, volume)| attachment(driver, volume)));
    }
    needs
}

/// Adds what one claim asks for; else says what it lacks.
fn add_claim(needs: &mut Needs, found: &Found, pod: &Pod) -> Result<(), String> {
    let (name, volumes) = (&found.name, &mut needs.volumes);
    let Some(claim) = &found.claim else {
        return Err(if found.is_ephemeral {
            format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\"")
        } else {
            format!("persistentvolumeclaim \"{name}\" not found")
        });
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    if found.is_ephemeral && owner::controller_uid(&claim.metadata) != pod.metadata.uid.as_deref() {
        return Err(format!("persistentvolumeclaim \"{name}\" was not made for this pod"));
    }
    let key = ObjectKey::of(&**claim);
    let modes = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    if modes.into_iter().any(|mode| mode == "ReadWriteOncePod") {
        volumes.exclusive.insert(key.to_string());
    }
    match (volume_name(claim), &found.volume) {
        (Some(_), Some(volume)) => add_bound(volumes, volume),
        (Some(volume), None) => {
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        (None, _) => add_unbound(needs, found, &key)?,
    }
    Ok(())
}

fn add_bound(volumes: &mut Volumes, volume: &PersistentVolume) {
    let spec = volume.spec.clone().unwrap_or_default();
    if let Some(required) = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref()) {
        let terms = required.node_selector_terms.iter().map(node_term).collect();
        volumes.places.push(Place { terms, is_bound: true });
    }
    let labels = volume.labels().iter().filter(|(key, _)| PLACE_LABELS.iter().any(|(known, _)| known == key));
    volumes.places.extend(labels.map(|(key, values)| {
        let values = values.split(BETWEEN_PLACES).map(str::to_owned).collect();
        Place { terms: by_label(key, values), is_bound: true }
    }));
    volumes.attached.extend(attached(&spec).map(|(driver, volume)| attachment(&driver, &volume)));
}

/// The nodes that a volume's label of a zone or region admits: those with the same, by its newer name where they have it by
/// that only, and those that are in no zone or region at all.
fn by_label(key: &str, values: Vec<String>) -> Vec<NodeTerm> {
    let lacks =
        |key: &str| Requirement { key: key.to_owned(), operator: Operator::DoesNotExist, values: Vec::new() };
    let mut terms = vec![NodeTerm {
        labels: PLACE_LABELS.iter().map(|(key, _)| lacks(key)).collect(),
        fields: Vec::new(),
    }];
    if let Some((_, Some(newer))) = PLACE_LABELS.iter().find(|(known, _)| *known == key) {
        let mut term = is_in(newer, values.clone());
        term.labels.push(lacks(key));
        terms.push(term);
    }
    terms.push(is_in(key, values));
    terms
}

fn add_unbound(needs: &mut Needs, found: &Found, key: &ObjectKey) -> Result<(), String> {
    let late = found.class.as_deref().filter(|class| decide::is_late(class));
    let Some(class) = late else {
        return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
    };
    let makes_volumes = class.provisioner != NO_PROVISIONER;
    if makes_volumes {
        needs.volumes.attached.insert(attachment(&class.provisioner, &format!("claim/{key}")));
    }
    // `None`: anywhere.
    let made = match class.allowed_topologies.as_deref() {
        _ if !makes_volumes => Some(Vec::new()),
        None | Some([]) => None,
        Some(topologies) => Some(topologies.iter().map(topology).collect()),
    };
    needs.choices.push(Choice::of(key.clone(), &found.free, made));
    Ok(())
}

fn topology(term: &k8s::TopologySelectorTerm) -> NodeTerm {
    let all = term.match_label_expressions.iter().flatten();
    let labels = all.map(|each| Requirement {
        key: each.key.clone(),
        operator: Operator::In,
        values: each.values.clone(),
    });
    NodeTerm { labels: labels.collect(), fields: Vec::new() }
}

fn is_in(key: &str, values: Vec<String>) -> NodeTerm {
    let requirement = Requirement { key: key.to_owned(), operator: Operator::In, values };
    NodeTerm { labels: vec![requirement], fields: Vec::new() }
}

fn attachment(driver: &str, volume: &str) -> Attachment {
    Attachment { driver: driver.to_owned(), volume: volume.to_owned() }
}

const GCE: &str = "pd.csi.storage.gke.io";
const AWS: &str = "ebs.csi.aws.com";
const AZURE: &str = "disk.csi.azure.com";
const CINDER: &str = "cinder.csi.openstack.org";
const VSPHERE: &str = "csi.vsphere.vmware.com";

/// What is attached for a volume, by the driver that does it: sources that Kubernetes once had built in have moved to
/// drivers.
fn attached(spec: &k8s::PersistentVolumeSpec) -> impl Iterator<Item = (String, String)> {
    let known = [
        spec.csi.as_ref().map(|csi| (csi.driver.as_str(), &csi.volume_handle)),
        spec.gce_persistent_disk.as_ref().map(|disk| (GCE, &disk.pd_name)),
        spec.aws_elastic_block_store.as_ref().map(|disk| (AWS, &disk.volume_id)),
        spec.azure_disk.as_ref().map(|disk| (AZURE, &disk.disk_name)),
        spec.cinder.as_ref().map(|disk| (CINDER, &disk.volume_id)),
        spec.vsphere_volume.as_ref().map(|disk| (VSPHERE, &disk.volume_path)),
    ];
    let owned = |(driver, volume): (&str, &String)| (driver.to_owned(), volume.clone());
    known.map(|each| each.map(owned)).into_iter().flatten()
}

/// As [`attached`] for a volume that the pod names itself.
fn inline(volume: &Volume) -> impl Iterator<Item = (&'static str, &str)> {
    [
        volume.gce_persistent_disk.as_ref().map(|disk| (GCE, disk.pd_name.as_str())),
        volume.aws_elastic_block_store.as_ref().map(|disk| (AWS, disk.volume_id.as_str())),
        volume.azure_disk.as_ref().map(|disk| (AZURE, disk.disk_name.as_str())),
        volume.cinder.as_ref().map(|disk| (CINDER, disk.volume_id.as_str())),
        volume.vsphere_volume.as_ref().map(|disk| (VSPHERE, disk.volume_path.as_str())),
    ]
    .into_iter()
    .flatten()
}

/// The disks that a pod names itself and that pods of a node cannot share at will.
fn disks(volume: &Volume) -> Vec<Disk> {
    let disk = |kind: &str, name: &str, read_only: Option<bool>| Disk {
        name: format!("{kind}/{name}"),
        is_read_only: read_only == Some(true),
    };
    let mut disks = Vec::new();
    disks.extend(volume.gce_persistent_disk.iter().map(|gce| disk("gce", &gce.pd_name, gce.read_only)));
    // Never shared, however it is mounted.
    disks.extend(volume.aws_elastic_block_store.iter().map(|aws| disk("aws", &aws.volume_id, None)));
    disks.extend(volume.iscsi.iter().map(|iscsi| disk("iscsi", &iscsi.iqn, iscsi.read_only)));
    if let Some(rbd) = &volume.rbd {
        let pool = rbd.pool.as_deref().unwrap_or("rbd");
        // One monitor in common makes it the same cluster.
        let monitors: BTreeSet<&String> = rbd.monitors.iter().collect();
        let image =
            |monitor: &&String| disk("rbd", &format!("{monitor}/{pool}/{}", rbd.image), rbd.read_only);
        disks.extend(monitors.iter().map(image));
    }
    disks
}

//! The graph of owners and dependents, and what each change of it owes.
//!
//! ```text
//!   all owners gone ──► delete
//!   owner waits for its dependents (foreground) ──► delete them, then let the owner go
//!   owner leaves its dependents behind (orphan) ──► take its references off them, then let the owner go
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::key::ObjectKey;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
}

/// What the graph knows of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) is_going: bool,
}

impl Node {
    pub(crate) fn of(identity: Identity, meta: &ObjectMeta) -> Self {
        Self {
            identity,
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            is_going: meta.deletion_timestamp.is_some(),
        }
    }

    fn waits(&self, finalizer: &str) -> bool {
        self.is_going && self.finalizers.iter().any(|each| each == finalizer)
    }
}

/// All objects by uid, and who depends on whom. Dependents of owners that were never seen are kept as well.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
    /// Owners that were seen to go while others depend on them. Where even their kind is gone, nobody can be asked.
    gone: HashSet<String>,
}

/// What is owed for one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Keep,
    /// Delete it, unless one of the owners that the graph does not know exists after all.
    Collect {
        is_foreground: bool,
        unknown: Vec<OwnerReference>,
    },
    /// Another owner stays: take references off it to those that wait for it to go, and to those that are gone, if
    /// they are.
    Trim {
        waiting: Vec<OwnerReference>,
        unknown: Vec<OwnerReference>,
    },
    /// Delete these dependents first.
    Await {
        dependents: Vec<Node>,
    },
    /// Take its reference off all dependents, then its finalizer off it. Which they are must be asked of the server:
    /// one that the graph does not know yet would be taken for garbage once its owner is gone.
    Orphan,
    /// Nothing holds it any more.
    Release {
        finalizer: &'static str,
    },
}

impl Graph {
    /// An object came or changed. Returns the uids that may owe something now.
    pub(crate) fn set(&mut self, node: Node) -> Vec<String> {
        let uid = node.identity.uid.clone();
        let mut concerned = vec![uid.clone()];
        // An owner that this one left may wait for nothing else.
        concerned.extend(self.unlink(&uid));
        for owner in &node.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
        }
        if node.is_going {
            // An owner that waits for this one, and dependents that this one waits for.
            concerned.extend(node.owners.iter().map(|owner| owner.uid.clone()));
            concerned.extend(self.dependents_of(&uid).map(|node| node.identity.uid.clone()));
        }
        self.nodes.insert(uid, node);
        concerned
    }

    /// An object went. Returns the uids that may owe something now.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        if self.dependents.contains_key(uid) {
            self.gone.insert(uid.to_owned());
        }
        self.forget(uid)
    }

    /// Nobody watches the object any more; it may be there or not. Returns the uids that may owe something now.
    pub(crate) fn forget(&mut self, uid: &str) -> Vec<String> {
        let mut concerned: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        concerned.extend(self.unlink(uid));
        self.nodes.remove(uid);
        concerned
    }

    /// Whether the object was seen to go.
    pub(crate) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// What is owed for the object now.
    pub(crate) fn decide(&self, uid: &str) -> Verdict {
        let Some(node) = self.nodes.get(uid) else { return Verdict::Keep };
        if node.waits(ORPHAN) {
            return Verdict::Orphan;
        }
        if node.waits(FOREGROUND) {
            return self.awaited(uid);
        }
        if node.is_going || node.owners.is_empty() { Verdict::Keep } else { self.judge_owners(node) }
    }

    fn awaited(&self, uid: &str) -> Verdict {
        let blocks = |node: &&Node| {
            node.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        if !self.dependents_of(uid).any(|node| blocks(&node)) {
            return Verdict::Release { finalizer: FOREGROUND };
        }
        let standing =
            self.dependents_of(uid).filter(|node| !node.is_going && !self.has_standing_owner(node));
        let dependents: Vec<Node> = standing.cloned().collect();
        if dependents.is_empty() { Verdict::Keep } else { Verdict::Await { dependents } }
    }

    fn judge_owners(&self, node: &Node) -> Verdict {
        let unknown: Vec<OwnerReference> =
            node.owners.iter().filter(|owner| !self.is_owner(node, owner)).cloned().collect();
        if self.has_standing_owner(node) {
            let waiting: Vec<OwnerReference> =
                node.owners.iter().filter(|owner| self.is_waiting(owner)).cloned().collect();
            let is_clean = unknown.is_empty() && waiting.is_empty();
            return if is_clean { Verdict::Keep } else { Verdict::Trim { waiting, unknown } };
        }
        let waits = node.owners.iter().any(|owner| self.is_waiting(owner));
        let is_foreground = waits && self.dependents_of(&node.identity.uid).next().is_some();
        Verdict::Collect { is_foreground, unknown }
    }

    /// Whether an owner is there that is not waiting for this very object to go.
    fn has_standing_owner(&self, node: &Node) -> bool {
        node.owners.iter().any(|owner| self.is_owner(node, owner) && !self.is_waiting(owner))
    }

    /// Whether the owner waits for its dependents to go first.
    fn is_waiting(&self, owner: &OwnerReference) -> bool {
        self.nodes.get(&owner.uid).is_some_and(|known| known.waits(FOREGROUND))
    }

    /// Whether the reference is to an object that is there: in the same namespace, or of the cluster.
    fn is_owner(&self, node: &Node, owner: &OwnerReference) -> bool {
        self.nodes.get(&owner.uid).is_some_and(|known| {
            let namespace = &known.identity.key.namespace;
            namespace.is_empty() || *namespace == node.identity.key.namespace
        })
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get(uid))
    }

    /// Takes the object off its owners' lists, and names them.
    fn unlink(&mut self, uid: &str) -> Vec<String> {
        let owners = self.nodes.get(uid).map(|node| node.owners.as_slice()).unwrap_or_default();
        let owners: Vec<String> = owners.iter().map(|owner| owner.uid.clone()).collect();
        for owner in &owners {
            let Some(dependents) = self.dependents.get_mut(owner) else { continue };
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(owner);
                self.gone.remove(owner);
            }
        }
        owners
    }
}

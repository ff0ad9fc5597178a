//! Keeps the authorizer in step with the store: read once before the first request, followed ever after.

use std::panic::resume_unwind;
use std::sync::Arc;

use kinds::Kind;
use kinds::status::Failure;
use serde_json::Value;
use store::{Change, Entry, Range, Revision};

use super::Authorizer;
use super::node::{Graph, NO_RELATIONSHIP, Placement};
use crate::authentication::User;
use crate::authorization::{Action, Decision};
use crate::context::Context;
use crate::feed::Ended;
use crate::record;

const RBAC: &str = "rbac.authorization.k8s.io";

/// As much of an object as is looked at.
fn looked_at(kind: &Kind, entry: &Entry) -> Result<Value, Failure> {
    match kind.kind {
        "Pod" => record::parts(kind, entry, &["metadata.name", "metadata.namespace", "spec"]),
        _ => record::decode(kind, entry),
    }
}

fn mirrored() -> impl Iterator<Item = &'static Kind> {
    let roles = ["roles", "clusterroles", "rolebindings", "clusterrolebindings"];
    let roles = roles.into_iter().filter_map(|plural| kinds::find(RBAC, "v1", plural));
    roles.chain(kinds::find("", "v1", "pods"))
}

/// Reads all that the authorizer needs to know, and starts the tasks that keep it so.
pub(crate) async fn start(context: &Arc<Context>) -> Result<(), Failure> {
    for kind in mirrored() {
        let revision = load(context, kind).await?;
        let follower = follow(Arc::clone(context), kind, revision);
        let shutdown = context.shutdown.clone();
        kit::task::spawn("authorization mirror", async move {
            shutdown.run_until_cancelled(follower).await;
        });
    }
    Ok(())
}

async fn load(context: &Context, kind: &Kind) -> Result<Revision, Failure> {
    let range = Range { prefix: kind.storage_prefix(), ..Range::default() };
    let page = context.registry.range(range).await?;
    context.authorizer.replace(kind, &page.entries)?;
    Ok(page.revision)
}

/// Ends when the store closes. A failure to read is tried again after a while: until then the old rules hold.
async fn follow(context: Arc<Context>, kind: &'static Kind, mut at: Revision) {
    loop {
        if let Ok(mut source) = context.feeds.follow(&kind.storage_prefix(), at).await {
            loop {
                match source.next().await {
                    Ok(changes) => changes.iter().for_each(|change| {
                        context.authorizer.take(kind, change);
                        at = change.revision();
                    }),
                    Err(Ended::Closed) => return,
                    Err(Ended::Expired) => break,
                }
            }
        }
        match load(&context, kind).await {
            Ok(revision) => at = revision,
            Err(failure) => {
                tracing::warn!(resource = kind.plural, error = %failure, "Cannot read what authorizes; old rules hold");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

/// The Pods on nodes, read by all cores: nobody is answered before. One at a time is decoded by each: as trees, all Pods
/// of a large cluster are many times their size.
fn placements(kind: &Kind, entries: &[Entry]) -> Result<Vec<Placement>, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |part: &[Entry]| -> Result<Vec<Placement>, Failure> {
        let on_nodes = part.iter().filter(|entry| may_be_on_node(entry));
        on_nodes.map(|entry| Ok(Placement::of(&looked_at(kind, entry)?))).collect()
    };
    let parts = std::thread::scope(|scope| {
        let parts = entries.chunks(entries.len().div_ceil(cores).max(1));
        let reading: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
        let read = reading.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)));
        read.collect::<Result<Vec<_>, Failure>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

impl Authorizer {
    fn replace(&self, kind: &Kind, entries: &[Entry]) -> Result<(), Failure> {
        if kind.kind == "Pod" {
            let mut graph = Graph::default();
            placements(kind, entries)?.into_iter().for_each(|pod| graph.put(pod));
            *self.graph.write() = graph;
        } else {
            let objects: Result<Vec<Value>, Failure> =
                entries.iter().map(|entry| record::decode(kind, entry)).collect();
            let objects = objects?;
            let mut policy = self.policy.write();
            policy.clear(kind.plural);
            objects.iter().for_each(|object| policy.put(kind.plural, object));
        }
        Ok(())
    }

    fn take(&self, kind: &Kind, change: &Change) {
        match change {
            Change::Put { entry, .. } if kind.kind == "Pod" && !may_be_on_node(entry) => {
                let (namespace, name) = place(kind, &entry.key);
                self.graph.write().remove(namespace, name);
            }
            Change::Put { entry, .. } => {
                let Ok(object) = looked_at(kind, entry) else { return };
                if kind.kind == "Pod" {
                    self.graph.write().put(Placement::of(&object));
                } else {
                    self.policy.write().put(kind.plural, &object);
                }
            }
            Change::Delete { previous, .. } => {
                let (namespace, name) = place(kind, &previous.key);
                if kind.kind == "Pod" {
                    self.graph.write().remove(namespace, name);
                } else {
                    self.policy.write().remove(kind.plural, namespace, name);
                }
            }
        }
    }

    /// As [`Authorizer::decide`]; an agent whose newest Pod the mirror may not have seen yet is judged by what
    /// stands in the store.
    pub(crate) async fn decide_fresh(&self, context: &Context, user: &User, action: Action<'_>) -> Decision {
        let decision = self.decide(user, action);
        let (Action::Object(object), Some(_)) = (action, user.node_name()) else { return decision };
        let (Some(namespace), Some(_), Some(pods)) =
            (object.namespace, object.name, kinds::find("", "v1", "pods"))
        else {
            return decision;
        };
        if !matches!(&decision, Decision::NoOpinion(why) if why.contains(NO_RELATIONSHIP)) {
            return decision;
        }
        let range = Range { prefix: format!("{}{namespace}/", pods.storage_prefix()), ..Range::default() };
        let Ok(page) = context.registry.range(range).await else { return decision };
        let mut graph = Graph::default();
        let pods = page.entries.iter().filter_map(|entry| looked_at(pods, entry).ok());
        pods.for_each(|pod| graph.put(Placement::of(&pod)));
        self.decide_with(&graph, user, action)
    }
}

/// Whether a stored Pod can be on a node at all, by its bytes: most changes of Pods in a busy cluster are of those that
/// wait for a node, and no tree need be made of them. Keys are stored unescaped.
fn may_be_on_node(entry: &Entry) -> bool {
    const FIELD: &[u8] = b"\"nodeName\"";
    memchr::memmem::find(&entry.value, FIELD).is_some()
}

/// Namespace and name by the key under which an object is stored.
fn place<'k>(kind: &Kind, key: &'k str) -> (&'k str, &'k str) {
    let rest = key.strip_prefix(kind.storage_prefix().as_str()).unwrap_or_default();
    rest.split_once('/').unwrap_or(("", rest))
}

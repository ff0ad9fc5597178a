//! Pods to their nodes: many by one request where the API server takes batches, as Crest's does, and one by one elsewhere.
//!
//! ```text
//!   decided ──► groups, by namespace ──► a batch, while few are under way ──► bound, or to be decided again
//!          └──► alone: where claims must be told first, and where nobody takes batches
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PostParams};
use kube::core::Status;
use kube::{Api, Client};
use model::CpuSet;
use model::binding_batch::{BindingBatch, BindingBatchSpec, BindingBatchStatus, Refusal};
use parking_lot::Mutex;
use sigma::PodId;
use sigma::gpu::GpuSet;

use super::decide::Promised;
use super::{cpus, decide, gpus, manager};
use crate::act::{self, Act, ActError, failed};
use crate::key::ObjectKey;
use crate::record::{Note, Recorder};
use crate::volumes;
use crate::world::World;

/// Large enough that a request's own cost is little beside that of its bindings, small enough that the first of them does
/// not wait for long.
const BATCH: usize = 128;

/// After a binding without an answer: how many pods are looked at at once, how often, and how long that is tried.
const QUESTIONS: usize = 16;
const ASKED_AGAIN: Duration = Duration::from_secs(1);
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(30);

/// How long the volumes of a pod may take to be made, as with kube-scheduler, how often that is looked at, and how soon what
/// was told a claim is heard at the latest.
const MADE_WITHIN: Duration = Duration::from_secs(600);
const LOOKED_AGAIN: Duration = Duration::from_millis(250);
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// After this time a server that took no batches is asked again: the right to send them may have been given.
const BATCHES_AGAIN: Duration = Duration::from_secs(300);

/// Whether the API server takes batches, as far as is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Batches(Arc<Mutex<Option<Instant>>>);

impl Batches {
    pub(super) fn are_taken(&self) -> bool {
        self.0.lock().is_none_or(|refused| refused.elapsed() > BATCHES_AGAIN)
    }

    pub(super) fn were_refused(&self) {
        *self.0.lock() = Some(kit::clock::monotonic());
    }
}

/// A pod that has a node.
#[derive(Clone, Debug)]
pub(super) struct Bind {
    pub(super) id: PodId,
    pub(super) pod: Arc<Pod>,
    pub(super) node: String,
    pub(super) gpus: GpuSet,
    pub(super) cpus: CpuSet,
    /// What its claims are to have.
    pub(super) volumes: Vec<Promised>,
}

/// What waits to be bound, in batches of one namespace, each namespace in turn.
#[derive(Debug, Default)]
pub(super) struct Groups(VecDeque<(String, Vec<Bind>)>);

impl Groups {
    pub(super) fn add(&mut self, bind: Bind) {
        let namespace = bind.pod.metadata.namespace.as_deref().unwrap_or_default();
        match self.0.iter_mut().find(|(known, _)| known == namespace) {
            Some((_, group)) => group.push(bind),
            None => self.0.push_back((namespace.to_owned(), vec![bind])),
        }
    }

    pub(super) fn next_batch(&mut self) -> Option<(String, Vec<Bind>)> {
        let (namespace, mut batch) = self.0.pop_front()?;
        if batch.len() > BATCH {
            let rest = batch.split_off(BATCH);
            self.0.push_back((namespace.clone(), rest));
        }
        Some((namespace, batch))
    }
}

/// Who binds.
#[derive(Clone, Debug)]
pub(super) struct Binder {
    world: World,
    act: Act,
    recorder: Recorder,
    batches: Batches,
}

impl Binder {
    pub(super) fn new(world: World, recorder: Recorder) -> Self {
        Self { act: world.act.clone(), world, recorder, batches: Batches::default() }
    }

    /// Whether the binding may go with others.
    pub(super) fn goes_in_batch(&self, bind: &Bind) -> bool {
        self.batches.are_taken()
            && bind.volumes.is_empty()
            && volumes::claims_to_tell(&self.world, &bind.pod, &bind.node).is_empty()
            && !self.waits(bind)
    }

    /// Whether the binding takes as long as somebody needs to make volumes.
    pub(super) fn waits(&self, bind: &Bind) -> bool {
        !volumes::claims_in_the_making(&self.world, &bind.pod).is_empty()
    }

    /// Binds pods of one namespace; answers those that were not.
    pub(super) async fn bind_all(&self, namespace: &str, batch: Vec<Bind>) -> Vec<PodId> {
        match self.post(namespace, &batch).await {
            Ok(status) => self.settle(batch, &status),
            Err(error) if takes_no_batches(&error) => {
                tracing::info!(error = %kit::Chain(&error), "Binding one by one: the server takes no batches");
                self.batches.were_refused();
                let each = batch.into_iter().map(|bind| self.bind_or_tell(bind));
                futures::future::join_all(each).await.into_iter().flatten().collect()
            }
            Err(error) => {
                tracing::warn!(error = %kit::Chain(&error), namespace, count = batch.len(), "Not bound");
                let refused = matches!(&error, kube::Error::Api(status) if is_refusal(status.code));
                if refused {
                    batch.into_iter().map(|bind| bind.id).collect()
                } else {
                    self.unbound(batch).await
                }
            }
        }
    }

    /// Of pods whose bindings may or may not have been stored, as no answer came, those that are not bound. Their room is
    /// kept until that is known, or could not be found out for long.
    async fn unbound(&self, batch: Vec<Bind>) -> Vec<PodId> {
        let since = kit::clock::monotonic();
        let (mut unbound, mut unclear) = (Vec::new(), batch);
        loop {
            let asked = futures::stream::iter(std::mem::take(&mut unclear)).map(|bind| async {
                let found = self.act.get::<Pod>(&decide::key_of(&bind.pod)).await;
                (bind, found)
            });
            let mut answers = asked.buffer_unordered(QUESTIONS);
            while let Some((bind, found)) = answers.next().await {
                match found {
                    Ok(Some(pod)) if is_bound(&pod, &bind) => self.note(&bind),
                    Ok(_) => unbound.push(bind.id),
                    Err(_) => unclear.push(bind),
                }
            }
            drop(answers);
            if unclear.is_empty() || since.elapsed() > FOUND_OUT_WITHIN {
                unbound.extend(unclear.into_iter().map(|bind| bind.id));
                return unbound;
            }
            tokio::time::sleep(ASKED_AGAIN).await;
        }
    }

    async fn post(&self, namespace: &str, batch: &[Bind]) -> kube::Result<BindingBatchStatus> {
        let api: Api<BindingBatch> = Api::namespaced(self.act.client().clone(), namespace);
        let bindings = batch.iter().map(binding).collect();
        let batch = BindingBatch {
            metadata: ObjectMeta::default(),
            spec: BindingBatchSpec { bindings },
            status: None,
        };
        let answer = api.create(&as_scheduler(), &batch).await?;
        Ok(answer.status.unwrap_or_default())
    }

    fn settle(&self, batch: Vec<Bind>, status: &BindingBatchStatus) -> Vec<PodId> {
        let mut left = Vec::new();
        for (bind, refusal) in judged(batch, &status.refused) {
            match refusal {
                None => self.note(&bind),
                Some(refusal) => {
                    let pod = decide::key_of(&bind.pod);
                    tracing::warn!(%pod, code = refusal.code, reason = refusal.message, "Not bound");
                    left.push(bind.id);
                }
            }
        }
        left
    }

    /// Binds a pod alone; answers it if it was not bound.
    pub(super) async fn bind_or_tell(&self, bind: Bind) -> Option<PodId> {
        let error = self.bind(&bind).await.err()?;
        tracing::warn!(error = %kit::Chain(&error), "Not bound");
        if error.code().is_some_and(is_refusal) {
            Some(bind.id)
        } else {
            self.unbound(vec![bind]).await.pop()
        }
    }

    async fn bind(&self, bind: &Bind) -> Result<(), ActError> {
        let key = decide::key_of(&bind.pod);
        for (claim, volume) in &bind.volumes {
            self.promise(claim, volume).await?;
        }
        let mut claims = volumes::claims_to_tell(&self.world, &bind.pod, &bind.node);
        claims.retain(|claim| !bind.volumes.iter().any(|(promised, _)| promised == claim));
        let mut in_the_making = volumes::claims_in_the_making(&self.world, &bind.pod);
        in_the_making.retain(|claim| !bind.volumes.iter().any(|(promised, _)| promised == claim));
        let mut told = BTreeMap::new();
        for claim in claims {
            let claimed: PersistentVolumeClaim =
                self.act.patch(&claim, &volumes::selected(&bind.node)).await?;
            told.insert(claim, claimed.metadata.resource_version);
        }
        for claim in in_the_making {
            self.until_made(bind, (&claim, told.remove(&claim).flatten())).await?;
        }
        let posted = post_alone(self.act.client(), &key, &binding(bind)).await;
        posted.map_err(failed::<Pod>("bind", &key))?;
        self.note(bind);
        Ok(())
    }

    /// Waits for the volume of a claim that was `told` where, at that version of it.
    async fn until_made(
        &self,
        bind: &Bind,
        (claim, told): (&ObjectKey, Option<String>),
    ) -> Result<(), ActError> {
        let since = kit::clock::monotonic();
        // What was told is not heard at once.
        let mut is_heard = told.is_none();
        let why = loop {
            let known = self.world.claims.get(claim);
            is_heard |= known.as_ref().is_none_or(|known| known.metadata.resource_version == told)
                || since.elapsed() > HEARD_WITHIN;
            match volumes::making(known.as_deref(), &bind.node) {
                volumes::Making::Made => return Ok(()),
                volumes::Making::GivenUp if is_heard => break "its volume could not be made there",
                volumes::Making::UnderWay | volumes::Making::GivenUp => {}
            }
            let pod = self.world.pods.get(&decide::key_of(&bind.pod));
            if pod.is_none_or(|pod| pod.metadata.uid != bind.pod.metadata.uid) {
                break "its pod is gone";
            }
            if since.elapsed() > MADE_WITHIN {
                break "its volume was not made in time";
            }
            tokio::time::sleep(LOOKED_AGAIN).await;
        };
        let status = Status::failure(why, "Conflict").with_code(409);
        let error = kube::Error::Api(status.boxed());
        Err(failed::<PersistentVolumeClaim>("have a volume made for", claim)(error))
    }

    /// Has the volume say whose it is: whoever binds claims to volumes gives it to nobody else then.
    async fn promise(&self, claim: &ObjectKey, volume: &str) -> Result<(), ActError> {
        let key = ObjectKey::cluster(volume);
        let known = self.world.claims.get(claim).zip(self.world.volumes.get(&key));
        let Some((claim, known)) = known else { return Ok(()) };
        if volumes::is_for(&known, &claim) {
            return Ok(());
        }
        let taken = if volumes::is_free_for(&claim, &known) {
            let api: Api<PersistentVolume> = Api::all(self.act.client().clone());
            api.patch(volume, &act::patch(), &Patch::Merge(volumes::taking(&claim, &known))).await.map(drop)
        } else {
            let status = Status::failure("another claim has the volume by now", "Conflict").with_code(409);
            Err(kube::Error::Api(status.boxed()))
        };
        match taken.map_err(failed::<PersistentVolume>("reserve", &key)) {
            // A role of before: others may take the volume meanwhile, and the pod waits on its node then.
            Err(error) if error.code() == Some(403) => {
                tracing::warn!(error = %kit::Chain(&error), volume, "The volume was not reserved");
                Ok(())
            }
            taken => taken,
        }
    }

    fn note(&self, bind: &Bind) {
        let (key, node) = (decide::key_of(&bind.pod), &bind.node);
        tracing::debug!(pod = %key, node, "Bound");
        let message = format!("Successfully assigned {key} to {node}");
        self.recorder.note(&*bind.pod, Note::normal("Scheduled", message));
    }
}

/// All of a batch, each with its refusal if it was refused. Refusals stand in the order of the batch.
pub(super) fn judged<T>(
    batch: impl IntoIterator<Item = T>,
    refused: &[Refusal],
) -> impl Iterator<Item = (T, Option<&Refusal>)> {
    let mut refused = refused.iter().peekable();
    (0..).zip(batch).map(move |(index, item)| (item, refused.next_if(|refusal| refusal.index == index)))
}

/// Whether the API has decided against what was asked for: after anything else it may have been done.
fn is_refusal(code: u16) -> bool {
    (400..500).contains(&code)
}

fn is_bound(pod: &Pod, bind: &Bind) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    pod.metadata.uid == bind.pod.metadata.uid && node == Some(&bind.node)
}

/// The server does not know batches, or does not take them from this client.
pub(super) fn takes_no_batches(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403..=405))
}

pub(super) fn as_scheduler() -> PostParams {
    PostParams { field_manager: manager(), ..PostParams::default() }
}

fn binding(bind: &Bind) -> Binding {
    let uid = bind.pod.metadata.uid.clone();
    let mut binding = binding_to(&decide::key_of(&bind.pod), uid, &bind.node);
    let devices =
        gpus::annotation_of(&bind.gpus, &bind.pod).into_iter().chain(cpus::annotation_of(&bind.cpus));
    let annotations: BTreeMap<String, String> = devices.collect();
    binding.metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    binding
}

/// The binding of a Pod to a node.
pub(crate) fn binding_to(pod: &ObjectKey, uid: Option<String>, node: &str) -> Binding {
    let (kind, name) = (Some("Node".to_owned()), Some(node.to_owned()));
    Binding {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid,
            ..ObjectMeta::default()
        },
        target: ObjectReference { api_version: Some("v1".to_owned()), kind, name, ..Default::default() },
    }
}

/// Binds one Pod by itself.
pub(crate) async fn post_alone(client: &Client, key: &ObjectKey, binding: &Binding) -> kube::Result<()> {
    let body = serde_json::to_vec(binding).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(format!("/api/v1/namespaces/{}/pods", key.namespace));
    let request = request
        .create_subresource("binding", &key.name, &as_scheduler(), body)
        .map_err(kube::Error::BuildRequest)?;
    client.request::<serde_json::Value>(request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(namespace: &str, number: usize) -> Bind {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some(namespace.to_owned());
        let id = PodId::new(&format!("{namespace}-{number}"));
        Bind {
            id,
            pod: Arc::new(pod),
            node: "n".to_owned(),
            gpus: GpuSet::default(),
            cpus: CpuSet::default(),
            volumes: Vec::new(),
        }
    }

    #[test]
    fn namespaces_take_turns_and_nobody_is_lost() {
        let mut groups = Groups::default();
        (0..BATCH + 2).for_each(|number| groups.add(bind("many", number)));
        groups.add(bind("few", 0));
        let mut batches = Vec::new();
        while let Some((namespace, batch)) = groups.next_batch() {
            assert!(batch.iter().all(|bind| bind.pod.metadata.namespace.as_ref() == Some(&namespace)));
            batches.push((namespace, batch.len()));
        }
        let expected = [("many", BATCH), ("few", 1), ("many", 2)];
        assert_eq!(batches, expected.map(|(namespace, count)| (namespace.to_owned(), count)));
    }
}

//! Pods that make room: by one request for each namespace where the API server takes batches, as Crest's does, and one by
//! one elsewhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{PatchParams, PostParams};
use kube::{Api, Client};
use model::preemption_batch::{self, PreemptionBatch, PreemptionBatchSpec, PreemptionBatchStatus};
use sigma::PodId;

use super::bind::{Batches, as_scheduler, judged, takes_no_batches};
use super::decide::{self, Victim};
use super::{condition, manager};
use crate::act::{Act, ActError, only};
use crate::record::{Note, Recorder};

/// Has Pods of a namespace go.
pub(crate) async fn post(
    client: &Client,
    (namespace, how): (&str, &PostParams),
    victims: Vec<preemption_batch::Victim>,
) -> kube::Result<PreemptionBatchStatus> {
    let api: Api<PreemptionBatch> = Api::namespaced(client.clone(), namespace);
    let batch = PreemptionBatch {
        metadata: kube::core::ObjectMeta::default(),
        spec: PreemptionBatchSpec { victims },
        status: None,
    };
    Ok(api.create(how, &batch).await?.status.unwrap_or_default())
}

/// Who preempts.
#[derive(Clone, Debug)]
pub(super) struct Preemptor {
    act: Act,
    recorder: Recorder,
    batches: Batches,
}

impl Preemptor {
    pub(super) fn new(act: Act, recorder: Recorder) -> Self {
        Self { act, recorder, batches: Batches::default() }
    }

    /// Has the victims go in favour of `pod`; answers those that stay.
    pub(super) async fn preempt(&self, pod: &Pod, victims: Vec<Victim>) -> Vec<PodId> {
        let mut by_namespace: BTreeMap<String, Vec<Victim>> = BTreeMap::new();
        for victim in victims {
            by_namespace.entry(victim.key.namespace.clone()).or_default().push(victim);
        }
        let each = by_namespace.iter().map(|(namespace, victims)| self.preempt_in(namespace, pod, victims));
        futures::future::join_all(each).await.into_iter().flatten().collect()
    }

    async fn preempt_in(&self, namespace: &str, pod: &Pod, victims: &[Victim]) -> Vec<PodId> {
        if !self.batches.are_taken() {
            return self.evict_each(pod, victims).await;
        }
        match self.post(namespace, victims).await {
            Ok(status) => self.settle(pod, victims, &status),
            Err(error) if takes_no_batches(&error) => {
                tracing::info!(error = %kit::Chain(&error), "Preempting one by one: the server takes no batches");
                self.batches.were_refused();
                self.evict_each(pod, victims).await
            }
            Err(error) => {
                tracing::warn!(error = %kit::Chain(&error), namespace, count = victims.len(), "Not preempted");
                victims.iter().map(|victim| victim.id.clone()).collect()
            }
        }
    }

    async fn post(&self, namespace: &str, victims: &[Victim]) -> kube::Result<PreemptionBatchStatus> {
        let told = |victim: &Victim| preemption_batch::Victim {
            name: victim.key.name.clone(),
            uid: victim.id.as_str().to_owned(),
            message: self.message(victim),
        };
        let victims = victims.iter().map(told).collect();
        post(self.act.client(), (namespace, &as_scheduler()), victims).await
    }

    fn settle(&self, pod: &Pod, victims: &[Victim], status: &PreemptionBatchStatus) -> Vec<PodId> {
        let mut stay = Vec::new();
        for (victim, refusal) in judged(victims, &status.refused) {
            match refusal {
                None => self.note(pod, victim),
                // Who is gone already has made room, too.
                Some(refusal) if refusal.code == 404 => {}
                Some(refusal) => {
                    let (victim_key, code) = (&victim.key, refusal.code);
                    tracing::warn!(pod = %victim_key, code, reason = refusal.message, "Not preempted");
                    stay.push(victim.id.clone());
                }
            }
        }
        stay
    }

    async fn evict_each(&self, pod: &Pod, victims: &[Victim]) -> Vec<PodId> {
        let evictions = victims.iter().map(|victim| async {
            let evicted = self.evict(pod, victim).await;
            evicted.err().map(|error| {
                tracing::warn!(error = %kit::Chain(&error), "Not preempted");
                victim.id.clone()
            })
        });
        futures::future::join_all(evictions).await.into_iter().flatten().collect()
    }

    async fn evict(&self, pod: &Pod, victim: &Victim) -> Result<(), ActError> {
        let condition =
            condition(("DisruptionTarget", "True"), "PreemptionByScheduler", self.message(victim));
        let patch = serde_json::json!({ "status": { "conditions": [condition] } });
        let how = PatchParams { field_manager: manager(), ..PatchParams::default() };
        self.act.patch_status::<Pod>(&victim.key, &patch, &how).await?;
        self.act.delete::<Pod>(&victim.key, &only(Some(victim.id.as_str()))).await?;
        self.note(pod, victim);
        Ok(())
    }

    /// Why a Pod must go.
    fn message(&self, victim: &Victim) -> String {
        let by = self.recorder.component();
        match &victim.borrower {
            Some(quota) => format!("{by}: preempting to take back what quota {quota} has borrowed"),
            None => format!("{by}: preempting to accommodate a higher priority pod"),
        }
    }

    fn note(&self, pod: &Pod, victim: &Victim) {
        let mut gone = Pod::default();
        gone.metadata.name = Some(victim.key.name.clone());
        gone.metadata.namespace = Some(victim.key.namespace.clone());
        gone.metadata.uid = Some(victim.id.as_str().to_owned());
        let by = decide::key_of(pod);
        self.recorder.note(&gone, Note::normal("Preempted", format!("Preempted by pod {by}")));
    }
}

//! Machines that several jobs found faulty: closed to batch for a while, which their Nodes say.
//!
//! The condition `BatchAvoided` on the Node is what a restart knows of it; what single jobs and tasks avoid is learnt anew.

use std::collections::BTreeMap;
use std::time::Duration;

use fuxi::blame::{CLUSTER_FORGIVEN_AFTER, Change, Cluster, Verdict};
use fuxi::grants::MachineId;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use model::names::BATCH_AVOIDED;
use serde_json::json;

use super::jobs::JobUid;
use super::master::Master;
use super::status;
use crate::key::ObjectKey;
use crate::record::Note;

/// The votes of jobs, and what the Nodes of avoided machines are to say.
#[derive(Debug, Default)]
pub(super) struct Faulty {
    votes: Cluster<JobUid>,
    conditions: BTreeMap<MachineId, NodeCondition>,
}

impl Faulty {
    pub(super) fn is_avoided(&self, machine: MachineId) -> bool {
        self.votes.is_avoided(machine)
    }

    /// A job has found these faulty.
    pub(super) fn vote(
        &mut self,
        job: &JobUid,
        machines: impl IntoIterator<Item = MachineId>,
        now: Duration,
    ) {
        self.votes.vote(job, machines, now);
    }

    pub(super) fn forget(&mut self, machine: MachineId) {
        self.votes.forget(machine);
        self.conditions.remove(&machine);
    }

    /// When the next machine is to be tried again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.votes.due()
    }

    /// What a Node's condition must become, if it is not so already.
    fn owed(&self, machine: MachineId, node: &Node) -> Option<NodeCondition> {
        let told = condition(node);
        match self.conditions.get(&machine) {
            Some(wanted) => (told.map(|told| &told.message) != Some(&wanted.message)).then(|| wanted.clone()),
            None => told.map(|_| NodeCondition {
                last_heartbeat_time: None,
                last_transition_time: Some(Time(kit::clock::wall())),
                message: Some("New batch workers come again".to_owned()),
                reason: Some("TimeIsOver".to_owned()),
                status: "False".to_owned(),
                type_: BATCH_AVOIDED.to_owned(),
            }),
        }
    }
}

/// What a Node says of being avoided, while it is.
fn condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|each| each.type_ == BATCH_AVOIDED && each.status == "True")
}

fn avoided(verdict: Verdict, now: Timestamp) -> NodeCondition {
    let until = now.saturating_add(CLUSTER_FORGIVEN_AFTER).unwrap_or(Timestamp::MAX);
    let message = format!(
        "{} jobs found it faulty: no new batch workers until {until:.0}. `crest job diagnose` of these jobs tells what failed",
        verdict.n_jobs
    );
    NodeCondition {
        last_heartbeat_time: None,
        last_transition_time: Some(Time(now)),
        message: Some(message),
        reason: Some("FoundFaultyByJobs".to_owned()),
        status: "True".to_owned(),
        type_: BATCH_AVOIDED.to_owned(),
    }
}

impl Master {
    /// After a start: goes on avoiding a machine for the rest of its time.
    pub(super) fn restore_verdict(&mut self, node: &Node) {
        let Some(told) = condition(node) else { return };
        let Some(Time(since)) = &told.last_transition_time else { return };
        let Ok(passed) = Duration::try_from(kit::clock::wall().duration_since(*since)) else { return };
        let Some(left) = CLUSTER_FORGIVEN_AFTER.checked_sub(passed) else { return };
        let machine = self.machines.id(&node.name_any());
        let verdict = Verdict { n_jobs: 0, until: self.now() + left };
        self.faulty.votes.restore(machine, verdict);
        self.faulty.conditions.insert(machine, told.clone());
    }

    /// Looks what the jobs' votes come to, and closes or opens machines by them.
    pub(super) fn look_after_machines(&mut self) {
        let now = self.now();
        for Change { machine, verdict } in self.faulty.votes.review(self.machines.n_offering(), now) {
            match verdict {
                Some(verdict) => {
                    self.faulty.conditions.insert(machine, avoided(verdict, kit::clock::wall()));
                }
                None => drop(self.faulty.conditions.remove(&machine)),
            }
            let Some(name) = self.machines.name(machine).map(str::to_owned) else { continue };
            tracing::warn!(node = name, is_avoided = verdict.is_some(), "Jobs have voted on a machine");
            let key = ObjectKey::new("", &name);
            if let (Some(node), Some(condition)) =
                (self.watched.nodes.get(&key), self.faulty.conditions.get(&machine))
            {
                let message = condition.message.clone().unwrap_or_default();
                self.recorder.note(&*node, Note::warning(BATCH_AVOIDED, message));
            }
            self.on_node(&key);
        }
    }

    /// Brings what a Node says in line with what was decided. Others write its conditions, too, so it is looked at whenever
    /// the Node changes.
    pub(super) fn tell_node(&self, machine: MachineId, node: &Node) {
        let Some(condition) = self.faulty.owed(machine, node) else { return };
        let api: Api<Node> = Api::all(self.config.client.clone());
        let name = node.name_any();
        let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        kit::task::spawn("tell-node", async move {
            match api.patch_status(&name, &PatchParams::default(), &patch).await {
                Err(error) if !status::is_code(&error, 404) => {
                    tracing::warn!(node = name, error = %kit::Chain(&error), "A Node's condition was not written");
                }
                _ => {}
            }
        });
    }
}

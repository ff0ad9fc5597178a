//! Quotas of batch at the API: which are in force, who may use them, and what is used of each.

mod decide;

use std::collections::BTreeMap;
use std::time::Duration;

use fuxi::grants::{QuotaId, ResourceNames, Resources};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use model::batch_quota::{BatchQuota, BatchQuotaStatus, COVERED, IN_FORCE};
use serde_json::json;
use sigma::resources::text;

use super::jobs::JobUid;
use super::master::Master;
use super::{Input, status};
use crate::record::Note;
use decide::{Numbers, Specs};

/// Between two looks at what is used.
const PAUSE: Duration = Duration::from_secs(1);

/// The quotas that count, and how far their owners know of them.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    numbers: Numbers,
    in_force: Specs,
    faults: BTreeMap<String, String>,
    /// When their statuses are looked at next; `None` while nothing has changed, or they are being written.
    pub(super) due: Option<Duration>,
    is_writing: bool,
}

/// Why jobs of `namespace` get nothing by a quota, as all of them stand in the store; `None` if they may use it.
pub fn refusal(quotas: &[BatchQuota], quota: &str, namespace: &str) -> Option<String> {
    let in_force = quotas.iter().filter_map(|each| Some((each.name_any(), each.status.clone()?.in_force?)));
    decide::refusal(&in_force.collect(), quota, namespace)
}

impl Quotas {
    pub(super) fn id(&mut self, name: &str) -> QuotaId {
        self.numbers.id(name)
    }

    /// Why a job may not use the quota that it names; `None` if it may, or names none.
    pub(super) fn refusal(&self, quota: Option<&str>, namespace: &str) -> Option<String> {
        quota.and_then(|quota| decide::refusal(&self.in_force, quota, namespace))
    }

    /// Why one more of `shape` is beyond a quota, where `used` is what each uses; `None` if it is not.
    pub(super) fn spent(
        &self,
        used: &BTreeMap<String, Resources>,
        (quota, shape): (Option<&str>, Resources),
    ) -> Option<String> {
        let spent = decide::spent(&self.in_force, used, (quota?, shape))?;
        Some(format!("BatchQuota `{spent}` allows no more at once (its spec.max)"))
    }

    /// What is used may have changed.
    pub(super) fn touch(&mut self, now: Duration) {
        let nobody_asks = self.in_force.is_empty() && self.faults.is_empty();
        if !nobody_asks && !self.is_writing {
            self.due.get_or_insert(now + PAUSE);
        }
    }

    /// How a quota stands, where `known` is what was said of it before.
    fn status(&self, quota: &BatchQuota, totals: &Totals, now: &Time) -> BatchQuotaStatus {
        let name = quota.name_any();
        let known = quota.status.clone().unwrap_or_default();
        let in_force = self.in_force.get(&name).cloned();
        let judged = match (self.faults.get(&name), &in_force) {
            (None, _) => ("True", "Fits", "it counts as it stands".to_owned()),
            (Some(fault), Some(_)) => {
                ("False", "Faulty", format!("{fault}. Until this is mended, status.inForce counts"))
            }
            (Some(fault), None) => ("False", "Faulty", format!("{fault}. It does not count")),
        };
        let lacking = totals.lacking();
        let covered = if lacking.is_empty() {
            ("True", "EnoughOffered", "machines offer what all quotas are guaranteed".to_owned())
        } else {
            let lacking = lacking.join(" and ");
            let message = format!("all quotas together are guaranteed more {lacking} than machines offer");
            ("False", "TooLittleOffered", message)
        };
        let condition = |type_: &str, (status, reason, message): (&str, &str, String)| Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: crate::condition::since(&known.conditions, (type_, status), now.clone()),
            observed_generation: quota.metadata.generation,
        };
        let used = totals.used.get(&name).copied().unwrap_or_default();
        BatchQuotaStatus {
            observed_generation: quota.metadata.generation,
            used: if in_force.is_some() { quantities(used) } else { BTreeMap::new() },
            in_force,
            conditions: vec![condition(IN_FORCE, judged), condition(COVERED, covered)],
        }
    }
}

/// Sums over all quotas.
#[derive(Debug)]
struct Totals {
    used: BTreeMap<String, Resources>,
    guaranteed: Resources,
    offered: Resources,
}

impl Totals {
    /// The resources of which less is offered than guaranteed.
    fn lacking(&self) -> Vec<String> {
        let names = ResourceNames::default();
        let sides = names.named(self.guaranteed).zip(names.named(self.offered));
        sides
            .filter(|((_, guaranteed), (_, offered))| guaranteed > offered)
            .map(|((name, _), _)| name.to_owned())
            .collect()
    }
}

fn quantities(amounts: Resources) -> BTreeMap<String, Quantity> {
    let names = ResourceNames::default();
    let quantity = |(name, amount): (&str, u64)| (name.to_owned(), Quantity(text(name, u128::from(amount))));
    names.named(amounts).map(quantity).collect()
}

impl Master {
    /// Some quota has changed: all are judged anew, as they count together.
    pub(super) fn on_quotas(&mut self) {
        let now = self.now();
        let all = self.watched.quotas.all();
        let stored: Specs = all.iter().map(|quota| (quota.name_any(), quota.spec.clone())).collect();
        let mut before = self.quotas.in_force.clone();
        for quota in &all {
            // After a restart, what was in force stands in the store.
            let told = quota.status.as_ref().and_then(|status| status.in_force.clone());
            if let Some(spec) = told {
                before.entry(quota.name_any()).or_insert(spec);
            }
        }
        let judged = decide::judge(&stored, &before, &mut self.quotas.numbers);
        if judged.in_force != self.quotas.in_force {
            tracing::info!(quotas = judged.in_force.len(), "Quotas are in force");
            let decisions = self.ledger.set_quotas(&judged.tree, now);
            self.follow(decisions);
            self.unbalanced.extend(self.jobs.keys().cloned());
        }
        self.quotas.in_force = judged.in_force;
        self.quotas.faults = judged.faults;
        self.quotas.touch(now);
        self.ask_for_all();
    }

    /// Whether a job may use the quota that it names. Its owner hears once why not.
    pub(super) fn may_use_quota(&mut self, uid: &JobUid) -> bool {
        let Some(job) = self.jobs.get_mut(uid) else { return false };
        let refusal = self.quotas.refusal(job.spec.quota.as_deref(), &job.key.namespace);
        if refusal != job.refusal {
            if let Some(message) = &refusal {
                self.recorder.note(&job.raw, Note::warning("QuotaUnusable", message.clone()));
            }
            job.refusal.clone_from(&refusal);
        }
        refusal.is_none()
    }

    /// What each quota uses, with its parts.
    pub(super) fn used_of_quotas(&self) -> BTreeMap<String, Resources> {
        decide::usage(&self.quotas.in_force, |name| {
            self.quotas.numbers.known(name).map(|id| self.ledger.used_of_quota(id)).unwrap_or_default()
        })
    }

    /// Writes how the quotas stand, where that has changed.
    pub(super) fn tell_quotas(&mut self) {
        self.quotas.due = None;
        let used = self.used_of_quotas();
        let guaranteed = decide::guaranteed(&self.quotas.in_force);
        let totals = Totals { used, guaranteed, offered: self.ledger.total() };
        let now = Time(kit::clock::wall());
        let changed: Vec<(String, BatchQuotaStatus)> = self
            .watched
            .quotas
            .all()
            .iter()
            .map(|quota| (quota, self.quotas.status(quota, &totals, &now)))
            .filter(|(quota, status)| quota.status.as_ref() != Some(status))
            .map(|(quota, status)| (quota.name_any(), status))
            .collect();
        if changed.is_empty() {
            return;
        }
        self.quotas.is_writing = true;
        let (client, inputs) = (self.config.client.clone(), self.inputs.clone());
        kit::task::spawn("tell-batch-quotas", async move {
            store(client, changed).await;
            // The loop is ending if it does not listen.
            let _ending = inputs.send(Input::QuotasTold);
        });
    }

    /// Looks once more: what was used may have changed while it was written, or a write may have failed.
    pub(super) fn on_quotas_told(&mut self) {
        self.quotas.is_writing = false;
        self.quotas.touch(self.now());
    }
}

async fn store(client: Client, statuses: Vec<(String, BatchQuotaStatus)>) {
    let api: Api<BatchQuota> = Api::all(client);
    for (name, status) in statuses {
        // As a whole: nobody else writes it, and what is not said any more is to go.
        let patch = json!([{ "op": "add", "path": "/status", "value": status }]);
        let patch = match serde_json::from_value(patch) {
            Ok(patch) => Patch::Json::<()>(patch),
            Err(error) => {
                tracing::error!(quota = name, error = %kit::Chain(&error), "A BatchQuota's status is no JSON");
                continue;
            }
        };
        match api.patch_status(&name, &PatchParams::default(), &patch).await {
            Err(error) if !status::is_code(&error, 404) => {
                tracing::warn!(quota = name, error = %kit::Chain(&error), "The status of a BatchQuota was not written");
            }
            _ => {}
        }
    }
}

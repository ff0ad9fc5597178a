//! What the scheduler's task hears, and in which order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::elastic_quota::ElasticQuota;
use model::reservation::Reservation;
use model::scheduling_policy::SchedulingPolicy;
use parking_lot::Mutex;
use sigma::{Interference, PodId, Usage};
use tokio::sync::mpsc;

use super::convert;
use super::decide::{self, Scheduler};
use super::group::{Group, Origin};
use crate::informer::Change;
use crate::key::ObjectKey;
use crate::volumes::{self, Needs};
use crate::world::World;

/// News for the scheduler's task.
#[derive(Debug)]
pub(super) enum News {
    Node(String, Option<Arc<Node>>),
    Pod(Arc<Pod>, Box<Needs>),
    /// How many volumes a node can attach.
    Limits(String, BTreeMap<String, u64>),
    /// For which claim a volume is, if for any.
    Volume(String, Option<ObjectKey>),
    PodGone(PodId),
    Namespace(String, Option<Arc<Namespace>>),
    Budget(ObjectKey, Option<Arc<PodDisruptionBudget>>),
    Group(ObjectKey, Origin, Option<Group>),
    /// What nodes use, and how long ago that was.
    Usage(Vec<(String, Usage, Duration)>),
    Policy(String, Option<Arc<SchedulingPolicy>>),
    Interference(String, Option<Interference>),
    Quota(String, Option<Arc<ElasticQuota>>),
    /// With how long it is to be held yet, if not for ever.
    Reservation(ObjectKey, Option<Arc<Reservation>>, Option<Duration>),
}

/// Tells of pods, with what their volumes ask for. Those who follow pods and those who follow storage do it in turns, each
/// by what is known at that moment: so what is told last is how it is.
#[derive(Clone)]
pub(super) struct PodNews {
    pub(super) world: World,
    pub(super) news: mpsc::UnboundedSender<News>,
    pub(super) turn: Arc<Mutex<()>>,
}

impl PodNews {
    /// A pod came, changed or went.
    pub(super) fn changed(&self, change: &Change<'_, Pod>) {
        let _turn = self.turn.lock();
        match (change.after, decide::id_of(change.object())) {
            (None, Some(id)) => self.send(News::PodGone(id)),
            _ => self.send(self.as_it_is(change.object())),
        }
    }

    /// What a pod's volumes ask for may have changed.
    pub(super) fn again(&self, key: &ObjectKey) {
        let _turn = self.turn.lock();
        if let Some(pod) = self.world.pods.get(key) {
            self.send(self.as_it_is(&pod));
        }
    }

    fn as_it_is(&self, pod: &Arc<Pod>) -> News {
        News::Pod(Arc::clone(pod), Box::new(volumes::needs_of(&self.world, pod)))
    }

    pub(super) fn send(&self, news: News) {
        // Nobody listens any more: the process is going down.
        let _stopped = self.news.send(news);
    }
}

/// All news at hand, so that pods that come together are placed together.
pub(super) fn take_all(scheduler: &mut Scheduler, first: News, more: &mut mpsc::UnboundedReceiver<News>) {
    let now = kit::clock::monotonic();
    let mut next = Some(first);
    while let Some(news) = next {
        match news {
            News::Node(name, node) => scheduler.node_changed(&name, node.as_deref(), now),
            News::Pod(pod, needs) => {
                if let Some(id) = decide::id_of(&pod) {
                    scheduler.needs_changed(&id, *needs);
                }
                scheduler.pod_changed(&pod, now);
            }
            News::Limits(node, limits) => scheduler.volume_limits_changed(&node, limits, now),
            News::Volume(name, claim) => scheduler.volume_changed(&name, claim, now),
            News::PodGone(id) => scheduler.pod_gone(&id, now),
            News::Budget(key, budget) => {
                scheduler.budget_changed(&key.to_string(), budget.as_deref().and_then(convert::budget));
            }
            News::Usage(figures) => scheduler.usage_changed(&figures, now),
            News::Group(key, origin, group) => scheduler.group_changed(&key, origin, group),
            News::Policy(name, policy) => scheduler.policy_changed(&name, policy.as_deref(), now),
            News::Quota(name, quota) => scheduler.quota_changed(&name, quota.as_deref(), now),
            News::Reservation(key, reservation, left) => {
                scheduler.reservation_changed(&key, reservation.as_ref(), left, now);
            }
            News::Interference(name, rule) => scheduler.interference_changed(&name, rule, now),
            News::Namespace(name, namespace) => {
                let labels = namespace.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
                scheduler.namespace_changed(&name, labels.as_ref(), now);
            }
        }
        next = more.try_recv().ok();
    }
}

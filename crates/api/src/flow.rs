//! Priority and fairness: the desk at which every request gets a seat, waits for one, or is sent away.
//!
//! ```text
//!   request ──► classified ──► seat ──► answered ──► sent ──► seat free
//!                                │                              ▲
//!                                └── passed on to an agent, a Pod, a webhook: free from then on
//! ```
//! Who decides is `kinds::flow`; here are only the lock around it, the clock, and the wake-ups. A request that waits
//! for somebody else who may have to ask this server gives its seat up first, so that requests which wait for each
//! other never wait for seats. Watches leave their seat once they run.

mod keeper;
mod sending;
mod sizes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Response};
use kinds::flow::{Arrival, Classifier, Dispatcher, Flow, Refusal, Request, Target, Ticket};
use kinds::status::Failure;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::attributes::Attributes;
use crate::authentication::User;
use crate::query::Query;

pub(crate) use keeper::start;
pub(crate) use sending::Held;
pub(crate) use sizes::Sizes;

/// What clients that were refused are told to wait, in seconds.
const RETRY_AFTER: u32 = 1;

/// The desk.
#[derive(Debug)]
pub(crate) struct Gate {
    classifier: RwLock<Arc<Classifier>>,
    desk: Mutex<Desk>,
    /// What times are counted from.
    opened: Instant,
    pub(crate) sizes: Sizes,
}

#[derive(Debug)]
struct Desk {
    dispatcher: Dispatcher,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A place in the server. Dropping it makes it free.
#[derive(Debug)]
pub(crate) struct Seat {
    /// `None` where there is no limit.
    held: Option<(Arc<Gate>, Ticket)>,
}

impl Gate {
    pub(crate) fn new(seats: u32) -> Arc<Self> {
        Arc::new(Self {
            classifier: RwLock::default(),
            desk: Mutex::new(Desk { dispatcher: Dispatcher::new(seats), waiting: HashMap::new() }),
            opened: kit::clock::monotonic(),
            sizes: Sizes::default(),
        })
    }

    /// Works by these FlowSchemas and PriorityLevelConfigurations from now on.
    fn configure(&self, schemas: &[Value], levels: &[Value]) {
        *self.classifier.write() = Arc::new(Classifier::new(schemas, levels));
        let mut desk = self.desk.lock();
        let seated = desk.dispatcher.configure(levels, self.now());
        desk.wake(&seated);
    }

    pub(crate) fn classify(&self, user: &User, attributes: &Attributes) -> Flow {
        let classifier = Arc::clone(&self.classifier.read());
        let target = match &attributes.object {
            None => Target::Path(&attributes.path),
            Some(target) => Target::Object {
                group: &target.group,
                resource: &target.resource,
                subresource: target.subresource.as_deref(),
                namespace: target.namespace.as_deref(),
            },
        };
        let user_name = known_as(&user.name);
        classifier.classify(&Request {
            user: user_name,
            groups: &user.groups,
            verb: &attributes.verb,
            target,
        })
    }

    /// How much work a request is, counted in small ones.
    pub(crate) fn width(&self, parts: &Parts, attributes: &Attributes) -> u32 {
        let Some(target) = &attributes.object else { return 1 };
        if !matches!(attributes.verb.as_str(), "list" | "watch") {
            return 1;
        }
        let Ok(query) = Query::parse(&parts.uri) else { return 1 };
        let starts_late = query.get("resourceVersion").is_some_and(|revision| !matches!(revision, "" | "0"))
            && query.get("sendInitialEvents").is_none();
        if attributes.verb == "watch" && starts_late {
            return 1;
        }
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let is_selective = query.get("labelSelector").is_some() || query.get("fieldSelector").is_some();
        let limit = query.number("limit").ok().flatten().filter(|limit| *limit > 0 && !is_selective);
        self.sizes.width((&target.group, &target.resource, namespace), limit)
    }

    /// Waits for a seat, at most for `patience`; 429 if there is none.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        flow: &Flow,
        width: u32,
        patience: Duration,
    ) -> Result<Seat, Failure> {
        let arrived = self.arrive(flow, width);
        let (ticket, told) = match arrived {
            Arrived::Exempt => return Ok(Seat { held: None }),
            Arrived::Seated(ticket) => return Ok(Seat { held: Some((Arc::clone(self), ticket)) }),
            Arrived::Refused(refusal) => return Err(refused(refusal)),
            Arrived::Waits(ticket, told) => (ticket, told),
        };
        // Whoever gives up while it waits leaves the queue by dropping this.
        let seat = Seat { held: Some((Arc::clone(self), ticket)) };
        match tokio::time::timeout(patience, told).await {
            Ok(_seated) => Ok(seat),
            Err(_elapsed) => {
                Err(too_many("the request waited too long for others of its priority; try again later"))
            }
        }
    }

    fn arrive(&self, flow: &Flow, width: u32) -> Arrived {
        let mut desk = self.desk.lock();
        match desk.dispatcher.arrive(flow, width, self.now()) {
            Arrival::Exempt => Arrived::Exempt,
            Arrival::Seated(ticket) => Arrived::Seated(ticket),
            Arrival::Refused(refusal) => Arrived::Refused(refusal),
            Arrival::Waits(ticket, seated) => {
                let (tell, told) = oneshot::channel();
                desk.waiting.insert(ticket, tell);
                desk.wake(&seated);
                Arrived::Waits(ticket, told)
            }
        }
    }

    fn leave(&self, ticket: Ticket) {
        let mut desk = self.desk.lock();
        desk.waiting.remove(&ticket);
        let seated = desk.dispatcher.leave(ticket, self.now());
        desk.wake(&seated);
    }

    fn now(&self) -> Duration {
        kit::clock::monotonic().saturating_duration_since(self.opened)
    }
}

/// [`Arrival`] with how whoever waits is told.
enum Arrived {
    Exempt,
    Seated(Ticket),
    Waits(Ticket, oneshot::Receiver<()>),
    Refused(Refusal),
}

impl Desk {
    fn wake(&mut self, seated: &[Ticket]) {
        for tell in seated.iter().filter_map(|ticket| self.waiting.remove(ticket)) {
            // One that gave up a moment ago leaves again when its seat is dropped.
            let _gave_up = tell.send(());
        }
    }
}

impl Seat {
    /// Whether it is one of those that there are only so many of.
    pub(crate) fn is_limited(&self) -> bool {
        self.held.is_some()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some((gate, ticket)) = self.held.take() {
            gate.leave(ticket);
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    too_many(match refusal {
        Refusal::NoSeat => "the server has as many requests of this priority as it takes; try again later",
        Refusal::QueueFull => "too many requests of this client wait already; try again later",
    })
}

fn too_many(message: &str) -> Failure {
    Failure::too_many_requests(message, RETRY_AFTER)
}

/// The parts of Crest are known by the names that Kubernetes' own schemas have for those that do the same.
fn known_as(user: &str) -> &str {
    match user.strip_prefix("system:crest:") {
        Some("sigma" | "fuxi") => "system:kube-scheduler",
        Some(_) => "system:kube-controller-manager",
        None => user,
    }
}

/// Says in an answer how its request was classified.
pub(crate) fn mark<B>(response: &mut Response<B>, flow: &Flow) {
    let uids = [
        ("x-kubernetes-pf-flowschema-uid", &flow.schema_uid),
        ("x-kubernetes-pf-prioritylevel-uid", &flow.level_uid),
    ];
    for (name, uid) in uids {
        if let Ok(value) = HeaderValue::from_str(uid) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests;

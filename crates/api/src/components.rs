//! `componentstatuses`: whether the parts of the control plane are there.
//!
//! A part is there if it runs in this process, or if somebody holds the lease for which those who can do its work are
//! elected: Crest's own controllers, or Kubernetes' in their place.

use std::sync::{Arc, Weak};

use axum::body::Body;
use http::Response;
use jiff::{SignedDuration, Timestamp};
use kinds::status::Failure;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::authentication::User;
use crate::call::Call;
use crate::computed;
use crate::context::Context;

const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");
const NAMESPACE: &str = "kube-system";
/// Crest's controllers, among which Sigma is; and the lease for which they are elected where there are several servers.
const CONTROLLERS: &str = "controllers";
const OF_CONTROLLERS: &str = "crest-controllers";

/// Parts beside the store, with the leases for which Kubernetes' own programs are elected.
const PARTS: [(&str, &str); 2] =
    [("controller-manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")];

pub(crate) fn is_status(group: &str, plural: &str) -> bool {
    group.is_empty() && plural == "componentstatuses"
}

pub(crate) async fn handle(call: &Call) -> Result<Response<Body>, Failure> {
    computed::answer(call, all(&call.context).await?)
}

async fn all(context: &Context) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let is_here = context.residents.has(&User::component(CONTROLLERS));
    for (name, lease) in PARTS {
        let is_there = is_here || is_held(context, OF_CONTROLLERS).await? || is_held(context, lease).await?;
        all.push(status(
            name,
            if is_there { Ok(()) } else { Err("it does not run here, and nobody holds its lease") },
        ));
    }
    let store = context.registry.revision().await;
    all.push(status("etcd-0", store.map(drop).map_err(|_unavailable| "the store cannot be read")));
    Ok(all)
}

fn status(name: &str, outcome: Result<(), &str>) -> Value {
    let condition = match outcome {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "False", "message": why}),
    };
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

/// Whether a lease has a holder who renewed it in time.
async fn is_held(context: &Context, name: &str) -> Result<bool, Failure> {
    let (group, plural) = LEASES;
    let Some(kind) = kinds::find(group, "v1", plural) else { return Ok(false) };
    let lease = context.registry.find(kind, NAMESPACE, name).await?;
    Ok(lease.is_some_and(|lease| holds(&lease["spec"], context.now())))
}

fn holds(lease: &Value, now: Timestamp) -> bool {
    let seconds = lease["leaseDurationSeconds"].as_i64().unwrap_or_default();
    let renewed = lease["renewTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    lease["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty())
        && renewed.is_some_and(|renewed| now.duration_since(renewed) <= SignedDuration::from_secs(seconds))
}

/// Who works in this process: the users for whom there are clients without a socket.
#[derive(Debug, Default)]
pub(crate) struct Residents(Mutex<Vec<(String, Weak<()>)>>);

impl Residents {
    /// `user` is here for as long as what is answered is kept.
    pub(crate) fn admit(&self, user: &User) -> Arc<()> {
        let presence = Arc::new(());
        self.0.lock().push((user.name.clone(), Arc::downgrade(&presence)));
        presence
    }

    fn has(&self, user: &User) -> bool {
        let mut residents = self.0.lock();
        residents.retain(|(_, presence)| presence.strong_count() > 0);
        residents.iter().any(|(name, _)| *name == user.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Residents, holds};
    use crate::authentication::User;

    #[test]
    fn a_lease_is_held_by_one_who_renews_it() {
        let now = "2030-01-01T00:00:20Z".parse().unwrap();
        let lease = |holder: &str, renewed: &str| json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15});
        assert!(holds(&lease("one", "2030-01-01T00:00:10.000000Z"), now));
        assert!(!holds(&lease("one", "2030-01-01T00:00:00.000000Z"), now));
        assert!(!holds(&lease("", "2030-01-01T00:00:10.000000Z"), now));
        assert!(!holds(&json!({}), now));
    }

    #[test]
    fn who_is_gone_is_not_here() {
        let residents = Residents::default();
        let user = User::component("controllers");
        assert!(!residents.has(&user));
        let presence = residents.admit(&user);
        assert!(residents.has(&user) && !residents.has(&User::component("fuxi")));
        drop(presence);
        assert!(!residents.has(&user));
    }
}

//! One leader among servers: whoever holds a Lease works, the others wait for it to run out.
//!
//! ```text
//!   Waiting ── lease free or unrenewed for its whole duration: taken ──► Leading ── not renewed in time ──► Waiting
//!                                                                           └── told to stop ──► lease given back
//! ```
//! Whether another's lease runs out is judged by how long *this* process has seen it unchanged, never by comparing
//! clocks. A leader stops its work before its lease can be taken: it gives up after [`RENEW_WITHIN`] without a renewal,
//! others wait for [`LEASE_FOR`].

mod decide;

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio_util::sync::CancellationToken;

use self::decide::Step;

/// How long a lease holds without being renewed.
const LEASE_FOR: Duration = Duration::from_secs(15);
/// How long a leader works on without a renewal.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often leaders renew and the others look.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Where the leases are.
const NAMESPACE: &str = "kube-system";

/// Takes part in the election for one lease.
#[derive(Clone)]
pub struct Election {
    pub client: Client,
    /// The lease's name; what it stands for runs once in the cluster.
    pub lease: String,
    /// Who takes part; no two have the same.
    pub identity: String,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lease, identity, .. } = self;
        f.debug_struct("Election").field("lease", lease).field("identity", identity).finish_non_exhaustive()
    }
}

/// A lease as last seen, and since when it looks like that.
struct Seen {
    lease: Lease,
    since: Instant,
}

impl Election {
    /// Runs `work` whenever this one is elected, until `token` is cancelled. The token that `work` is given is
    /// cancelled when it must stop; a new election begins once it has ended.
    pub async fn run<F>(self, token: CancellationToken, mut work: impl FnMut(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some((mine, since)) = token.run_until_cancelled(self.elected()).await {
            tracing::info!(lease = %self.lease, identity = %self.identity, "Elected");
            let elected = token.child_token();
            let _stop = elected.clone().drop_guard();
            let mut working = kit::task::spawn("elected", work(elected.clone()));
            let last = tokio::select! {
                last = self.renew((mine, since), &token) => Some(last),
                // Work that ends by itself gives the lease to others, who may fare better.
                _ended = &mut working => None,
            };
            elected.cancel();
            if last.is_some() {
                let _ended = working.await;
            }
            self.give_back().await;
            if !token.is_cancelled() {
                tracing::warn!(lease = %self.lease, identity = %self.identity, "No longer leading");
            }
        }
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Waits for the lease and takes it; since when others may count it as taken.
    async fn elected(&self) -> (Lease, Instant) {
        let mut seen: Option<Seen> = None;
        loop {
            let begun = kit::clock::monotonic();
            match self.attempt(&mut seen).await {
                // An answer that took long is of a lease that others may hold by now.
                Ok(Some(mine)) if begun.elapsed() < RENEW_WITHIN => return (mine, begun),
                Ok(_) => {}
                Err(error) => tracing::debug!(error = %kit::Chain(&error), "Cannot look at the lease"),
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    /// Takes the lease if it can be had.
    async fn attempt(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, kube::Error> {
        let found = self.leases().get_opt(&self.lease).await?;
        // It may have been renewed at any moment until now.
        let now = kit::clock::monotonic();
        let unchanged =
            |seen: &Seen, found: &Lease| seen.lease.resource_version() == found.resource_version();
        match (&found, &*seen) {
            (Some(found), Some(seen)) if unchanged(seen, found) => {}
            (Some(found), _) => *seen = Some(Seen { lease: found.clone(), since: now }),
            (None, _) => *seen = None,
        }
        let unchanged_for = seen.as_ref().map_or(Duration::ZERO, |seen| now - seen.since);
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        match decide::step(spec, unchanged_for, (&self.identity, LEASE_FOR), kit::clock::wall()) {
            Step::Wait => Ok(None),
            Step::Take(spec) => taken(match found {
                Some(mut lease) => {
                    lease.spec = Some(spec);
                    self.leases().replace(&self.lease, &PostParams::default(), &lease).await
                }
                None => {
                    let metadata = ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() };
                    let lease = Lease { metadata, spec: Some(spec) };
                    self.leases().create(&PostParams::default(), &lease).await
                }
            }),
        }
    }

    /// Renews until that fails for too long, another holds the lease, or `token` is cancelled.
    async fn renew(&self, (mut mine, mut renewed): (Lease, Instant), token: &CancellationToken) {
        while token.run_until_cancelled(tokio::time::sleep(RETRY_AFTER)).await.is_some() {
            let begun = kit::clock::monotonic();
            decide::renew(mine.spec.get_or_insert_default(), kit::clock::wall());
            let left = RENEW_WITHIN.saturating_sub(begun - renewed);
            let leases = self.leases();
            let params = PostParams::default();
            let replaced = leases.replace(&self.lease, &params, &mine);
            match tokio::time::timeout(left, replaced).await {
                Ok(Ok(lease)) => (mine, renewed) = (lease, begun),
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => return,
                Ok(Err(error)) => tracing::warn!(error = %kit::Chain(&error), "Cannot renew the lease"),
                Err(_elapsed) => return,
            }
            if kit::clock::monotonic() - renewed >= RENEW_WITHIN {
                return;
            }
        }
    }

    /// Lets others have the lease at once, if it is still this one's.
    async fn give_back(&self) {
        let freed = tokio::time::timeout(RETRY_AFTER, async {
            let Some(mut lease) = self.leases().get_opt(&self.lease).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(());
            }
            decide::release(spec, kit::clock::wall());
            self.leases().replace(&self.lease, &PostParams::default(), &lease).await.map(drop)
        });
        if let Ok(Err(error)) = freed.await {
            tracing::debug!(error = %kit::Chain(&error), "Cannot give the lease back; it runs out by itself");
        }
    }
}

/// Somebody else was faster: no failure.
fn taken(answer: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match answer {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;

//! What a candidate does about a lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Wait,
    /// Write this; whoever is first has it.
    Take(LeaseSpec),
}

/// What `me` does, who wants the lease for so long, about a lease that has looked the same for `unchanged_for`.
pub(super) fn step(
    lease: Option<&LeaseSpec>,
    unchanged_for: Duration,
    (me, lease_for): (&str, Duration),
    now: Timestamp,
) -> Step {
    let holder = lease.and_then(|lease| lease.holder_identity.as_deref()).unwrap_or_default();
    let seconds = lease.and_then(|lease| lease.lease_duration_seconds).unwrap_or(0);
    let holds_for = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let is_free = holder.is_empty() || holder == me || unchanged_for >= holds_for;
    if !is_free {
        return Step::Wait;
    }
    let transitions = lease.map_or(0, |lease| lease.lease_transitions.unwrap_or(0) + i32::from(holder != me));
    Step::Take(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(lease_for.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    })
}

pub(super) fn renew(lease: &mut LeaseSpec, now: Timestamp) {
    lease.renew_time = Some(MicroTime(now));
}

/// A lease that nobody holds.
pub(super) fn release(lease: &mut LeaseSpec, now: Timestamp) {
    lease.holder_identity = None;
    lease.lease_duration_seconds = Some(1);
    lease.renew_time = Some(MicroTime(now));
}

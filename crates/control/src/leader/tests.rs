use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;

use super::decide::{Step, release, renew, step};

const ME: (&str, Duration) = ("me", Duration::from_secs(15));

fn lease(holder: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        lease_transitions: Some(3),
        ..LeaseSpec::default()
    }
}

/// Who holds the lease afterwards, and how often it changed hands; `None` if the candidate waits.
fn check(lease: Option<&LeaseSpec>, unchanged_for: u64, expected: Option<(&str, i32)>) {
    let step = step(lease, Duration::from_secs(unchanged_for), ME, Timestamp::UNIX_EPOCH);
    let found = match &step {
        Step::Wait => None,
        Step::Take(spec) => Some((spec.holder_identity.as_deref().unwrap(), spec.lease_transitions.unwrap())),
    };
    assert_eq!(found, expected, "{lease:?} unchanged for {unchanged_for} s");
}

#[test]
fn a_lease_is_taken_when_nobody_holds_it_any_more() {
    check(None, 0, Some(("me", 0)));
    check(Some(&lease("other")), 0, None);
    check(Some(&lease("other")), 14, None);
    check(Some(&lease("other")), 15, Some(("me", 4)));
    check(Some(&lease("me")), 0, Some(("me", 3)));
    check(Some(&LeaseSpec::default()), 0, Some(("me", 1)));
}

#[test]
fn a_lease_that_is_given_back_can_be_had_at_once() {
    let mut lease = lease("other");
    renew(&mut lease, Timestamp::UNIX_EPOCH);
    check(Some(&lease), 1, None);
    release(&mut lease, Timestamp::UNIX_EPOCH);
    check(Some(&lease), 0, Some(("me", 4)));
}

//! When certificates are renewed, and what becomes of requests.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use serde_json::{Value, json};

use super::decide::{Validity, outcome, renewal};

#[test]
fn a_certificate_is_renewed_well_before_it_ends() {
    let start = Timestamp::UNIX_EPOCH;
    let validity = Validity { start, end: start + SignedDuration::from_secs(1000) };
    let after = |seconds| renewal(validity, start + SignedDuration::from_secs(seconds));
    assert_eq!(after(0), Duration::from_secs(800));
    assert_eq!(after(700), Duration::from_secs(100));
    assert_eq!(after(900), Duration::ZERO);
    assert!(validity.holds(start) && !validity.holds(validity.end));
}

fn with(status: Value) -> CertificateSigningRequest {
    let spec = json!({ "request": "", "signerName": "s" });
    serde_json::from_value(json!({ "metadata": { "name": "r" }, "spec": spec, "status": status })).unwrap()
}

#[test]
fn a_request_ends_with_a_certificate_or_a_refusal() {
    let condition = |kind: &str| json!([{ "type": kind, "status": "True", "message": "why" }]);
    assert_eq!(outcome(&with(json!({}))), None);
    assert_eq!(outcome(&with(json!({ "conditions": condition("Approved") }))), None);
    assert_eq!(outcome(&with(json!({ "conditions": condition("Denied") }))), Some(Err("why".to_owned())));
    assert_eq!(outcome(&with(json!({ "conditions": condition("Failed") }))), Some(Err("why".to_owned())));
    assert_eq!(outcome(&with(json!({ "certificate": "Yg==" }))), Some(Ok(b"b".to_vec())));
}

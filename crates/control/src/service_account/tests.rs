//! What a namespace lacks.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{Certificate, Missing, decide};

#[test]
fn a_new_namespace_gets_both_and_a_finished_one_nothing() {
    let namespace = Namespace::default();
    let missing = decide(&namespace, None, None, "pem");
    assert!(missing.account.is_some());
    let Some(Certificate::Create(map)) = missing.certificate else { panic!("no certificate") };
    let account = ServiceAccount::default();
    assert_eq!(decide(&namespace, Some(&account), Some(&map), "pem"), Missing::default());
    let corrected = decide(&namespace, Some(&account), Some(&ConfigMap::default()), "pem").certificate;
    assert!(matches!(corrected, Some(Certificate::Correct(data)) if data["ca.crt"] == "pem"));
}

#[test]
fn a_namespace_that_is_going_gets_nothing() {
    let mut namespace = Namespace::default();
    namespace.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(decide(&namespace, None, None, "pem"), Missing::default());
}

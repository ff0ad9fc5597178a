//! Which requests are approved, signed, failed and cleared away.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, SanType};
use serde_json::json;

use super::authority::{Purpose, SignError, SigningAuthority, Terms};
use super::decide::{Step, Verdict, decide};
use super::with;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn pem(user: &str, group: &str, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user);
    params.distinguished_name.push(DnType::OrganizationName, group);
    let name = |name: &&str| match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap().into_bytes()
}

fn request(signer: &str, sender: &str, usages: &[&str], request: Vec<u8>) -> CertificateSigningRequest {
    let spec = CertificateSigningRequestSpec {
        request: ByteString(request),
        signer_name: signer.to_owned(),
        username: Some(sender.to_owned()),
        groups: Some(vec!["system:nodes".to_owned()]),
        usages: Some(usages.iter().map(|&usage| usage.to_owned()).collect()),
        ..CertificateSigningRequestSpec::default()
    };
    let mut made = CertificateSigningRequest { spec, ..CertificateSigningRequest::default() };
    made.metadata.creation_timestamp = Some(Time(now()));
    made
}

fn decided(
    mut request: CertificateSigningRequest,
    kind: &'static str,
    at: Timestamp,
) -> CertificateSigningRequest {
    let verdict = Verdict { kind, reason: "R", message: "" };
    request.status = Some(with(&request, &verdict, at));
    request
}

const NODE: &str = "system:node:a";
const FOR_CLIENTS: [&str; 2] = ["digital signature", "client auth"];
const FOR_SERVERS: [&str; 2] = ["digital signature", "server auth"];

#[test]
fn agents_are_approved_by_what_roles_allow() {
    let bootstrap =
        request(NODE_CLIENT, "system:bootstrap:abcdef", &FOR_CLIENTS, pem(NODE, "system:nodes", &[]));
    assert_eq!(decide(&bootstrap, None, now()), Step::Ask { subresource: "nodeclient" });
    let renewal = request(NODE_CLIENT, NODE, &FOR_CLIENTS, pem(NODE, "system:nodes", &[]));
    assert_eq!(decide(&renewal, None, now()), Step::Ask { subresource: "selfnodeclient" });
    let master = request(NODE_CLIENT, NODE, &FOR_CLIENTS, pem(NODE, "system:masters", &[]));
    assert!(matches!(decide(&master, None, now()), Step::Wait(Some(_))));
    let user = request(CLIENT, "jane", &FOR_CLIENTS, pem("jane", "dev", &[]));
    assert!(matches!(decide(&user, None, now()), Step::Wait(Some(_))));
}

#[test]
fn a_serving_certificate_is_for_the_nodes_own_addresses() {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "a" },
        "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.7" }] },
    }))
    .unwrap();
    let serving = |sender: &str, names: &[&str]| {
        request(SERVING, sender, &FOR_SERVERS, pem(NODE, "system:nodes", names))
    };
    assert!(matches!(decide(&serving(NODE, &["a", "10.0.0.7"]), Some(&node), now()), Step::Approve { .. }));
    for (sender, names, node) in [
        (NODE, vec!["a", "10.0.0.8"], Some(&node)),
        (NODE, vec!["a", "10.0.0.7"], None),
        ("system:node:b", vec!["a"], Some(&node)),
        (NODE, vec![], Some(&node)),
    ] {
        let step = decide(&serving(sender, &names), node, now());
        assert!(matches!(step, Step::Wait(_)), "{sender} {names:?} {step:?}");
    }
}

#[test]
fn what_is_approved_is_signed_or_fails_by_its_signers_rules() {
    let check = |signer: &str, usages: &[&str], pem: Vec<u8>| match decide(
        &decided(request(signer, "x", usages, pem), "Approved", now()),
        None,
        now(),
    ) {
        Step::Sign { .. } => "signed".to_owned(),
        Step::Fail { why } => why,
        step => format!("{step:?}"),
    };
    let user = || pem("jane", "dev", &["host.example.com"]);
    assert_eq!(check(CLIENT, &["client auth"], user()), "signed");
    assert!(check(CLIENT, &["client auth", "server auth"], user()).contains("server auth"));
    assert!(check(CLIENT, &["digital signature"], user()).contains("client auth"));
    assert!(check(CLIENT, &["client auth"], b"garbage".to_vec()).contains("cannot be read"));
    let node = || pem(NODE, "system:nodes", &[]);
    assert_eq!(check(NODE_CLIENT, &FOR_CLIENTS, node()), "signed");
    assert!(check(NODE_CLIENT, &["client auth"], node()).contains("digital signature"));
    assert!(check(NODE_CLIENT, &FOR_CLIENTS, pem("a", "system:nodes", &[])).contains("system:node:"));
    assert!(check(NODE_CLIENT, &FOR_CLIENTS, pem(NODE, "system:nodes", &["a"])).contains("no names"));
    assert_eq!(check(SERVING, &FOR_SERVERS, pem(NODE, "system:nodes", &["a"])), "signed");
    assert!(check(SERVING, &FOR_SERVERS, node()).contains("DNS names"));
    assert!(check("example.com/own", &["client auth"], user()).starts_with("Wait"));
}

#[test]
fn requests_stay_as_long_as_somebody_may_need_them() {
    let hours = |count: i64| now() + SignedDuration::from_hours(count);
    let fresh = || request("example.com/own", "x", &["client auth"], pem("x", "y", &[]));
    let left = |hours: u64| Step::Wait(Some(std::time::Duration::from_secs(hours * 3600)));
    assert_eq!(decide(&fresh(), None, hours(23)), left(1));
    assert_eq!(decide(&fresh(), None, hours(24)), Step::Remove);
    let denied = decided(fresh(), "Denied", hours(2));
    assert_eq!(decide(&denied, None, hours(2)), left(1));
    assert_eq!(decide(&denied, None, hours(3)), Step::Remove);
    let approved = decided(fresh(), "Approved", now());
    assert_eq!(decide(&approved, None, hours(48)), Step::Wait(None));
    let certificate = Some(ByteString(b"signed by somebody".to_vec()));
    let status = CertificateSigningRequestStatus { certificate, ..approved.status.clone().unwrap() };
    let issued = CertificateSigningRequest { status: Some(status), ..approved };
    assert_eq!(decide(&issued, None, now()), left(1));
    assert_eq!(decide(&issued, None, hours(1)), Step::Remove);
}

fn authority() -> (SigningAuthority, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "crest");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    (SigningAuthority::parse(&certificate, &key.serialize_pem()).unwrap(), certificate)
}

fn terms(seconds: i64) -> Terms {
    Terms {
        now: now(),
        lifetime: SignedDuration::from_secs(seconds),
        is_signature: true,
        is_encipherment: false,
        purpose: Purpose::Server,
    }
}

#[test]
fn a_certificate_says_what_was_asked_for() {
    let (authority, issuer) = authority();
    let signed =
        authority.sign(&pem(NODE, "system:nodes", &["a", "10.0.0.7"]), &terms(3600), &[7; 16]).unwrap();
    let (_, signed) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
    let (_, issuer) = x509_parser::pem::parse_x509_pem(issuer.as_bytes()).unwrap();
    let (signed, issuer) = (signed.parse_x509().unwrap(), issuer.parse_x509().unwrap());
    signed.verify_signature(Some(issuer.public_key())).unwrap();
    assert_eq!(signed.issuer(), issuer.subject());
    assert_eq!(signed.subject().to_string(), "CN=system:node:a, O=system:nodes");
    assert_eq!(signed.validity().not_after.timestamp(), now().as_second() + 3600);
    assert_eq!(signed.validity().not_before.timestamp(), now().as_second() - 300);
    let usage = signed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_encipherment() && !usage.key_cert_sign());
    let usage = signed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth);
    assert!(!signed.basic_constraints().unwrap().unwrap().value.ca);
    assert_eq!(signed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
}

#[test]
fn no_certificate_outlives_its_authority_or_is_given_for_anothers_key() {
    let (authority, _) = authority();
    let long = terms(3600 * 24 * 365 * 20);
    let signed = authority.sign(&pem("x", "y", &[]), &long, &[7; 16]).unwrap();
    let end: Timestamp = "2040-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(super::authority::end(signed.as_bytes()), Some(end));
    let mut forged = pem::parse(pem("x", "y", &[])).unwrap().into_contents();
    *forged.last_mut().unwrap() ^= 1;
    let forged = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", forged));
    let refused = authority.sign(forged.as_bytes(), &terms(3600), &[7; 16]);
    assert!(matches!(refused, Err(SignError::Unproven | SignError::Unreadable)));
}

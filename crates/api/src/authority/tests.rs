//! The authority on a real directory, judged by rustls itself.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use kit::tls::PeerIdentity;

use super::{Authority, AuthorityError, Holder, days, write_secret};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn admin() -> Holder {
    Holder::client("kubernetes-admin", "system:masters")
}

fn api_server(addresses: &[[u8; 4]]) -> Holder {
    let addresses = addresses.iter().copied().map(IpAddr::from);
    Holder::api_server(["crest.test".to_owned()], addresses, IpAddr::from([10, 96, 0, 1]))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_it_issues_is_what_tls_needs() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::build(&directory.path().join("pki"), kit::clock::wall()).unwrap();
    let now = kit::clock::wall();
    let server = authority.certificate("apiserver", &api_server(&[]), now).unwrap();
    let client = authority.certificate("admin", &admin(), now).unwrap();
    let trust = authority.certificate_path();
    kit::tls::server(&server, Some(&trust)).unwrap();
    kit::tls::client(Some(&client), &trust).unwrap();
    let identity = kit::tls::identity(&kit::tls::certificates(&client.certificate).unwrap()[0]);
    let expected = PeerIdentity {
        common_name: "kubernetes-admin".to_owned(),
        organizations: vec!["system:masters".to_owned()],
    };
    assert_eq!(identity, expected);
    let agent = Holder::agent("one", [IpAddr::from([10, 0, 0, 7])]);
    let agent = authority.certificate("agent", &agent, now).unwrap();
    kit::tls::server(&agent, Some(&trust)).unwrap();
    kit::tls::client(Some(&agent), &trust).unwrap();
}

#[test]
fn a_certificate_is_made_anew_only_for_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::build(directory.path(), NOW).unwrap();
    let certificate =
        |holder: &Holder, now| text(&authority.certificate("apiserver", holder, now).unwrap().certificate);
    let first = certificate(&api_server(&[]), NOW);
    assert_eq!(certificate(&api_server(&[]), NOW), first);
    assert_eq!(certificate(&api_server(&[]), NOW + days(300)), first);
    let more_addresses = certificate(&api_server(&[[192, 168, 7, 9]]), NOW);
    assert_ne!(more_addresses, first, "another address");
    let renewed = certificate(&api_server(&[[192, 168, 7, 9]]), NOW + days(340));
    assert_ne!(renewed, more_addresses, "about to expire");
    let back = certificate(&api_server(&[[192, 168, 7, 9]]), NOW);
    assert_ne!(back, renewed, "not valid yet: the clock was set back");

    fs::write(directory.path().join("apiserver.key"), text(&directory.path().join("ca.key"))).unwrap();
    let matched = certificate(&api_server(&[[192, 168, 7, 9]]), NOW);
    assert_ne!(matched, back, "the key is another's");
    fs::write(directory.path().join("apiserver.crt"), "garbage").unwrap();
    certificate(&api_server(&[[192, 168, 7, 9]]), NOW);
}

#[test]
fn the_authority_stays_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let first = Authority::build(directory.path(), NOW).unwrap();
    let pair = first.certificate("admin", &admin(), NOW).unwrap();
    let key = first.service_account_key().unwrap();
    let (certificate, key_text) = (text(&pair.certificate), text(&key));
    let second = Authority::build(directory.path(), NOW + days(30)).unwrap();
    assert_eq!(text(&second.certificate_path()), first.certificate);
    let pair = second.certificate("admin", &admin(), NOW).unwrap();
    assert_eq!(text(&pair.certificate), certificate);
    assert_eq!(text(&second.service_account_key().unwrap()), key_text);

    // A new authority trusts nothing that the old one signed.
    fs::remove_file(directory.path().join("ca.crt")).unwrap();
    fs::remove_file(directory.path().join("ca.key")).unwrap();
    let third = Authority::build(directory.path(), NOW).unwrap();
    assert_ne!(text(&third.certificate("admin", &admin(), NOW).unwrap().certificate), certificate);
}

#[test]
fn all_files_are_their_owners_only() {
    let directory = tempfile::tempdir().unwrap();
    let pki = directory.path().join("a/pki");
    let authority = Authority::build(&pki, NOW).unwrap();
    authority.certificate("admin", &admin(), NOW).unwrap();
    authority.service_account_key().unwrap();
    assert_eq!(fs::metadata(&pki).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&pki).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        names.insert(entry.file_name().into_string().unwrap());
    }
    let expected = ["admin.crt", "admin.key", "ca.crt", "ca.key", "service-account.key"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

fn check_refusal(damage: impl FnOnce(&Path), expected: Expect) {
    let directory = tempfile::tempdir().unwrap();
    Authority::build(directory.path(), NOW).unwrap();
    damage(directory.path());
    let error = Authority::build(directory.path(), NOW).unwrap_err();
    let message = kit::Chain(&error).to_string();
    expected.assert_eq(&message.replace(&*directory.path().to_string_lossy(), "DIR"));
}

#[test]
fn a_damaged_authority_is_refused_not_replaced() {
    check_refusal(
        |directory| fs::remove_file(directory.join("ca.key")).unwrap(),
        expect![
            "`DIR/ca.crt` is there but its key `DIR/ca.key` is not; restore the key, or remove both to begin anew"
        ],
    );
    check_refusal(
        |directory| fs::write(directory.join("ca.crt"), "garbage").unwrap(),
        expect!["`DIR/ca.crt` is no certificate or key that can be used: Could not parse certificate"],
    );
    check_refusal(
        |directory| {
            let other = Authority::build(&directory.join("other"), NOW).unwrap();
            fs::copy(other.certificate_path(), directory.join("ca.crt")).unwrap();
        },
        expect![
            "`DIR/ca.key` is not the key of `DIR/ca.crt`; restore the right one, or remove both to begin anew"
        ],
    );
}

#[test]
fn an_authority_ends_some_day() {
    let directory = tempfile::tempdir().unwrap();
    Authority::build(directory.path(), NOW).unwrap();
    let late = NOW + days(3651);
    let outcome = Authority::build(directory.path(), late);
    assert!(matches!(outcome, Err(AuthorityError::Expired { .. })), "{outcome:?}");
}

#[test]
fn a_lost_certificate_of_the_authority_is_made_from_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::build(directory.path(), NOW).unwrap();
    let pair = authority.certificate("admin", &admin(), NOW).unwrap();
    let before = text(&pair.certificate);
    fs::remove_file(authority.certificate_path()).unwrap();
    let again = Authority::build(directory.path(), NOW).unwrap();
    let pair = again.certificate("admin", &admin(), NOW).unwrap();
    assert_eq!(text(&pair.certificate), before);
}

#[test]
fn a_kubeconfig_is_read_by_clients() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::build(directory.path(), NOW).unwrap();
    let pair = authority.certificate("admin", &admin(), NOW).unwrap();
    let written = authority.kubeconfig("https://127.0.0.1:6443", "kubernetes-admin", &pair).unwrap();
    let path = directory.path().join("kubeconfig");
    write_secret(&path, written.as_bytes()).unwrap();
    let read = kube::config::Kubeconfig::read_from(&path).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("crest"));
    let cluster = read.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
    assert_eq!(read.auth_infos[0].name, "kubernetes-admin");
    assert!(read.auth_infos[0].auth_info.as_ref().unwrap().client_key_data.is_some());
}

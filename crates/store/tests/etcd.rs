//! The store in a real etcd: conformance, TLS, loss and return of etcd, several servers on one etcd.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use kit::tls::PairPaths;
use store::conformance::EtcdServer;
use store::etcd::{ConnectError, Etcd, Options, Tls};
use store::{Change, Expect, ReadError, Revision, Store, Watch, WatchError, WatchEvent, WriteError};
use tempfile::TempDir;

mod conformance {
    store::conformance_tests!(super::empty);
}

async fn empty() -> Option<(Arc<Etcd>, (EtcdServer, TempDir))> {
    let (server, directory) = server()?;
    let store = Etcd::connect(options(&server)).await.unwrap();
    Some((store, (server, directory)))
}

fn server() -> Option<(EtcdServer, TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    let server = EtcdServer::start(&directory.path().join("data")).unwrap()?;
    Some((server, directory))
}

fn options(server: &EtcdServer) -> Options {
    Options { timeout: Duration::from_secs(5), ..Options::new([server.url()]) }
}

async fn create(store: &Etcd, key: &str) -> Result<Revision, WriteError> {
    store.put(key, Bytes::from_static(b"x"), Expect::Absent).await.map(|entry| entry.modified)
}

async fn next_change(watch: &mut Watch) -> Change {
    loop {
        if let WatchEvent::Change(change) = watch.next().await.unwrap().unwrap() {
            return change;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_may_go_and_come_back() {
    let Some((store, (mut server, _directory))) = empty().await else { return };
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    let before = create(&store, "before").await.unwrap();
    assert_eq!(next_change(&mut watch).await.revision(), before);

    server.kill();
    assert!(matches!(store.get("before").await, Err(ReadError::Unavailable { .. })));
    let refused = create(&store, "during").await;
    assert!(matches!(refused, Err(WriteError::Unavailable { .. })), "{refused:?}");
    // Who begins to watch in the meantime waits like the others.
    let mut second = store.watch("", before).await.unwrap();

    server.resume().unwrap();
    let other = Etcd::connect(options(&server)).await.unwrap();
    let after = create(&other, "after").await.unwrap();
    assert_eq!(next_change(&mut watch).await.revision(), after);
    assert_eq!(next_change(&mut second).await.revision(), after);
    assert!(store.get("before").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_see_each_others_changes_in_one_order() {
    let Some((first, (server, _directory))) = empty().await else { return };
    let second = Etcd::connect(options(&server)).await.unwrap();
    let mut watches =
        [first.watch("", Revision(1)).await.unwrap(), second.watch("", Revision(1)).await.unwrap()];
    for round in 0..20 {
        create(&first, &format!("first/{round}")).await.unwrap();
        create(&second, &format!("second/{round}")).await.unwrap();
    }
    for watch in &mut watches {
        for revision in 2..42 {
            assert_eq!(next_change(watch).await.revision(), Revision(revision));
        }
    }
    let taken = create(&second, "first/3").await;
    assert!(matches!(taken, Err(WriteError::Conflict { current: Some(_), .. })), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compacted_while_away_is_told_as_lost() {
    let Some((store, (mut server, _directory))) = empty().await else { return };
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    server.kill();
    server.resume().unwrap();
    // Another server writes and compacts; this one may or may not have caught up in between.
    let other = Etcd::connect(options(&server)).await.unwrap();
    let mut last = Revision(1);
    for round in 0..5 {
        last = create(&other, &format!("k/{round}")).await.unwrap();
    }
    other.compact(last).await.unwrap();
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        match watch.next().await.unwrap() {
            Ok(WatchEvent::Change(change)) => told.push(change.revision()),
            Ok(WatchEvent::Progress(_)) => {}
            Err(WatchError::Lagged) => break,
            Err(other) => unreachable!("{other:?}"),
        }
    }
    // What was told has no gap.
    let expected: Vec<Revision> = (2..).map(Revision).take(told.len()).collect();
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_format_is_refused() {
    let Some((server, _directory)) = server() else { return };
    let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
    client.put("/unrelated", "x", None).await.unwrap();
    Etcd::connect(options(&server)).await.unwrap();
    client.put("/crest/2/key", "x", None).await.unwrap();
    let refused = Etcd::connect(options(&server)).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Format { ref key, .. } if key == "/crest/2/key"), "{refused:?}");
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_named() {
    let options =
        Options { timeout: Duration::from_secs(2), ..Options::new(["http://127.0.0.1:1".to_owned()]) };
    let refused = Etcd::connect(options).await.unwrap_err();
    assert!(refused.to_string().contains("http://127.0.0.1:1"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_show_certificates() {
    kit::tls::install_default_provider();
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::new(directory.path());
    let pair = pki.certificate("server");
    let data = directory.path().join("data");
    let Some(server) = EtcdServer::start_tls(&data, &pki.authority_path, pair).unwrap() else { return };
    let with = |pair| {
        let tls = Some(Tls { authority: pki.authority_path.clone(), pair });
        Etcd::connect(Options { tls, timeout: Duration::from_secs(3), ..options(&server) })
    };
    let store = with(Some(pki.certificate("client"))).await.unwrap();
    create(&store, "a").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().modified, Revision(2));
    let refused = with(None).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unreachable { .. }), "{refused:?}");
}

/// An authority for one test.
struct Pki {
    directory: PathBuf,
    authority_path: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Pki {
    fn new(directory: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_path = directory.join("ca.crt");
        std::fs::write(&authority_path, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        Self { directory: directory.to_owned(), authority_path, issuer }
    }

    fn certificate(&self, name: &str) -> PairPaths {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names.push(rcgen::SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let pair = PairPaths {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        };
        std::fs::write(&pair.certificate, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

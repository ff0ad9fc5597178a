//! Who may come in, over real sockets with real certificates.

use std::net::{IpAddr, Ipv4Addr};

use api::authority::{Authority, Holder};
use axum::body::Body;
use kit::tunnel::{Upstream, forward};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn only_masters_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let now = kit::clock::wall();
    let authority = Authority::build(directory.path(), now).unwrap();
    let certificate = |name: &str, holder: &Holder| authority.certificate(name, holder, now).unwrap();
    let trusted = authority.certificate_path();
    let server = certificate("agent", &Holder::agent("host", [LOOPBACK]));
    let options = kit::serve::Options {
        tls: Some(kit::tls::server(&server, Some(&trusted)).unwrap()),
        ..kit::serve::Options::default()
    };
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/pods", get(|| async { "in" })).layer(from_fn(masters_only));
    let token = CancellationToken::new();
    let _ends_with_the_test = token.clone().drop_guard();
    kit::task::spawn("kubelet", kit::serve::serve(listener, router, options, token));

    let master = certificate("master", &Holder::client("kubelet-client", MASTERS));
    let component = certificate("component", &Holder::client("scheduler", "system:crest:sigma"));
    for (pair, expected) in [
        (Some(&master), StatusCode::OK),
        (Some(&component), StatusCode::FORBIDDEN),
        // The certificate of the node itself, which is good for the API server only.
        (Some(&server), StatusCode::FORBIDDEN),
        (None, StatusCode::UNAUTHORIZED),
    ] {
        let tls = kit::tls::client(pair, &trusted).unwrap();
        let upstream = Upstream { host: LOOPBACK.to_string(), port, tls: Some(tls) };
        let request = Request::get("/pods").header("host", "localhost").body(Body::empty()).unwrap();
        let response = forward(request, &upstream).await.unwrap();
        assert_eq!(response.status(), expected, "{pair:?}");
    }
}

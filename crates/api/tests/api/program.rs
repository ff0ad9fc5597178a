//! A program that the server calls over HTTPS, and that answers as its test wants.

use std::net::SocketAddr;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::serve::Options;
use kit::tls::PairPaths;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The program. It stops when this is dropped.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    /// Who vouches for it, as configurations say it.
    pub(crate) bundle: String,
    _directory: TempDir,
    _stop: DropGuard,
}

impl Program {
    pub(crate) async fn start(router: Router) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1", "hook.default.svc"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = directory.path().join("hook.crt");
        let pair = PairPaths { key: certificate.with_extension("key"), certificate };
        std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        let options = Options { tls: Some(kit::tls::server(&pair, None).unwrap()), ..Options::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = CancellationToken::new();
        kit::task::spawn("hook", kit::serve::serve(listener, router, options, token.clone()));
        let bundle = STANDARD.encode(made.cert.pem());
        Self { address, bundle, _directory: directory, _stop: token.drop_guard() }
    }

    /// The `clientConfig` of who is to call it at a path.
    pub(crate) fn at(&self, path: &str) -> Value {
        json!({"url": format!("https://{}/{path}", self.address), "caBundle": self.bundle})
    }
}

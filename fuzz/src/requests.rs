//! A whole server in this process, over a store in a folder of its own, that takes requests without a socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use api::authentication::Authenticator;
use api::authority::{Authority, Holder};
use api::{Config, SecurityConfig, Server, User};
use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use store::embedded::{Embedded, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::targets::Mouth;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

struct Fed {
    runtime: Runtime,
    client: Client,
    _server: Server,
    _directory: TempDir,
}

/// Arbitrary paths, read.
pub(crate) fn paths() -> Mouth {
    let fed = Fed::build().expect("a server can be built in a temporary directory");
    Box::new(move |input| {
        let path: String =
            input.iter().filter(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect();
        fed.send("GET", &format!("/{}", path.trim_start_matches('/')), "", input);
    })
}

/// Arbitrary bodies to every verb of the kind that the body names.
pub(crate) fn bodies() -> Mouth {
    let fed = Fed::build().expect("a server can be built in a temporary directory");
    Box::new(move |input| {
        let path = path_of(input);
        fed.send("POST", &path, "application/json", input);
        fed.send("POST", &path, "application/vnd.kubernetes.protobuf", input);
        fed.send("PUT", &format!("{path}/p"), "application/json", input);
        for patch in PATCHES {
            fed.send("PATCH", &format!("{path}/p?fieldManager=fuzz&force=true"), patch, input);
        }
        fed.send("DELETE", &format!("{path}/p"), "application/json", input);
    })
}

fn path_of(input: &[u8]) -> String {
    let document: Value = serde_json::from_slice(input).unwrap_or_default();
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = kinds::find_kind(group, version, text("kind"));
    let kind = kind.or_else(|| kinds::find("", "v1", "pods")).expect("pods are served");
    let scope = if kind.is_namespaced() { "/namespaces/default" } else { "" };
    format!("{}{scope}/{}", kind.path_prefix(), kind.plural)
}

impl Fed {
    fn build() -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let directory = tempfile::tempdir()?;
        let now = kit::clock::wall();
        let authority = Authority::build(&directory.path().join("pki"), now)?;
        let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        let serving = Holder::api_server([], [LOOPBACK], service);
        let config = Config {
            listen: SocketAddr::new(LOOPBACK, 0),
            advertised: None,
            service_cidr: "10.96.0.0/16".to_owned(),
            serving: authority.certificate("server", &serving, now)?,
            kubelet_client: authority.certificate(
                "admin",
                &Holder::client("admin", "system:masters"),
                now,
            )?,
            authority: authority.certificate_path(),
            authenticator: Authenticator::default(),
            has_agents: false,
            security: SecurityConfig {
                signing_keys: authority.service_account_keys()?,
                encryption_key: Some(authority.encryption_key()?),
                ..SecurityConfig::default()
            },
            limits: api::Limits::default(),
        };
        let store = Embedded::open(&directory.path().join("store"), Options::default())?;
        let server = runtime.block_on(Server::build(config, store as Arc<dyn store::Store>))?;
        let client = runtime.block_on(async { server.client(&User::new("admin", ["system:masters"])) });
        Ok(Self { runtime, client, _server: server, _directory: directory })
    }

    /// Sends a request and reads the answer's head; an answer of a panic is one.
    fn send(&self, method: &str, path: &str, media_type: &str, body: &[u8]) {
        let request = Request::builder().method(method).uri(path).header("content-type", media_type);
        // What is no request at all is refused by the HTTP library, not by us.
        let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
        let answer = self.runtime.block_on(self.client.send(request));
        let Ok(answer) = answer else { return };
        assert!(answer.status() != 500 || !self.is_bug(answer), "{method} {path} panicked inside the server");
    }

    fn is_bug(&self, answer: http::Response<Body>) -> bool {
        let bytes = self.runtime.block_on(answer.into_body().collect_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains("panic")
    }
}

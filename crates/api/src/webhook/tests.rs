//! A real server over TLS on the loopback, which answers as each test wants.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kit::tls::PairPaths;
use serde_json::{Value, json};
use store::embedded::Embedded;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{CallError, Endpoint, MAX_ANSWER, Webhooks};
use crate::registry::Registry;

const LIMIT: Duration = Duration::from_secs(20);

/// A webhook that stops when this is dropped.
struct Hook {
    address: SocketAddr,
    bundle: String,
    /// How many connections were made.
    connections: Arc<AtomicUsize>,
    directory: TempDir,
    task: JoinHandle<()>,
}

impl Hook {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1", "hook.default.svc"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = directory.path().join("hook.crt");
        let pair = PairPaths { key: certificate.with_extension("key"), certificate };
        std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
        std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        let acceptor = TlsAcceptor::from(kit::tls::server(&pair, None).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::default();
        let task = kit::task::spawn("hook", accept(listener, acceptor, Arc::clone(&connections)));
        let bundle = STANDARD.encode(made.cert.pem());
        Self { address, bundle, connections, directory, task }
    }

    fn at(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle})
    }

    fn registry(&self) -> Registry {
        let store = Embedded::open(&self.directory.path().join("store"), store::embedded::Options::default());
        Registry::new(store.unwrap(), CancellationToken::new())
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, connections: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        let acceptor = acceptor.clone();
        kit::task::spawn("hook connection", async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request: Request<Incoming>| async {
                Ok::<_, Infallible>(answer(request.map(Body::new)).await)
            });
            // Callers give up, which ends their connections.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
        });
    }
}

async fn answer(request: Request<Body>) -> Response<Body> {
    let redirect = || Response::builder().status(StatusCode::FOUND).header("location", "/echo");
    match request.uri().path() {
        "/echo" => Response::new(request.into_body()),
        "/query" => Response::new(json!(request.uri().query()).to_string().into()),
        "/garbage" => Response::new("{\"a\": ".into()),
        "/redirect" => redirect().body(Body::empty()).unwrap(),
        "/endless" => {
            let chunk = Ok::<_, Infallible>(bytes::Bytes::from(vec![b' '; 1 << 16]));
            Response::new(Body::from_stream(futures::stream::repeat_with(move || chunk.clone())))
        }
        _ => std::future::pending().await,
    }
}

async fn call(webhooks: &Webhooks, config: &Value, limit: Duration) -> Result<Value, CallError> {
    webhooks.call(&Endpoint::parse(config)?, &json!({"a": 1}), limit).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_webhook_does_a_call_ends() {
    let hook = Hook::start().await;
    let webhooks = Webhooks::new(hook.registry());
    let said = async |path: &str, limit| call(&webhooks, &hook.at(path), limit).await;
    assert_eq!(said("/echo", LIMIT).await.unwrap(), json!({"a": 1}));
    assert_eq!(said("/query", LIMIT).await.unwrap(), "timeout=20s");
    assert_eq!(said("/query?a=b", LIMIT).await.unwrap(), "a=b&timeout=20s");
    assert!(matches!(said("/garbage", LIMIT).await, Err(CallError::NotJson { .. })));
    assert!(matches!(said("/redirect", LIMIT).await, Err(CallError::Status { status, .. }) if status == 302));
    assert!(matches!(said("/endless", LIMIT).await, Err(CallError::TooLarge { most: MAX_ANSWER, .. })));
    assert!(matches!(said("/hang", Duration::from_millis(50)).await, Err(CallError::Timeout { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let hook = Hook::start().await;
    let webhooks = Webhooks::new(hook.registry());
    for _ in 0..20 {
        for path in ["/echo", "/query"] {
            call(&webhooks, &hook.at(path), LIMIT).await.unwrap();
        }
    }
    // A connection comes back a moment after its answer; now and then the next call is faster and makes another.
    let made = hook.connections.load(Ordering::Relaxed);
    assert!(made <= 20, "{made} connections for 40 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_vouched_for_is_asked() {
    let (hook, other) = (Hook::start().await, Hook::start().await);
    let webhooks = Webhooks::new(hook.registry());
    let mut config = hook.at("/echo");
    config["caBundle"] = other.bundle.as_str().into();
    assert!(matches!(call(&webhooks, &config, LIMIT).await, Err(CallError::Reach { .. })));
    config["caBundle"] = "".into();
    assert!(matches!(call(&webhooks, &config, LIMIT).await, Err(CallError::Reach { .. })));
    config["caBundle"] = STANDARD.encode("nothing").into();
    assert!(matches!(call(&webhooks, &config, LIMIT).await, Err(CallError::Pool { .. })));
    // A certificate for another name.
    config = hook.at("/echo");
    config["url"] = format!("https://localhost:{}/echo", hook.address.port()).into();
    assert!(matches!(call(&webhooks, &config, LIMIT).await, Err(CallError::Reach { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_called_where_its_pods_answer() {
    let hook = Hook::start().await;
    let registry = hook.registry();
    let webhooks = Webhooks::new(registry.clone());
    let config = json!({
        "service": {"namespace": "default", "name": "hook", "path": "/echo", "port": 8443},
        "caBundle": hook.bundle,
    });
    let said = async || match call(&webhooks, &config, LIMIT).await {
        Ok(value) => value.to_string(),
        Err(error) => kit::Chain(&error).to_string(),
    };
    assert!(said().await.contains("service \"hook\" not found"), "{}", said().await);
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "hook", "namespace": "default"},
        "spec": {"ports": [{"name": "https", "port": 8443, "targetPort": "web"}]}});
    registry.create(kinds::find("", "v1", "services").unwrap(), service).await.unwrap();
    assert!(said().await.contains("no endpoints available for service \"hook\""), "{}", said().await);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": hook.address.port()}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    let kind = kinds::find("discovery.k8s.io", "v1", "endpointslices").unwrap();
    registry.create(kind, slice).await.unwrap();
    assert_eq!(said().await, json!({"a": 1}).to_string());
}

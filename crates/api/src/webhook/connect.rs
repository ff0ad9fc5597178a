//! The connections to one webhook: made when needed, and used again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::Executor;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use kinds::status::Failure;
use rand::seq::SliceRandom;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::endpoint::{Peer, Server};
use crate::endpoints;
use crate::registry::Registry;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// How long one address may take; a Service has others.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why no calls can be made to a webhook.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("`{name}` is no name that a TLS server can have")]
    ServerName { name: String, source: InvalidDnsNameError },
    #[error("cannot read the certificates of its caBundle")]
    Bundle { source: pem::Error },
    #[error("its caBundle holds no certificate")]
    NoCertificate,
    #[error("cannot trust a certificate of its caBundle")]
    Authority { source: rustls::Error },
    #[error("cannot choose TLS versions")]
    Versions { source: rustls::Error },
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("cannot connect to `{host}:{port}`")]
    Connect { host: String, port: u16, source: std::io::Error },
    #[error("`{host}:{port}` does not answer")]
    Timeout { host: String, port: u16 },
    #[error("cannot look up the service `{namespace}/{name}`")]
    LookUp { namespace: String, name: String, source: Failure },
    #[error("service \"{name}\" not found")]
    NoService { name: String },
    #[error("service \"{name}\" has no port {port}")]
    NoPort { name: String, port: u16 },
    #[error("no endpoints available for service \"{name}\"")]
    NoEndpoints { name: String },
    #[error("the server is going down")]
    GoingDown,
}

type Connector = HttpsConnector<Dialer>;

/// The connections to one server.
pub(super) struct Pool {
    client: Client<Connector, Full<Bytes>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn build(server: &Server, registry: Registry, runtime: &Handle) -> Result<Self, PoolError> {
        let name = server.name();
        let server_name = ServerName::try_from(name.clone());
        let server_name = server_name.map_err(|source| PoolError::ServerName { name, source })?;
        let dialer = Dialer { peer: server.peer.clone(), registry, runtime: runtime.clone() };
        let names = Arc::new(FixedServerNameResolver::new(server_name));
        let connector = HttpsConnector::new(dialer, tls(&server.authority)?, true, names);
        let mut builder = Client::builder(OnServer(runtime.clone()));
        builder.pool_idle_timeout(IDLE).pool_timer(TokioTimer::new());
        Ok(Self { client: builder.build(connector) })
    }

    pub(super) fn client(&self) -> &Client<Connector, Full<Bytes>> {
        &self.client
    }
}

/// HTTP/1.1 only: a call that was given up takes its connection with it, so that one that is dead is not used again.
pub(crate) fn tls(authority: &[u8]) -> Result<ClientConfig, PoolError> {
    let mut config = ClientConfig::builder_with_provider(kit::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| PoolError::Versions { source })?
        .with_root_certificates(roots(authority)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(authority: &[u8]) -> Result<RootCertStore, PoolError> {
    let mut roots = RootCertStore::empty();
    if authority.is_empty() {
        // What of the machine's own cannot be read vouches for nobody; that is told when a connection is made.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    }
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate = certificate.map_err(|source| PoolError::Bundle { source })?;
        roots.add(certificate).map_err(|source| PoolError::Authority { source })?;
    }
    if roots.is_empty() { Err(PoolError::NoCertificate) } else { Ok(roots) }
}

/// Runs connections where the server runs.
#[derive(Clone, Debug)]
struct OnServer(Handle);

impl<F> Executor<F> for OnServer
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, connection: F) {
        let _of_the_server = self.0.enter();
        kit::task::spawn("webhook connection", async move {
            connection.await;
        });
    }
}

/// Makes connections to a peer, wherever it is at the moment.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    peer: Peer,
    registry: Registry,
    runtime: Handle,
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let runtime = dialer.runtime.clone();
            let dialed = runtime.spawn(async move { dialer.dial().await }).await;
            let stream = dialed.unwrap_or(Err(ConnectError::GoingDown))?;
            Ok(TokioIo::new(stream))
        })
    }
}

impl Dialer {
    async fn dial(&self) -> Result<TcpStream, ConnectError> {
        let (namespace, name, port) = match &self.peer {
            Peer::Host { host, port } => return connect(host, *port).await,
            Peer::Service { namespace, name, port } => (namespace, name, *port),
        };
        let mut last = ConnectError::NoEndpoints { name: name.clone() };
        for endpoint in self.endpoints(namespace, name, port).await? {
            match connect(&endpoint.host, endpoint.port).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where a Service answers at the moment, in any order, so that its Pods share the work.
    async fn endpoints(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<Vec<endpoints::Endpoint>, ConnectError> {
        let failed = |source| ConnectError::LookUp { namespace: namespace.into(), name: name.into(), source };
        let kind = kinds::find("", "v1", "services").ok_or_else(|| failed(Failure::no_such_path()))?;
        let service = self.registry.find(kind, namespace, name).await.map_err(failed)?;
        let service = service.ok_or_else(|| ConnectError::NoService { name: name.to_owned() })?;
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" {
            let host = spec["externalName"].as_str().unwrap_or_default().to_owned();
            return Ok(vec![endpoints::Endpoint { host, port }]);
        }
        let mut ports = spec["ports"].as_array().into_iter().flatten();
        let named = ports.find(|entry| entry["port"] == port);
        let named = named.ok_or_else(|| ConnectError::NoPort { name: name.to_owned(), port })?;
        let port_name = named["name"].as_str().unwrap_or_default();
        let mut ready = endpoints::ready(&self.registry, namespace, name, port_name).await.map_err(failed)?;
        ready.shuffle(&mut rand::rng());
        Ok(ready)
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError::Connect { host: host.to_owned(), port, source };
    let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host, port))).await;
    let connected = connecting.map_err(|_| ConnectError::Timeout { host: host.to_owned(), port })?;
    let stream = connected.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

//! The server: built from a store and a configuration, run until told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kinds::status::Failure;
use kit::serve::Options;
use kit::tls::{PairPaths, TlsError};
use rustls::ServerConfig;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::addresses::{Addresses, Ipv4Range, RangeError};
use crate::authentication::{Authenticator, User};
use crate::context::{Context, Parts};
use crate::encryption::{Encrypted, EncryptionError};
use crate::explanations::Explain;
use crate::registry::Registry;
use crate::security::{Security, SecurityConfig, SecurityError};
use crate::{audit, authorization, bootstrap, client, definitions, flow, router};

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `host:port` at which clients reach the server; the listening address if it is not given.
    pub advertised: Option<String>,
    /// The cluster addresses of Services, such as `10.96.0.0/16`.
    pub service_cidr: String,
    /// The server's certificate.
    pub serving: PairPaths,
    /// The certificate with which the server calls the agents.
    pub kubelet_client: PairPaths,
    /// The cluster's authority, which signs the certificates of clients and agents.
    pub authority: PathBuf,
    /// The tokens that are known from the start.
    pub authenticator: Authenticator,
    /// Whether there are agents to ask what nodes and Pods use: `metrics.k8s.io` is served then.
    pub has_agents: bool,
    /// How credentials are made, checked and kept.
    pub security: SecurityConfig,
    /// What clients may ask of the server at once.
    pub limits: Limits,
}

/// What clients may ask of the server at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that run at the same time, counted in small ones; the priority levels share them.
    pub max_in_flight: u32,
    /// How long a request may take that is no stream.
    pub request_timeout: Duration,
}

/// Seats for each core. Requests that have a seat share the cores without regard to whose they are, so there are no
/// more of them than it takes to keep cores and disk busy; all others wait where turns are fair.
const SEATS_PER_CORE: usize = 16;

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        let max_in_flight = u32::try_from(cores * SEATS_PER_CORE).unwrap_or(u32::MAX);
        Self { max_in_flight, request_timeout: Duration::from_secs(60) }
    }
}

/// Why the server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot listen on {address}: is another server running there?")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot set up TLS")]
    Tls { source: TlsError },
    #[error("cannot set up what credentials are made and checked with")]
    Security { source: SecurityError },
    #[error("cannot use the addresses for Services")]
    ServiceCidr { source: RangeError },
    #[error("cannot read or create the cluster's first objects")]
    Objects { source: Failure },
}

/// The API, bound to its socket.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    context: Arc<Context>,
}

impl Server {
    /// Binds the socket and creates the objects that every cluster has.
    pub async fn build(config: Config, store: Arc<dyn Store>) -> Result<Self, BuildError> {
        let range =
            Ipv4Range::parse(&config.service_cidr).map_err(|source| BuildError::ServiceCidr { source })?;
        let tls_failed = |source| BuildError::Tls { source };
        let tls = kit::tls::server(&config.serving, Some(&config.authority)).map_err(tls_failed)?;
        let kubelet_tls =
            kit::tls::client(Some(&config.kubelet_client), &config.authority).map_err(tls_failed)?;
        let listen_failed = |source| BuildError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let advertised = config.advertised.unwrap_or_else(|| address.to_string());
        let store = encrypted(store, &config.security)
            .await
            .map_err(|source| BuildError::Security { source: SecurityError::Encryption { source } })?;
        let services = services(&store).await.map_err(|source| BuildError::Objects { source })?;
        let addresses = Addresses::new(range, &services);
        let authenticator = config.authenticator;
        let security_failed = |source| BuildError::Security { source };
        let audit = audit::Audit::open(&config.security.audit)
            .map_err(|source| security_failed(SecurityError::Audit { source }))?;
        let security = Security::load(&config.security).map_err(security_failed)?;
        let (has_agents, limits) = (config.has_agents, config.limits);
        let parts =
            Parts { addresses, advertised, authenticator, security, audit, kubelet_tls, has_agents, limits };
        let context = Arc::new(Context::new(store, parts));
        let objects_failed = |source| BuildError::Objects { source };
        bootstrap::run(&context).await.map_err(objects_failed)?;
        authorization::mirror::start(&context).await.map_err(objects_failed)?;
        flow::start(&context).await.map_err(objects_failed)?;
        definitions::start(&context);
        Ok(Self { listener, address, tls, context })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client in this process that is `user`: no socket, no TLS, the very same router.
    pub fn client(&self, user: &User) -> kube::Client {
        client::in_process(router::build(&self.context), user, self.context.residents.admit(user))
    }

    /// Who is asked why Pods are where they are.
    pub fn explain_by(&self, explainer: Arc<dyn Explain>) {
        self.context.explanations.hand_in(explainer);
    }

    /// Serves until `token` is cancelled. Watches end at once then; other requests may finish.
    pub async fn run(self, token: CancellationToken) {
        let _end_of_watches = self.context.shutdown.clone().drop_guard();
        let options = Options { tls: Some(self.tls), ..Options::default() };
        let shutdown = self.context.shutdown.clone();
        let stop = token.clone();
        kit::task::spawn("api shutdown", async move {
            tokio::select! {
                () = stop.cancelled() => shutdown.cancel(),
                () = shutdown.cancelled() => {}
            }
        });
        kit::serve::serve(self.listener, router::build(&self.context), options, token).await;
    }
}

/// The store with the Secrets in it encrypted, if there is a key.
async fn encrypted(
    store: Arc<dyn Store>,
    config: &SecurityConfig,
) -> Result<Arc<dyn Store>, EncryptionError> {
    let (Some(key), Some(secrets)) = (&config.encryption_key, kinds::find("", "v1", "secrets")) else {
        return Ok(store);
    };
    let store = Encrypted::build(store, &secrets.storage_prefix(), key)?;
    store.rewrite().await?;
    Ok(Arc::new(store))
}

async fn services(store: &Arc<dyn Store>) -> Result<Vec<serde_json::Value>, Failure> {
    let registry = Registry::new(Arc::clone(store), CancellationToken::new());
    match kinds::find("", "v1", "services") {
        Some(kind) => registry.all(kind).await,
        None => Ok(Vec::new()),
    }
}

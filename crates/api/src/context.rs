//! What every request handler works with.

use std::sync::Arc;

use jiff::Timestamp;
use kinds::status::Failure;
use rand::Rng;
use rustls::ClientConfig;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::admission::addresses::Addresses;
use crate::admission::dynamic::Dynamic;
use crate::admission::quota::Turns;
use crate::authentication::Authenticator;
use crate::catalog::{Catalog, Served};
use crate::components::Residents;
use crate::explanations::Explanations;
use crate::feed::Feeds;
use crate::flow::Gate;
use crate::metrics::Figures;
use crate::registry::Registry;
use crate::security::Security;
use crate::server::Limits;
use crate::strategy::Birth;
use crate::webhook::Webhooks;
use crate::{audit, authorization};

/// The parts of the server that outlive a request.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) registry: Registry,
    pub(crate) feeds: Feeds,
    /// Who may run now.
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Limits,
    /// What the agents measure, where there are agents.
    pub(crate) figures: Option<Figures>,
    /// Who knows why Pods are where they are.
    pub(crate) explanations: Explanations,
    /// What is served.
    pub(crate) catalog: Catalog,
    /// Who works in this process.
    pub(crate) residents: Residents,
    /// The cluster addresses that Services hold.
    pub(crate) addresses: Addresses,
    /// The webhooks and policies that are configured.
    pub(crate) dynamic: Dynamic,
    /// Who charges the quotas of a namespace.
    pub(crate) turns: Turns,
    /// `host:port` at which clients reach this server.
    pub(crate) advertised: String,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: authorization::Authorizer,
    pub(crate) security: Security,
    /// Where it is written down who did what, if anywhere.
    pub(crate) audit: Option<audit::Audit>,
    /// How agents know that it is this server that calls them.
    pub(crate) kubelet_tls: Arc<ClientConfig>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) shutdown: CancellationToken,
}

/// What a context is made of, beside the store.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) addresses: Addresses,
    pub(crate) advertised: String,
    pub(crate) authenticator: Authenticator,
    pub(crate) security: Security,
    pub(crate) audit: Option<audit::Audit>,
    pub(crate) kubelet_tls: Arc<ClientConfig>,
    pub(crate) limits: Limits,
    pub(crate) has_agents: bool,
}

impl Context {
    pub(crate) fn new(store: Arc<dyn Store>, parts: Parts) -> Self {
        let shutdown = CancellationToken::new();
        let feeds = Feeds::new(Arc::clone(&store), shutdown.clone());
        let Parts { addresses, advertised, authenticator, security, audit, kubelet_tls, has_agents, limits } =
            parts;
        let registry = Registry::new(store, shutdown.clone());
        let webhooks = Arc::new(Webhooks::new(registry.clone()));
        registry.convert_by(&webhooks);
        Self {
            webhooks,
            registry,
            feeds,
            gate: Gate::new(limits.max_in_flight),
            limits,
            figures: has_agents.then(Figures::default),
            explanations: Explanations::default(),
            catalog: Catalog::new(has_agents),
            residents: Residents::default(),
            addresses,
            dynamic: Dynamic::default(),
            turns: Turns::default(),
            advertised,
            authenticator,
            authorizer: authorization::Authorizer::default(),
            security,
            audit,
            kubelet_tls,
            shutdown,
        }
    }

    /// What is served now.
    pub(crate) async fn served(&self) -> Result<Arc<Served>, Failure> {
        self.catalog.served(&self.registry).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        kit::clock::wall()
    }

    /// What is new about the next object.
    pub(crate) fn birth(&self) -> Birth {
        let created = crate::object::time(self.now());
        Birth { uid: random_uid(), created, suffix: random_suffix() }
    }
}

/// A version 4 UUID.
pub(crate) fn random_uid() -> String {
    let mut bytes: [u8; 16] = rand::rng().random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = hex::encode(bytes);
    for dash in [20, 16, 12, 8] {
        text.insert(dash, '-');
    }
    text
}

/// Five characters as Kubernetes chooses them: no vowels and no look-alikes, so that no words come out.
pub(crate) fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

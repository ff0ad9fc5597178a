//! `crest server`: the API server without a node, alone or with controllers and schedulers.
//!
//! ```text
//!   store (embedded or etcd) ──► API server ──► [elected: controllers, Sigma] [elected: Fuxi]
//! ```
//! On etcd several servers may run at once: each is stateless and may die, and of all controllers and schedulers those
//! of one server work at a time.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use api::authentication::User;
use clap::Args;
use control::leader::Election;
use control::sigma::LoadPolicy;
use control::sigma::explainer::Known;
use kit::tls::PairPaths;
use store::Store;
use store::{embedded, etcd};
use tokio_util::sync::CancellationToken;

use crate::cli::LogOptions;
use crate::daemon::InstanceLock;
use crate::explainer::Explainer;
use crate::run::certificates;
use crate::run::roles::{
    Cluster, api_config, batch_config, control_config, node_name, start, start_fallible,
};
use crate::run::until_signalled;
use crate::runtime;
use crate::scheduler::{LOAD_HELP, parse_load};
use crate::security::SecurityOptions;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    store: StoreOptions,
    #[command(flatten)]
    security: SecurityOptions,
    /// Which controllers to run, with schedulers, too: `all`, `none`, or all but some, as in `*,-node-lifecycle`
    #[arg(long, default_value = "all", value_parser = parse_controllers)]
    controllers: Controllers,
    /// Serve `metrics.k8s.io` from what the agents of joined machines measure
    #[arg(long)]
    agents: bool,
    #[arg(long, value_parser = parse_load, num_args = 0..=1, default_missing_value = "", help = LOAD_HELP)]
    load_aware: Option<LoadPolicy>,
    /// Requests that run at the same time, counted in small ones; the priority levels share them. By default 16 for
    /// each core
    #[arg(long, default_value_t = api::Limits::default().max_in_flight, value_parser = clap::value_parser!(u32).range(1..))]
    max_requests_inflight: u32,
    /// Folder for the store, certificates and kubeconfig; by default that of the instance
    #[arg(long)]
    state_dir: Option<PathBuf>,
    /// Folder with the cluster's authority; the same for all servers of a cluster. By default in the state folder
    #[arg(long)]
    pki_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Controllers {
    None,
    All { without: Vec<String> },
}

fn parse_controllers(text: &str) -> Result<Controllers, String> {
    let mut words = text.split(',');
    match (words.next(), text) {
        (_, "none") => Ok(Controllers::None),
        (Some("all" | "*"), _) => {
            let without = words.map(|word| word.strip_prefix('-').map(str::to_owned)).collect::<Option<_>>();
            without
                .map(|without| Controllers::All { without })
                .ok_or_else(|| format!("`{text}` does not say what to leave out: write `-` before each name"))
        }
        _ => Err(format!("`{text}` is none of `all`, `none`, and `*,-<name>`")),
    }
}

/// Where objects are kept.
#[derive(Debug, Args)]
struct StoreOptions {
    /// `embedded` for a file in the state folder, or `etcd=https://HOST:PORT[,https://HOST:PORT...]`
    #[arg(long, default_value = "embedded", value_parser = parse_store)]
    store: StoreChoice,
    /// Certificate of the authority that signed etcd's certificates (PEM)
    #[arg(long)]
    etcd_ca: Option<PathBuf>,
    /// Certificate with which to call etcd (PEM)
    #[arg(long, requires = "etcd_key")]
    etcd_cert: Option<PathBuf>,
    /// Key of that certificate (PEM)
    #[arg(long, requires = "etcd_cert")]
    etcd_key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum StoreChoice {
    Embedded,
    Etcd(Vec<String>),
}

fn parse_store(text: &str) -> Result<StoreChoice, String> {
    if text == "embedded" {
        return Ok(StoreChoice::Embedded);
    }
    let endpoints = text.strip_prefix("etcd=").ok_or("write `embedded` or `etcd=https://HOST:PORT`")?;
    let endpoints: Vec<String> = endpoints.split(',').map(|url| url.trim().to_owned()).collect();
    match endpoints.iter().find(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        Some(url) => Err(format!("`{url}` is no URL of etcd such as https://10.0.0.1:2379")),
        None => Ok(StoreChoice::Etcd(endpoints)),
    }
}

impl StoreOptions {
    async fn open(&self, settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
        let endpoints = match &self.store {
            StoreChoice::Embedded => {
                return Ok(embedded::Embedded::open(&settings.store_file(), embedded::Options::default())?);
            }
            StoreChoice::Etcd(endpoints) => endpoints.clone(),
        };
        let mut options = etcd::Options::new(endpoints);
        options.tls = self.tls()?;
        Ok(etcd::Etcd::connect(options).await?)
    }

    fn tls(&self) -> anyhow::Result<Option<etcd::Tls>> {
        let pair = match (&self.etcd_cert, &self.etcd_key) {
            (Some(certificate), Some(key)) => {
                Some(PairPaths { certificate: certificate.clone(), key: key.clone() })
            }
            _ => None,
        };
        match &self.etcd_ca {
            Some(authority) => Ok(Some(etcd::Tls { authority: authority.clone(), pair })),
            None if pair.is_some() => anyhow::bail!("--etcd-cert needs --etcd-ca: whom to show it to"),
            None => Ok(None),
        }
    }

    /// Only servers that share a store compete.
    fn is_shared(&self) -> bool {
        self.store != StoreChoice::Embedded
    }
}

pub(crate) fn server(settings: &Settings, options: &ServerOptions) -> anyhow::Result<()> {
    options.log.init()?;
    let settings = settings.with_folders(options.state_dir.clone(), options.pki_dir.clone());
    let folder = settings.state_dir();
    // State holds every Secret, so it is its owner's alone.
    let made = fs::create_dir_all(&folder);
    let made = made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(0o700)));
    made.with_context(|| format!("cannot create `{}`", folder.display()))?;
    let _lock = InstanceLock::take(&folder)?;
    kit::tls::install_default_provider();
    let runtime = runtime::of_all_cores()?;
    runtime.block_on(serve(&settings, options))
}

async fn serve(settings: &Settings, options: &ServerOptions) -> anyhow::Result<()> {
    let token = CancellationToken::new();
    let node = node_name()?;
    let store = options.store.open(settings).await?;
    let certificates = certificates::prepare(settings, &node)?;
    let mut config = api_config(settings, &certificates);
    options.security.apply(&mut config.security);
    config.has_agents = options.agents;
    config.limits.max_in_flight = options.max_requests_inflight;
    let server = api::Server::build(config, store).await?;
    let known = Known::default();
    server.explain_by(Arc::new(Explainer { load: options.load_aware, known: known.clone() }));
    let mut roles = Vec::new();
    if let Controllers::All { without } = &options.controllers {
        let mut control =
            control_config(&certificates, server.client(&User::component("controllers"))).await?;
        control.without.clone_from(without);
        control.load = options.load_aware;
        control.known = known;
        let identity = format!("{node}_{}", settings.api_address());
        let elected = options.store.is_shared().then_some(identity);
        let client = server.client(&User::component("fuxi"));
        let batch = batch_config(&certificates, client, settings.state_dir().join("worker"));
        roles.extend(controllers(batch, control, &server, elected, &token).await?);
    }
    let address = server.address();
    roles.push(start("api", &token, |token| server.run(token)));
    roles.push(start("certificates", &token, |token| {
        certificates::keep_current(settings.clone(), node, certificates, token)
    }));
    tracing::info!(api = %address, store = ?options.store.store, "Crest's API server runs");
    tokio::select! {
        () = until_signalled() => tracing::info!("Stopping: asked by a signal"),
        () = token.cancelled() => {}
    }
    token.cancel();
    Cluster::new(roles).ended().await;
    Ok(())
}

/// Controllers and schedulers; with an identity, only while this server is elected.
async fn controllers(
    batch: control::fuxi::Config,
    control: control::Config,
    server: &api::Server,
    identity: Option<String>,
    token: &CancellationToken,
) -> anyhow::Result<Vec<tokio::task::JoinHandle<()>>> {
    let batch = move || batch.clone();
    let Some(identity) = identity else {
        return Ok(vec![
            start("control", token, |token| control::run(control, token)),
            start_fallible("fuxi", token, |token| control::fuxi::run(batch(), token)),
        ]);
    };
    let election = |lease: &str| {
        let client = server.client(&User::component("leader-election"));
        Election { client, lease: lease.to_owned(), identity: identity.clone() }
    };
    let (of_control, of_fuxi) = (election("crest-controllers"), election("crest-fuxi"));
    Ok(vec![
        start("control", token, |token| {
            of_control.run(token, move |elected| control::run(control.clone(), elected))
        }),
        start("fuxi", token, |token| {
            of_fuxi.run(token, move |elected| {
                let running = control::fuxi::run(batch(), elected);
                async move {
                    if let Err(error) = running.await {
                        tracing::error!(error = %kit::Chain(&error), "Fuxi failed");
                    }
                }
            })
        }),
    ])
}

#[cfg(test)]
mod tests {
    use super::{Controllers, StoreChoice, parse_controllers, parse_store};

    #[test]
    fn controllers_are_named() {
        let all = |without: &[&str]| {
            Ok(Controllers::All { without: without.iter().map(|&name| name.to_owned()).collect() })
        };
        assert_eq!(parse_controllers("none"), Ok(Controllers::None));
        assert_eq!(parse_controllers("all"), all(&[]));
        assert_eq!(parse_controllers("*,-node-lifecycle,-ttl"), all(&["node-lifecycle", "ttl"]));
        for wrong in ["", "some", "*,ttl", "none,-ttl"] {
            assert!(parse_controllers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stores_are_named() {
        assert_eq!(parse_store("embedded"), Ok(StoreChoice::Embedded));
        let two = StoreChoice::Etcd(vec!["https://a:2379".to_owned(), "http://b:2379".to_owned()]);
        assert_eq!(parse_store("etcd=https://a:2379,http://b:2379"), Ok(two));
        for wrong in ["", "etcd", "etcd=", "etcd=a:2379", "sqlite=x"] {
            assert!(parse_store(wrong).is_err(), "{wrong}");
        }
    }
}

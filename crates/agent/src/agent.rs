//! The agent, put together: builds what a host needs, runs it, and takes it away on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::tls::TlsError;
use model::MilliCpu;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cgroup::{GroupError, Groups, Mounts};
use crate::colocation::{Colocation, Report, Reserved};
use crate::config::{Config, POLICY};
use crate::engine::Engine;
use crate::events::{self, Writer};
use crate::hands::{self, Ground, Hands, InForce};
use crate::host::Facts;
use crate::identity::IdentityError;
use crate::kubelet::{self, Workers};
use crate::node::{Description, Keeper, Offer};
use crate::pinning::Pinner;
use crate::pods::{Context, Registry, Shared, supervise};
use crate::policy::{Policies, Rule};
use crate::signals::Sampler;
use crate::usage::Meter;
use crate::{config, env, volumes};

/// The agent cannot be built on this host.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot make the directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot read which cgroups are mounted")]
    Mounts { source: io::Error },
    #[error("cannot prepare the groups of Pods")]
    Groups(#[from] GroupError),
    #[error(
        "no kubelet has made groups here: there is neither `kubepods.slice` nor `kubepods` in cgroup `/{root}`, or the driver is \
         another than was named; a kubelet with `cgroupRoot` has them in another group, and a container sees none unless the \
         host's /sys/fs/cgroup is mounted into it"
    )]
    NoKubelet { root: String },
    #[error("cannot read which CPUs this host has")]
    Cpus { source: io::Error },
    #[error("cannot listen on `{address}`")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    #[error("cannot make a certificate to serve with")]
    Certificate(#[from] IdentityError),
    #[error("cannot open the socket of batch workers")]
    Workers(#[from] kit::door::BindError),
}

/// What the agent made could not be taken away.
#[derive(Debug, thiserror::Error)]
pub enum TeardownError {
    #[error("cannot read which cgroups are mounted")]
    Mounts { source: io::Error },
    #[error("cannot remove the groups of Pods")]
    Groups(#[from] GroupError),
    #[error("cannot remove volumes in `{path}`")]
    Volumes { path: PathBuf, source: io::Error },
}

/// A host's agent, ready to run.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    context: Shared,
    writer: Writer,
    description: Description,
    ground: Ground,
    listener: TcpListener,
    options: kit::serve::Options,
    workers: Option<Arc<Workers>>,
}

impl Agent {
    /// Prepares directories and groups and binds the kubelet's socket. Nothing runs yet.
    pub async fn build(config: Config) -> Result<Self, BuildError> {
        for path in [config.pod_logs(), config.volumes()] {
            std::fs::create_dir_all(&path).map_err(|source| BuildError::Directory { path, source })?;
        }
        let facts = Facts::read(&config.root);
        let mounts = mounts().map_err(|source| BuildError::Mounts { source })?;
        let groups = Groups::new(&mounts, &config.cgroup_root);
        let lacks = groups.prepare(MilliCpu(facts.milli_cpu))?;
        let ground = hands::ground::probe(&groups, &mounts, &config.root)?;
        let missing = lacks.into_iter().map(str::to_owned).chain(ground.missing.clone()).collect();
        let address = config.kubelet_listen;
        let listening = TcpListener::bind(address).await;
        let listener = listening.map_err(|source| BuildError::Listen { address, source })?;
        let port = listener.local_addr().map_or(address.port(), |bound| bound.port());
        let tls = kit::tls::server(&config.kubelet_pair, Some(&config.client_authority))?;
        let (recorder, writer) = events::recorder(config.client.clone(), config.node_name.clone());
        let ip = config.node_ip.to_string();
        let description = Description {
            name: config.node_name.clone(),
            ip: ip.clone(),
            kubelet_port: port,
            max_pods: config.max_pods,
            labels: config.labels.clone(),
            facts: facts.clone(),
            cgroup_version: mounts.version().as_str(),
            missing,
            worker_folder: config.workers.clone(),
        };
        let pinner = Arc::new(Pinner::new(groups.clone(), recorder.clone()));
        let context = Arc::new(Context {
            client: config.client.clone(),
            engine: Engine::new(&config.cri_socket),
            recorder,
            pinner,
            groups,
            host: env::Host { ip, milli_cpu: facts.milli_cpu, memory: facts.memory },
            facts,
            node_name: config.node_name.clone(),
            pod_logs: config.pod_logs(),
            volumes: config.volumes(),
            batch_egress: config.arbiter.hands.egress,
            registry: Registry::default(),
            lanes: TaskTracker::new(),
        });
        let workers = config.workers.as_deref().map(Workers::bind).transpose()?.map(Arc::new);
        let options = kit::serve::Options { tls: Some(tls), ..kit::serve::Options::default() };
        Ok(Self { config, context, writer, description, ground, listener, options, workers })
    }

    /// The port on which the kubelet server listens.
    pub fn kubelet_port(&self) -> u16 {
        self.description.kubelet_port
    }

    /// Runs until `token` is cancelled. What runs in containers runs on.
    pub async fn run(self, token: CancellationToken) {
        let (offers, offered) = watch::channel(Offer::default());
        let (reports, reported) = watch::channel(Report::default());
        let rule = Rule::without_policy(self.config.arbiter.clone());
        let (rules, rule) = watch::channel(Arc::new(rule));
        let policies = Policies {
            client: self.config.client.clone(),
            node_name: self.config.node_name.clone(),
            base: self.config.arbiter.clone(),
            rules,
            file: self.config.root.join(POLICY),
        };
        let colocation = Colocation {
            groups: self.context.groups.clone(),
            registry: self.context.registry.clone(),
            pinner: self.context.pinner.clone(),
            recorder: self.context.recorder.clone(),
            milli_cpu: self.context.facts.milli_cpu,
            memory: self.context.facts.memory,
            rules: rule.clone(),
            reserved: watch::channel(Reserved::default()).1,
            histories: self.config.histories(),
            offers,
            reports,
        };
        let (in_force, seen_in_force) = watch::channel(InForce::default());
        let hands = Hands {
            groups: self.context.groups.clone(),
            registry: self.context.registry.clone(),
            pinner: self.context.pinner.clone(),
            memory: self.context.facts.memory,
            rules: rule,
            ground: self.ground,
            reports: reported.clone(),
            in_force,
        };
        let keeper = Keeper {
            client: self.config.client.clone(),
            engine: self.context.engine.clone(),
            description: self.description,
            offers: offered,
            topology: self.context.pinner.topology(),
        };
        let (snapshots, measured) = watch::channel(Arc::default());
        let meter = Meter { context: self.context.clone(), snapshots };
        let server = kubelet::Server {
            context: self.context.clone(),
            reports: reported,
            snapshots: measured,
            sampler: Arc::new(Sampler::new(self.context.groups.clone(), self.context.registry.clone())),
            in_force: seen_in_force,
            workers: self.workers.clone(),
        };
        let router = kubelet::router(server);
        let workers = async {
            token.cancelled().await;
            if let Some(workers) = &self.workers {
                workers.close();
            }
        };
        tokio::join!(
            workers,
            supervise(self.context, token.clone()),
            keeper.run(token.clone()),
            policies.run(token.clone()),
            colocation.run(token.clone()),
            hands.run(token.clone()),
            meter.run(token.clone()),
            self.writer.run(token.clone()),
            kit::serve::serve(self.listener, router, self.options, token.clone()),
        );
    }
}

/// Takes away everything that agents on this host made under these names, once nothing of it runs any more:
/// groups, volumes and logs. `root` and `cgroup_root` are those of their [`Config`].
pub fn remove_traces(root: &Path, cgroup_root: &str) -> Result<(), TeardownError> {
    let mounts = mounts().map_err(|source| TeardownError::Mounts { source })?;
    Groups::new(&mounts, cgroup_root).remove_all()?;
    let (volumes, logs) = (config::volumes(root), config::pod_logs(root));
    for pod in std::fs::read_dir(&volumes).into_iter().flatten().filter_map(Result::ok) {
        let dir = pod.path();
        volumes::remove(&dir).map_err(|source| TeardownError::Volumes { path: dir, source })?;
    }
    for path in [volumes, logs] {
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(TeardownError::Volumes { path, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn mounts() -> io::Result<Mounts> {
    Ok(Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

//! The edge of the batch engine: DagJobs, quotas, Nodes and worker Pods in, Pods, statuses and instances out.
//!
//! ```text
//!   watches ──┐                        ┌──► Pods, Secrets, Events     (tasks that report back)
//!   workers ──┼─► Input ──► Master ────┼──► status of each job, at most every 200 ms
//!   tasks  ───┘    one loop, no waiting└──► assign, recall, ack, stop ──► workers
//! ```
//! The loop owns all state and never waits for anything but its next input, so that handing over an instance costs
//! microseconds. What it decides, it asks of [`fuxi::Job`] (one per DagJob) and [`fuxi::grants::Ledger`] (one).

mod balance;
mod faulty;
mod guests;
mod jobs;
mod lists;
pub(crate) mod machines;
mod master;
mod pod;
mod quotas;
mod raw;
mod server;
mod status;
mod stores;
mod taints;
mod tides;
mod tunnels;
mod workers;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::scheduling::v1alpha2::PodGroup as WorkloadGroup;
use kube::runtime::watcher;
use kube::{Api, Client};
use model::batch_quota::BatchQuota;
use model::names;
use model::pod_group::PodGroup;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use fuxi::WorkerId;
use fuxi::grants::GrantId;
use fuxi::protocol::SOCKET;

use crate::informer::{Informer, Presence};
use crate::key::ObjectKey;
use crate::record::Recorder;
use jobs::JobUid;
pub use quotas::refusal as quota_refusal;
use raw::RawJob;
use server::{Connection, ConnectionId, Entrance, Greeting, Knock, Said, Share};
use status::StoreError;
pub use tunnels::Credentials;
use tunnels::Tunnels;

/// As long as other Pods stay on a Node that is not ready, where they say nothing of it.
pub const CUT_OFF_LIMIT: Duration = Duration::from_secs(300);
/// Large images take their time.
pub const EXPECT_LIMIT: Duration = Duration::from_secs(1200);

/// What the batch master needs.
#[derive(Clone)]
pub struct Config {
    pub client: Client,
    /// The directory that worker Pods mount: it holds the program, and gets the socket.
    pub worker_dir: PathBuf,
    /// The Node of this host, whose workers come to the socket here; `None` if it has none.
    pub home: Option<String>,
    /// For the agents of other hosts; `None` leaves those alone.
    pub credentials: Option<Credentials>,
    /// Workers of a Node that is not ready for so long are lost.
    pub cut_off_limit: Duration,
    /// And so are workers of which nothing is heard from when their Pod was made, not even what keeps it from starting.
    pub expect_limit: Duration,
}

/// Why the batch master cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot open the socket of batch workers")]
    Socket { source: kit::door::BindError },
    #[error("cannot prepare to ask agents for workers")]
    Credentials { source: kit::tls::TlsError },
}

impl Config {
    /// One that knows workers of its own socket only.
    pub fn new(client: Client, worker_dir: PathBuf) -> Self {
        Self {
            client,
            worker_dir,
            home: None,
            credentials: None,
            cut_off_limit: CUT_OFF_LIMIT,
            expect_limit: EXPECT_LIMIT,
        }
    }
}

impl Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("worker_dir", &self.worker_dir).finish_non_exhaustive()
    }
}

/// What the loop is told. Objects are read from the informers when their turn comes, so the newest is seen.
#[derive(Debug)]
enum Input {
    Job(ObjectKey),
    Node(ObjectKey),
    Pod(ObjectKey),
    /// A Pod that others have made for Fuxi to place.
    Guest(ObjectKey),
    /// The PodGroup of such Pods, whichever kind it is.
    Group(ObjectKey),
    /// What became of its binding, by its uid.
    GuestBound(String, Result<(), kube::Error>),
    /// A Pod whose place was revoked was not deleted.
    GuestStays(GrantId),
    Quotas,
    QuotasTold,
    Knock(Knock),
    Hello(WorkerId, Connection, Box<Greeting>),
    Said(ConnectionId, Said, Share),
    Closed(ConnectionId),
    /// A job's token is in its Secret, and the input lists that its tasks have taken are read.
    Prepared(JobUid, Result<jobs::Prepared, jobs::PrepareError>),
    /// An input list that a worker has taken is kept.
    Listed(Box<lists::Kept>),
    Stored(JobUid, u64, Box<Result<RawJob, StoreError>>),
    Created(WorkerId, Result<(), kube::Error>),
}

/// The objects that the loop follows.
#[derive(Debug, Default)]
struct Watched {
    jobs: Arc<Informer<RawJob>>,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    guests: Arc<Informer<Pod>>,
    quotas: Arc<Informer<BatchQuota>>,
    pod_groups: Arc<Informer<PodGroup>>,
    workload_groups: Arc<Informer<WorkloadGroup>>,
}

/// Runs all DagJobs until `token` is cancelled.
pub async fn run(config: Config, token: CancellationToken) -> Result<(), StartError> {
    let listener =
        kit::door::bind(&config.worker_dir, SOCKET).map_err(|source| StartError::Socket { source })?;
    let (inputs, received) = mpsc::unbounded_channel();
    let entrance = Entrance::new(inputs.clone(), token.clone());
    let tunnels = Tunnels::build(entrance.clone(), config.credentials.as_ref())
        .map_err(|source| StartError::Credentials { source })?;
    let watched = Watched::default();
    watched.follow(&config.client, &inputs, &token);
    if token.run_until_cancelled(watched.synced()).await.is_none() {
        return Ok(());
    }
    // Only now, so that no worker is turned away because its job is not known yet.
    kit::task::spawn("worker-server", server::serve(listener, entrance));
    let recorder = Recorder::start(config.client.clone(), "fuxi", token.clone());
    master::Master::new(config, watched, recorder, (inputs, tunnels, token)).run(received).await;
    Ok(())
}

impl Watched {
    fn follow(&self, client: &Client, inputs: &mpsc::UnboundedSender<Input>, token: &CancellationToken) {
        let tell = |make: fn(ObjectKey) -> Input| {
            let inputs = inputs.clone();
            // The loop is ending if it does not listen.
            move |key: ObjectKey| drop(inputs.send(make(key)))
        };
        let (job, node, pod, guest) =
            (tell(Input::Job), tell(Input::Node), tell(Input::Pod), tell(Input::Guest));
        self.jobs.on_change(move |change| job(ObjectKey::of(&**change.object())));
        self.nodes.on_change(move |change| node(ObjectKey::of(&**change.object())));
        self.pods.on_change(move |change| pod(ObjectKey::of(&**change.object())));
        self.guests.on_change(move |change| guest(ObjectKey::of(&**change.object())));
        let (of_ours, of_kubernetes) = (tell(Input::Group), tell(Input::Group));
        self.pod_groups.on_change(move |change| of_ours(ObjectKey::of(&**change.object())));
        self.workload_groups.on_change(move |change| of_kubernetes(ObjectKey::of(&**change.object())));
        let quotas = tell(|_| Input::Quotas);
        self.quotas.on_change(move |change| quotas(ObjectKey::of(&**change.object())));
        let workers = watcher::Config::default().labels(names::JOB_LABEL);
        let guests = watcher::Config::default()
            .labels(&format!("!{}", names::JOB_LABEL))
            .fields(&format!("spec.schedulerName={}", names::FUXI_SCHEDULER));
        let all = watcher::Config::default;
        let (jobs, nodes, pods) = (Arc::clone(&self.jobs), Arc::clone(&self.nodes), Arc::clone(&self.pods));
        kit::task::spawn("watch-dagjobs", jobs.run(Api::all(client.clone()), all(), token.clone()));
        kit::task::spawn("watch-nodes", nodes.run(Api::all(client.clone()), all(), token.clone()));
        let (quotas, others) = (Arc::clone(&self.quotas), Arc::clone(&self.guests));
        kit::task::spawn("watch-guests", others.run(Api::all(client.clone()), guests, token.clone()));
        kit::task::spawn("watch-batch-quotas", quotas.run(Api::all(client.clone()), all(), token.clone()));
        let (ours, kubernetes) = (Arc::clone(&self.pod_groups), Arc::clone(&self.workload_groups));
        kit::task::spawn("watch-pod-groups", ours.run(Api::all(client.clone()), all(), token.clone()));
        let api = (Api::all(client.clone()), Presence::Optional);
        kit::task::spawn("watch-workload-groups", kubernetes.follow(api, all(), token.clone()));
        kit::task::spawn("watch-workers", pods.run(Api::all(client.clone()), workers, token.clone()));
    }

    async fn synced(&self) {
        tokio::join!(
            self.jobs.synced(),
            self.nodes.synced(),
            self.pods.synced(),
            self.guests.synced(),
            self.quotas.synced(),
            self.pod_groups.synced(),
            self.workload_groups.synced()
        );
    }
}

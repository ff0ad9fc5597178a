//! What all controllers share: one watch per kind, the client, the recorder of events.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::act::Act;
use crate::informer::Informer;
use crate::record::Recorder;

/// Shared by all controllers of the process.
#[derive(Clone, Debug)]
pub struct World {
    pub act: Act,
    pub recorder: Recorder,
    pub pods: Arc<Informer<Pod>>,
    pub nodes: Arc<Informer<Node>>,
    pub deployments: Arc<Informer<Deployment>>,
    pub replica_sets: Arc<Informer<ReplicaSet>>,
    pub jobs: Arc<Informer<Job>>,
    pub namespaces: Arc<Informer<Namespace>>,
    pub service_accounts: Arc<Informer<ServiceAccount>>,
    /// The heartbeats of nodes.
    pub node_leases: Arc<Informer<Lease>>,
    /// The copies of the cluster's CA certificate, one in each namespace.
    pub root_certificates: Arc<Informer<ConfigMap>>,
}

/// Where nodes renew their leases.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";
/// The ConfigMap with the cluster's CA certificate.
pub const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";

impl World {
    pub fn new(client: Client, token: &CancellationToken) -> Self {
        Self {
            recorder: Recorder::start(client.clone(), "crest-controllers", token.clone()),
            act: Act::new(client),
            pods: Arc::default(),
            nodes: Arc::default(),
            deployments: Arc::default(),
            replica_sets: Arc::default(),
            jobs: Arc::default(),
            namespaces: Arc::default(),
            service_accounts: Arc::default(),
            node_leases: Arc::default(),
            root_certificates: Arc::default(),
        }
    }

    /// Starts the watches. Call once every controller has subscribed.
    pub fn watch(&self, token: &CancellationToken) {
        let client = self.act.client();
        let certificates = watcher::Config::default().fields(&format!("metadata.name={ROOT_CERTIFICATE}"));
        follow(&self.pods, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.nodes, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.deployments, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.replica_sets, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.jobs, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.namespaces, Api::all(client.clone()), watcher::Config::default(), token);
        follow(&self.service_accounts, Api::all(client.clone()), watcher::Config::default(), token);
        let leases = Api::namespaced(client.clone(), NODE_LEASE_NAMESPACE);
        follow(&self.node_leases, leases, watcher::Config::default(), token);
        follow(&self.root_certificates, Api::all(client.clone()), certificates, token);
    }
}

fn follow<K>(informer: &Arc<Informer<K>>, api: Api<K>, config: watcher::Config, token: &CancellationToken)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    kit::task::spawn("informer", Arc::clone(informer).run(api, config, token.clone()));
}

//! What all controllers share: one watch per kind, the client, the recorder of events.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::scheduling::v1alpha2::PodGroup as WorkloadGroup;
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use model::elastic_quota::ElasticQuota;
use model::interference_rule::InterferenceRule;
use model::pod_group::PodGroup;
use model::rebalance_policy::RebalancePolicy;
use model::reservation::Reservation;
use model::scheduling_policy::SchedulingPolicy;
use model::tide::Tide;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::act::Act;
use crate::departures::Departures;
use crate::informer::{Informer, Presence};
use crate::record::Recorder;

/// Shared by all controllers of the process.
#[derive(Clone, Debug)]
pub struct World {
    pub act: Act,
    pub recorder: Recorder,
    first: FirstState,
    /// Objects of any kind that are gone, as the garbage collector sees them go.
    pub departures: Departures,
    pub pods: Arc<Informer<Pod>>,
    pub nodes: Arc<Informer<Node>>,
    pub deployments: Arc<Informer<Deployment>>,
    pub replica_sets: Arc<Informer<ReplicaSet>>,
    pub jobs: Arc<Informer<Job>>,
    pub stateful_sets: Arc<Informer<StatefulSet>>,
    pub daemon_sets: Arc<Informer<DaemonSet>>,
    pub cron_jobs: Arc<Informer<CronJob>>,
    pub revisions: Arc<Informer<ControllerRevision>>,
    pub autoscalers: Arc<Informer<HorizontalPodAutoscaler>>,
    pub budgets: Arc<Informer<PodDisruptionBudget>>,
    /// Gangs.
    pub pod_groups: Arc<Informer<PodGroup>>,
    /// Gangs as Kubernetes has them.
    pub workload_groups: Arc<Informer<WorkloadGroup>>,
    pub scheduling_policies: Arc<Informer<SchedulingPolicy>>,
    pub interference_rules: Arc<Informer<InterferenceRule>>,
    pub reservations: Arc<Informer<Reservation>>,
    pub elastic_quotas: Arc<Informer<ElasticQuota>>,
    pub rebalance_policies: Arc<Informer<RebalancePolicy>>,
    pub tides: Arc<Informer<Tide>>,
    pub services: Arc<Informer<Service>>,
    pub endpoint_slices: Arc<Informer<EndpointSlice>>,
    pub endpoints: Arc<Informer<Endpoints>>,
    pub claims: Arc<Informer<PersistentVolumeClaim>>,
    pub volumes: Arc<Informer<PersistentVolume>>,
    pub storage_classes: Arc<Informer<StorageClass>>,
    pub csi_nodes: Arc<Informer<CSINode>>,
    pub quotas: Arc<Informer<ResourceQuota>>,
    pub cluster_roles: Arc<Informer<ClusterRole>>,
    pub policies: Arc<Informer<ValidatingAdmissionPolicy>>,
    pub signing_requests: Arc<Informer<CertificateSigningRequest>>,
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

/// How the state that a watch begins with is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstState {
    /// Page by page, as every server answers.
    Paged,
    /// As the first events of the watch: the one side writes while the other reads. Crest's servers do so, and of others
    /// not all.
    Streamed,
}

impl World {
    pub fn new(client: Client, first: FirstState, token: &CancellationToken) -> Self {
        Self {
            recorder: Recorder::start(client.clone(), "crest-controllers", token.clone()),
            act: Act::new(client),
            first,
            departures: Departures::default(),
            pods: Arc::default(),
            nodes: Arc::default(),
            deployments: Arc::default(),
            replica_sets: Arc::default(),
            jobs: Arc::default(),
            stateful_sets: Arc::default(),
            daemon_sets: Arc::default(),
            cron_jobs: Arc::default(),
            revisions: Arc::default(),
            autoscalers: Arc::default(),
            budgets: Arc::default(),
            pod_groups: Arc::default(),
            workload_groups: Arc::default(),
            scheduling_policies: Arc::default(),
            interference_rules: Arc::default(),
            reservations: Arc::default(),
            elastic_quotas: Arc::default(),
            rebalance_policies: Arc::default(),
            tides: Arc::default(),
            services: Arc::default(),
            endpoint_slices: Arc::default(),
            endpoints: Arc::default(),
            claims: Arc::default(),
            volumes: Arc::default(),
            storage_classes: Arc::default(),
            csi_nodes: Arc::default(),
            quotas: Arc::default(),
            cluster_roles: Arc::default(),
            policies: Arc::default(),
            signing_requests: Arc::default(),
            namespaces: Arc::default(),
            service_accounts: Arc::default(),
            node_leases: Arc::default(),
            root_certificates: Arc::default(),
        }
    }

    /// Starts the watches. Call once every controller has subscribed.
    pub fn watch(&self, token: &CancellationToken) {
        self.watch_what_placement_needs(token);
        let client = self.act.client();
        let watch = Watch { client, first: self.first, token };
        watch.all(&self.deployments);
        watch.all(&self.replica_sets);
        watch.all(&self.jobs);
        watch.all(&self.service_accounts);
        watch.all(&self.stateful_sets);
        watch.all(&self.daemon_sets);
        watch.all(&self.cron_jobs);
        watch.all(&self.revisions);
        watch.all(&self.autoscalers);
        watch.all(&self.services);
        watch.all(&self.endpoint_slices);
        watch.all(&self.endpoints);
        watch.all(&self.quotas);
        watch.all(&self.rebalance_policies);
        watch.all(&self.tides);
        watch.all(&self.cluster_roles);
        watch.all(&self.policies);
        watch.all(&self.signing_requests);
        let leases = Api::namespaced(client.clone(), NODE_LEASE_NAMESPACE);
        watch.some(&self.node_leases, leases, watcher::Config::default());
        let certificates = watcher::Config::default().fields(&format!("metadata.name={ROOT_CERTIFICATE}"));
        watch.some(&self.root_certificates, Api::all(client.clone()), certificates);
    }

    /// Resolves once all is here that [`World::watch_what_placement_needs`] asks for.
    pub(crate) async fn knows_what_placement_needs(&self) {
        tokio::join!(
            self.pods.synced(),
            self.nodes.synced(),
            self.namespaces.synced(),
            self.budgets.synced(),
            self.pod_groups.synced(),
            self.workload_groups.synced(),
            self.scheduling_policies.synced(),
            self.interference_rules.synced(),
            self.reservations.synced(),
            self.elastic_quotas.synced(),
            self.claims.synced(),
            self.volumes.synced(),
            self.storage_classes.synced(),
            self.csi_nodes.synced()
        );
    }

    /// Starts only the watches that Sigma asks for.
    pub fn watch_what_placement_needs(&self, token: &CancellationToken) {
        let watch = Watch { client: self.act.client(), first: self.first, token };
        watch.all(&self.pods);
        watch.all(&self.nodes);
        watch.all(&self.namespaces);
        watch.all(&self.budgets);
        watch.optional(&self.pod_groups);
        watch.optional(&self.workload_groups);
        watch.optional(&self.scheduling_policies);
        watch.optional(&self.interference_rules);
        watch.optional(&self.reservations);
        watch.optional(&self.elastic_quotas);
        watch.all(&self.claims);
        watch.all(&self.volumes);
        watch.all(&self.storage_classes);
        watch.all(&self.csi_nodes);
    }
}

/// Starts watches.
struct Watch<'a> {
    client: &'a Client,
    first: FirstState,
    token: &'a CancellationToken,
}

impl Watch<'_> {
    /// All objects of a kind.
    fn all<K>(&self, informer: &Arc<Informer<K>>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.some(informer, Api::all(self.client.clone()), watcher::Config::default());
    }

    /// All objects of a kind that not every Kubernetes has.
    fn optional<K>(&self, informer: &Arc<Informer<K>>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let api = Api::all(self.client.clone());
        self.follow(informer, (api, Presence::Optional), watcher::Config::default());
    }

    fn some<K>(&self, informer: &Arc<Informer<K>>, api: Api<K>, config: watcher::Config)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        self.follow(informer, (api, Presence::Required), config);
    }

    fn follow<K>(&self, informer: &Arc<Informer<K>>, kind: (Api<K>, Presence), config: watcher::Config)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let config = match self.first {
            FirstState::Paged => config,
            FirstState::Streamed => config.streaming_lists(),
        };
        kit::task::spawn("informer", Arc::clone(informer).follow(kind, config, self.token.clone()));
    }
}

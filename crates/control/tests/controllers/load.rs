//! What nodes use, from the agents that measure it, over `metrics.k8s.io`, to what the scheduler and the rebalancer make of
//! it. The agents are played; all the rest of the way is the real one: their API over TLS, the server's group, the polling.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::authority::Holder;
use bytes::Bytes;
use http_body_util::Full;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use model::rebalance_policy::RebalancePolicy;
use serde_json::{Value, json};

use crate::harness::{Cluster, pod, until};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a played agent measures, in milli-cores: of its node beside its pods, and of each pod.
#[derive(Debug, Default)]
struct Use {
    beside: AtomicU64,
    each_pod: AtomicU64,
}

fn used(milli: u64) -> Value {
    json!({ "cpu": { "time": jiff::Timestamp::now().to_string(), "windowSeconds": 5.0,
            "usageNanoCores": milli * 1_000_000, "usageCoreNanoSeconds": 1 },
        "memory": { "workingSetBytes": 1 << 20 } })
}

/// The summary of a node, with those pods that are on it now.
async fn summary(client: Client, node: String, using: Arc<Use>) -> Value {
    let on_it = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client).list(&on_it).await.map(|list| list.items).unwrap_or_default();
    let each = using.each_pod.load(Ordering::SeqCst);
    let told = |pod: &Pod| {
        let mut container = used(each);
        container["name"] = json!("c");
        json!({ "podRef": { "name": pod.name_any(), "namespace": pod.namespace(), "uid": pod.uid() },
            "containers": [container] })
    };
    let mut of_node = used(using.beside.load(Ordering::SeqCst) + each * pods.len() as u64);
    of_node["nodeName"] = json!(node);
    json!({ "node": of_node, "pods": pods.iter().map(told).collect::<Vec<_>>() })
}

impl Cluster {
    /// A node of 4 processors whose agent tells what is used.
    async fn add_measured_node(&self, name: &str) -> Arc<Use> {
        self.add_node(name, "4").await;
        let using = Arc::new(Use::default());
        let pair = self.certificate(name, &Holder::agent(name, [LOOPBACK]));
        let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (client, node, of_agent) = (self.client.clone(), name.to_owned(), Arc::clone(&using));
        let service = tower::service_fn(move |_request: http::Request<hyper::body::Incoming>| {
            let told = summary(client.clone(), node.clone(), Arc::clone(&of_agent));
            async move { Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(told.await.to_string())))) }
        });
        let tls = Some(kit::tls::server(&pair, None).unwrap());
        let options = kit::serve::Options { tls, ..Default::default() };
        kit::task::spawn("agent", kit::serve::serve(listener, service, options, self.token()));
        let endpoints = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": LOOPBACK }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } } } });
        let nodes: Api<Node> = self.all();
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(endpoints)).await.unwrap();
        using
    }

    async fn pods_of(&self, app: &str) -> Vec<Pod> {
        let labelled = ListParams::default().labels(&format!("app={app}"));
        self.api::<Pod>().list(&labelled).await.unwrap().items
    }
}

fn on(name: &str, node: &str) -> Value {
    let mut pod = pod(name, "100m");
    pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    pod
}

/// Whether the pod has a node, or says that its node is too busy.
fn is_decided(pod: Option<&Pod>) -> bool {
    let Some(pod) = pod else { return false };
    control::pods::node_name(pod).is_some() || is_too_busy(pod)
}

fn is_too_busy(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut messages = conditions.filter_map(|each| each.message.as_deref());
    messages.any(|message| message.contains("1 node(s) cpu usage exceed threshold"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_node_takes_no_more_pods_though_they_ask_for_little() {
    let cluster = Cluster::start_as(&["sigma"], true).await;
    let busy = cluster.add_measured_node("busy").await;
    busy.beside.store(3900, Ordering::SeqCst);
    let calm = cluster.add_measured_node("calm").await;
    calm.beside.store(100, Ordering::SeqCst);
    let config = control::sigma::Config {
        scheduler_name: model::names::SIGMA_SCHEDULER.to_owned(),
        seed: 1,
        load: Some(control::sigma::LoadPolicy::default()),
    };
    kit::task::spawn("scheduler", control::schedule(cluster.client.clone(), config, cluster.token()));

    // The first figures come a moment after the scheduler has begun: until then nothing is too busy.
    for number in 0.. {
        assert!(number < 100, "never too busy");
        let name = format!("probe-{number}");
        cluster.create::<Pod>(on(&name, "busy")).await;
        let decided = cluster.until(&name, is_decided).await.unwrap();
        if is_too_busy(&decided) {
            break;
        }
        cluster.api::<Pod>().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
        cluster.until(&name, |pod: Option<&Pod>| pod.is_none()).await;
    }
    for name in ["p", "q", "r"] {
        cluster.create::<Pod>(pod(name, "100m")).await;
        let bound = cluster
            .until(name, |pod: Option<&Pod>| pod.is_some_and(|pod| control::pods::node_name(pod).is_some()));
        assert_eq!(control::pods::node_name(&bound.await.unwrap()), Some("calm"));
    }
}

/// By what they ask for, nothing would have to move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_use_more_than_they_ask_for_move_from_a_hot_node() {
    let cluster = Cluster::start_as(&[], true).await;
    let hot = cluster.add_measured_node("hot").await;
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "100m" } } }] } });
    let spec =
        json!({ "replicas": 4, "selector": { "matchLabels": { "app": "web" } }, "template": template });
    cluster.create::<Deployment>(json!({ "metadata": { "name": "web" }, "spec": spec })).await;
    let is_up = |web: Option<&Deployment>| {
        web.and_then(|web| web.status.as_ref()).is_some_and(|status| status.available_replicas == Some(4))
    };
    cluster.until("web", is_up).await;
    hot.each_pod.store(950, Ordering::SeqCst);
    let cool = cluster.add_measured_node("cool").await;
    cool.each_pod.store(950, Ordering::SeqCst);
    let policy = json!({ "apiVersion": "crest.dev/v1alpha1", "kind": "RebalancePolicy", "metadata": { "name": "cool" },
        "spec": { "goal": "RemoveHotSpots", "by": "MeasuredUse", "intervalSeconds": 1, "leaveAloneSeconds": 0,
            "namespaces": ["default"] } });
    let policy: RebalancePolicy = serde_json::from_value(policy).unwrap();
    cluster.all().create(&PostParams::default(), &policy).await.unwrap();
    let is_cool = |policy: Option<&RebalancePolicy>| {
        let status = policy.and_then(|policy| policy.status.as_ref());
        status.is_some_and(|status| {
            let plan = status.plan.as_ref().is_some_and(|plan| plan.hot_nodes == 0 && plan.moves == 0);
            plan && status.moved > 0 && status.round.is_empty()
        })
    };
    let done = until(cluster.all::<RebalancePolicy>(), "cool", is_cool).await.unwrap().status.unwrap();
    assert_eq!(done.failed, 0, "{:?}", done.ended);
    let pods = cluster.pods_of("web").await;
    let n_on = |node: &str| pods.iter().filter(|pod| control::pods::node_name(pod) == Some(node)).count();
    // Three of them use 2.85 of 4, which is less than the 80 % that are too much; four use 3.8.
    assert!((1..=3).contains(&n_on("hot")) && n_on("hot") + n_on("cool") == 4, "{:?}", done.ended);
}

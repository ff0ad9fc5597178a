//! Sigma at the API: pods are bound at once, and say why they are not.

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::scheduling::v1alpha2;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective,
};
use kube::discovery::ApiResource;
use model::interference_rule::InterferenceRule;
use model::pod_group::{PodGroup, PodGroupPhase};
use model::reservation::{Reservation, ReservationPhase};
use model::scheduling_policy::SchedulingPolicy;
use serde_json::{Value, json};

use crate::harness::{Cluster, pod, until};

fn is_bound(pod: Option<&Pod>) -> bool {
    pod.is_some_and(|pod| control::pods::node_name(pod).is_some())
}

fn is_unschedulable(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
    conditions
        .into_iter()
        .any(|each| each.type_ == "PodScheduled" && each.reason.as_deref() == Some("Unschedulable"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_within_milliseconds() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    // The first pod waits for the node's taint to go and for all watches to stand.
    cluster.create::<Pod>(pod("first", "100m")).await;
    cluster.until("first", is_bound).await;
    let start = kit::clock::monotonic();
    cluster.create::<Pod>(pod("second", "100m")).await;
    cluster.until("second", is_bound).await;
    println!("created to bound as seen by a watch: {:?}", start.elapsed());
    let scheduled = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().any(|each| each.type_ == "PodScheduled" && each.status == "True")
    };
    cluster.until("second", scheduled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_does_not_fit_says_why_and_is_bound_once_it_does() {
    let cluster = Cluster::start().await;
    cluster.add_node("small", "1").await;
    cluster.create::<Pod>(pod("big", "2")).await;
    let big = cluster.until("big", is_unschedulable).await.unwrap();
    let condition = big.status.unwrap().conditions.unwrap().remove(0);
    println!("{:?}", condition.message);
    let told = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
        let mut messages = conditions.into_iter().filter_map(|each| each.message.as_deref());
        messages.any(|message| message == "0/1 nodes are available: 1 Insufficient cpu.")
    };
    cluster.until("big", told).await;
    cluster.add_node("large", "4").await;
    let bound = cluster.until("big", is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some("large"));
    let failed = |event: &Event| event.reason.as_deref() == Some("FailedScheduling");
    let events = cluster.api::<Event>().list(&ListParams::default()).await.unwrap();
    assert!(events.items.iter().any(failed), "{:?}", events.items);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_node_that_is_deleted_go_too() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    cluster.create::<Pod>(pod("p", "100m")).await;
    cluster.until("p", is_bound).await;
    cluster.all::<Node>().delete("a", &DeleteParams::default()).await.unwrap();
    until(cluster.all::<Node>(), "a", |node: Option<&Node>| node.is_none()).await;
    // The scheduler may hear of the node's end a moment later than this test does.
    for attempt in 0..10 {
        let name = format!("q-{attempt}");
        cluster.create::<Pod>(pod(&name, "100m")).await;
        let decided = cluster.until(&name, |pod: Option<&Pod>| is_bound(pod) || is_unschedulable(pod)).await;
        if is_unschedulable(decided.as_ref()) {
            return;
        }
    }
    panic!("pods still go to the node that is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_keep_apart_go_to_different_nodes() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.add_node(name, "4").await;
    }
    let replica = |name: &str| {
        let mut replica = pod(name, "100m");
        replica["metadata"]["labels"] = json!({ "app": "web" });
        replica["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = json!([{ "labelSelector": { "matchLabels": { "app": "web" } }, "topologyKey": "kubernetes.io/hostname" }]);
        replica
    };
    let mut nodes = Vec::new();
    for name in ["one", "two"] {
        cluster.create::<Pod>(replica(name)).await;
        let bound = cluster.until(name, is_bound).await.unwrap();
        nodes.push(control::pods::node_name(&bound).unwrap().to_owned());
    }
    assert_ne!(nodes[0], nodes[1]);
    cluster.create::<Pod>(replica("three")).await;
    cluster.until("three", is_unschedulable).await;
    cluster.api::<Pod>().delete("one", &DeleteParams::default()).await.unwrap();
    let bound = cluster.until("three", is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&bound), Some(nodes[0].as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_more_important_pod_takes_the_place_of_a_lesser_one() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "1").await;
    cluster.create::<Pod>(pod("low", "800m")).await;
    cluster.until("low", is_bound).await;
    for (name, policy) in [("eager", "PreemptLowerPriority"), ("patient", "Never")] {
        let class = json!({ "metadata": { "name": name }, "value": 1000, "preemptionPolicy": policy });
        let class: PriorityClass = serde_json::from_value(class).unwrap();
        cluster.all().create(&PostParams::default(), &class).await.unwrap();
    }
    let important = |name: &str, class: &str| {
        let mut pod = pod(name, "500m");
        pod["spec"]["priorityClassName"] = json!(class);
        pod
    };
    cluster.create::<Pod>(important("waits", "patient")).await;
    cluster.until("waits", is_unschedulable).await;
    assert!(
        cluster.api::<Pod>().get_opt("low").await.unwrap().is_some(),
        "who never preempts has taken a place"
    );
    cluster.create::<Pod>(important("top", "eager")).await;
    cluster.until("low", |pod: Option<&Pod>| pod.is_none()).await;
    let top = cluster.until("top", is_bound).await.unwrap();
    assert_eq!(control::pods::node_name(&top), Some("a"));
    let preempted = |event: &Event| event.reason.as_deref() == Some("Preempted");
    let events = cluster.api::<Event>();
    // Events are written after what they tell of.
    let told = async {
        while !events.list(&ListParams::default()).await.unwrap().items.iter().any(preempted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("no event tells of it");
}

fn is_in_phase(phase: PodGroupPhase) -> impl Fn(Option<&PodGroup>) -> bool {
    move |group| group.and_then(|group| group.status.as_ref()).is_some_and(|status| status.phase == phase)
}

fn member(name: &str, gang: &str) -> Value {
    let mut pod = pod(name, "1");
    pod["metadata"]["labels"] = json!({ "crest.dev/pod-group": gang });
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_is_bound_once_all_of_it_fits() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "2").await;
    cluster.create::<PodGroup>(json!({ "metadata": { "name": "g" }, "spec": { "minMember": 3 } })).await;
    for name in ["x", "y"] {
        cluster.create::<Pod>(member(name, "g")).await;
    }
    let gathers = |group: Option<&PodGroup>| {
        let status = group.and_then(|group| group.status.as_ref());
        status.is_some_and(|status| (status.phase, status.members) == (PodGroupPhase::Pending, 2))
    };
    cluster.until("g", gathers).await;
    cluster.create::<Pod>(member("z", "g")).await;
    let group = cluster.until("g", is_in_phase(PodGroupPhase::Waiting)).await.unwrap();
    let condition = group.status.unwrap().conditions.remove(0);
    assert_eq!((condition.type_.as_str(), condition.reason.as_str()), ("Scheduled", "Unschedulable"));
    assert_eq!(condition.message, "gang g: 2 of 3 fit: 0/1 nodes are available: 1 Insufficient cpu.");
    cluster.until("x", is_unschedulable).await;
    cluster.add_node("b", "1").await;
    for name in ["x", "y", "z"] {
        cluster.until(name, is_bound).await;
    }
    let group = cluster.until("g", is_in_phase(PodGroupPhase::Scheduled)).await.unwrap();
    assert_eq!(group.status.unwrap().scheduled, 3);
}

/// Kubernetes' own kind, where it is served: its own servers do behind a gate, Crest by a definition.
/// Applies an object of a definition, which is served a moment after it was made; fields that it does not know are refused.
async fn apply<K: kube::Resource<DynamicType = ()>>(cluster: &Cluster, name: &str, spec: serde_json::Value) {
    let kind = ApiResource::erase::<K>(&());
    let object = json!({ "apiVersion": kind.api_version, "kind": kind.kind, "metadata": { "name": name }, "spec": spec });
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), "default", &kind);
    let how =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("test") };
    let mut refused = None;
    let applied = async {
        while let Err(error) = api.patch(name, &how, &Patch::Apply(&object)).await {
            refused = Some(error);
            tokio::task::yield_now().await;
        }
    };
    let applied = tokio::time::timeout(std::time::Duration::from_secs(20), applied).await;
    assert!(applied.is_ok(), "is not served: {refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gangs_of_the_workload_api_are_gangs_too() {
    let cluster = Cluster::start().await;
    let text = include_str!("../../../../examples/workload-api.yaml");
    for document in text.split("\n---\n") {
        let definition: CustomResourceDefinition = serde_yaml_ng::from_str(document).unwrap();
        cluster.all().create(&PostParams::default(), &definition).await.unwrap();
    }
    cluster.add_node("a", "1").await;
    for name in ["x", "y"] {
        let mut pod = pod(name, "1");
        pod["spec"]["schedulingGroup"] = json!({ "podGroupName": "g" });
        cluster.create::<Pod>(pod).await;
    }
    cluster.until("x", is_unschedulable).await;
    // As controllers write them: the template first, then what is made from it. Nothing of it is unknown.
    let policy = json!({ "schedulingPolicy": { "gang": { "minCount": 2 } }, "disruptionMode": "PodGroup",
        "priorityClassName": "", "schedulingConstraints": { "topology": [{ "key": "zone" }] } });
    let mut template = policy.clone();
    template["name"] = json!("workers");
    let mut group = policy;
    let of = json!({ "workload": { "workloadName": "w", "podGroupTemplateName": "workers" } });
    group["podGroupTemplateRef"] = of;
    let job = json!({ "apiGroup": "batch", "kind": "Job", "name": "j" });
    apply::<v1alpha2::Workload>(
        &cluster,
        "w",
        json!({ "controllerRef": job, "podGroupTemplates": [template] }),
    )
    .await;
    apply::<v1alpha2::PodGroup>(&cluster, "g", group).await;
    cluster.add_node("b", "1").await;
    for name in ["x", "y"] {
        cluster.until(name, is_bound).await;
    }
    let is_told = |group: Option<&v1alpha2::PodGroup>| {
        let conditions =
            group.and_then(|group| group.status.as_ref()?.conditions.as_ref()).into_iter().flatten();
        conditions.into_iter().any(|each| each.type_ == "PodGroupScheduled" && each.status == "True")
    };
    cluster.until("g", is_told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_say_whose_pods_are_placed_and_how() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c"] {
        cluster.add_node(name, "4").await;
    }
    let packed = |name: &str| {
        let mut pod = pod(name, "1");
        pod["spec"]["schedulerName"] = json!("packer");
        pod
    };
    for name in ["one", "two", "three"] {
        cluster.create::<Pod>(packed(name)).await;
    }
    cluster.create::<Pod>(pod("other", "1")).await;
    cluster.until("other", is_bound).await;
    assert!(!is_bound(cluster.api::<Pod>().get_opt("one").await.unwrap().as_ref()), "is left alone");
    let policy =
        json!({ "metadata": { "name": "p" }, "spec": { "schedulerName": "packer", "placement": "Pack" } });
    let policy: SchedulingPolicy = serde_json::from_value(policy).unwrap();
    cluster.all().create(&PostParams::default(), &policy).await.unwrap();
    let mut nodes = std::collections::BTreeSet::new();
    for name in ["one", "two", "three"] {
        let bound = cluster.until(name, is_bound).await.unwrap();
        nodes.insert(control::pods::node_name(&bound).unwrap().to_owned());
    }
    assert_eq!(nodes.len(), 1, "{nodes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_keep_pods_from_each_other() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "4").await;
    let rule = json!({ "metadata": { "name": "quiet" }, "spec": {
        "atMost": 1,
        "pods": { "selector": { "matchLabels": { "app": "loud" } } },
        "beside": { "selector": { "matchLabels": { "app": "quiet" } } } } });
    let rule: InterferenceRule = serde_json::from_value(rule).unwrap();
    cluster.all().create(&PostParams::default(), &rule).await.unwrap();
    let labelled = |name: &str, app: &str| {
        let mut pod = pod(name, "1");
        pod["metadata"]["labels"] = json!({ "app": app });
        pod
    };
    for (name, app) in [("quiet", "quiet"), ("loud", "loud")] {
        cluster.create::<Pod>(labelled(name, app)).await;
        cluster.until(name, is_bound).await;
    }
    cluster.create::<Pod>(labelled("louder", "loud")).await;
    let louder = cluster.until("louder", is_unschedulable).await.unwrap();
    let message = louder.status.unwrap().conditions.unwrap().remove(0).message.unwrap();
    assert_eq!(message, "0/1 nodes are available: 1 node(s) didn't keep the interference rule quiet.");
    cluster.all::<InterferenceRule>().delete("quiet", &DeleteParams::default()).await.unwrap();
    cluster.until("louder", is_bound).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_held_for_pods_to_come() {
    let cluster = Cluster::start().await;
    cluster.add_node("a", "2").await;
    let is_in = |phase: ReservationPhase| {
        move |reservation: Option<&Reservation>| {
            let status = reservation.and_then(|reservation| reservation.status.as_ref());
            status.is_some_and(|status| status.phase == phase)
        }
    };
    let spec =
        json!({ "resources": { "cpu": "2" }, "owners": { "matchLabels": { "app": "db" } }, "ttlSeconds": 5 });
    cluster.create::<Reservation>(json!({ "metadata": { "name": "r" }, "spec": spec })).await;
    let held = cluster.until("r", is_in(ReservationPhase::Held)).await.unwrap();
    assert_eq!(held.status.unwrap().node_name.as_deref(), Some("a"));
    cluster.create::<Pod>(pod("stranger", "1")).await;
    cluster.until("stranger", is_unschedulable).await;
    let mut owner = pod("owner", "1");
    owner["metadata"]["labels"] = json!({ "app": "db" });
    cluster.create::<Pod>(owner).await;
    cluster.until("owner", is_bound).await;
    cluster.until("r", is_in(ReservationPhase::Expired)).await;
    cluster.until("stranger", is_bound).await;
}

//! Custom resources among controllers: owners and dependents, namespaces, quotas, autoscaling; all of a kind that was
//! defined after the controllers had begun.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::harness::{Cluster, until};

/// A kind of which the plural is not what one would guess.
fn resource() -> ApiResource {
    ApiResource {
        group: "example.test".to_owned(),
        version: "v1".to_owned(),
        api_version: "example.test/v1".to_owned(),
        kind: "Boat".to_owned(),
        plural: "fleet".to_owned(),
    }
}

fn definitions(cluster: &Cluster) -> Api<CustomResourceDefinition> {
    cluster.all()
}

async fn define(cluster: &Cluster) {
    let properties = json!({"spec": {"type": "object", "properties": {"sails": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"sails": {"type": "integer"}, "selector": {"type": "string"}}}});
    let scale = json!({"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails",
        "labelSelectorPath": ".status.selector"});
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}, "scale": scale}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleet.example.test"}, "spec": {"group": "example.test", "scope": "Namespaced",
        "names": {"plural": "fleet", "kind": "Boat"}, "versions": [version]}});
    let definition = serde_json::from_value(definition).unwrap();
    definitions(cluster).create(&PostParams::default(), &definition).await.unwrap();
}

fn boats(cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client.clone(), namespace, &resource())
}

async fn boat(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    beside: Value,
) -> Result<DynamicObject, kube::Error> {
    let mut object = json!({"apiVersion": "example.test/v1", "kind": "Boat", "metadata": {"name": name}, "spec": {"sails": 1}});
    object["metadata"].as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
    boats(cluster, namespace).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await
}

fn owned_by(kind: &str, api_version: &str, name: &str, uid: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid,
        "blockOwnerDeletion": true}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_own_and_are_owned() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let owner = boat(&cluster, "default", "owner", json!({})).await.unwrap();
    let reference = owned_by("Boat", "example.test/v1", "owner", owner.metadata.uid.as_deref().unwrap());
    boat(&cluster, "default", "tender", reference.clone()).await.unwrap();
    let mut cargo = json!({"metadata": {"name": "cargo"}});
    cargo["metadata"].as_object_mut().unwrap().extend(reference.as_object().unwrap().clone());
    let cargo = cluster.create::<ConfigMap>(cargo).await;
    // Owned by a kind of the table, and by nobody that there ever was.
    let reference = owned_by("ConfigMap", "v1", "cargo", cargo.metadata.uid.as_deref().unwrap());
    boat(&cluster, "default", "crate", reference).await.unwrap();
    let nobody = owned_by("Boat", "example.test/v1", "nobody", "11111111-2222-3333-4444-555555555555");
    boat(&cluster, "default", "adrift", nobody).await.unwrap();
    let fleet = || boats(&cluster, "default");
    let is_gone = |found: Option<&DynamicObject>| found.is_none();
    until(fleet(), "adrift", is_gone).await;
    assert!(fleet().get_opt("tender").await.unwrap().is_some());
    // In the foreground: the owner goes last.
    fleet().delete("owner", &DeleteParams::foreground()).await.unwrap();
    until(fleet(), "owner", is_gone).await;
    assert!(fleet().get_opt("tender").await.unwrap().is_none());
    cluster.until("cargo", |map: Option<&ConfigMap>| map.is_none()).await;
    until(fleet(), "crate", is_gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_owned_goes_with_the_whole_kind_of_its_owner() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let owner = boat(&cluster, "default", "owner", json!({})).await.unwrap();
    let reference = owned_by("Boat", "example.test/v1", "owner", owner.metadata.uid.as_deref().unwrap());
    let mut cargo = json!({"metadata": {"name": "cargo"}});
    cargo["metadata"].as_object_mut().unwrap().extend(reference.as_object().unwrap().clone());
    // The owner was seen by now: an object of its kind without an owner is taken away.
    let nobody = owned_by("Boat", "example.test/v1", "nobody", "11111111-2222-3333-4444-555555555555");
    boat(&cluster, "default", "adrift", nobody.clone()).await.unwrap();
    until(boats(&cluster, "default"), "adrift", |found: Option<&DynamicObject>| found.is_none()).await;
    cluster.create::<ConfigMap>(cargo).await;
    // So was the cargo: of what comes after it, one without an owner is taken away.
    let mut flotsam = json!({"metadata": {"name": "flotsam"}});
    flotsam["metadata"].as_object_mut().unwrap().extend(nobody.as_object().unwrap().clone());
    cluster.create::<ConfigMap>(flotsam).await;
    cluster.until("flotsam", |map: Option<&ConfigMap>| map.is_none()).await;
    definitions(&cluster).delete("fleet.example.test", &DeleteParams::default()).await.unwrap();
    cluster.until("cargo", |map: Option<&ConfigMap>| map.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_when_its_custom_resources_are_gone() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    let namespaces: Api<Namespace> = cluster.all();
    let team = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    boat(&cluster, "team", "free", json!({})).await.unwrap();
    boat(&cluster, "team", "held", json!({"finalizers": ["example.test/hold"]})).await.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    until(boats(&cluster, "team"), "free", |found: Option<&DynamicObject>| found.is_none()).await;
    let tells = |namespace: Option<&Namespace>| {
        let conditions = namespace.and_then(|namespace| namespace.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| {
            all.iter().any(|each| {
                each.type_ == "NamespaceContentRemaining"
                    && each.status == "True"
                    && each.message.as_ref().is_some_and(|message| message.contains("fleet.example.test"))
            })
        })
    };
    until(namespaces.clone(), "team", tells).await;
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    boats(&cluster, "team").patch("held", &PatchParams::default(), &freed).await.unwrap();
    until(namespaces, "team", |namespace: Option<&Namespace>| namespace.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_counts_custom_resources() {
    let cluster = Cluster::start().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/fleet.example.test": "2"}}});
    cluster.create::<ResourceQuota>(quota).await;
    let uses = |count: &'static str| {
        move |quota: Option<&ResourceQuota>| {
            let used =
                quota.and_then(|quota| quota.status.as_ref()?.used.as_ref()?.get("count/fleet.example.test"));
            used.is_some_and(|used| used.0 == count)
        }
    };
    // Before there is such a kind.
    cluster.until("q", uses("0")).await;
    define(&cluster).await;
    boat(&cluster, "default", "a", json!({})).await.unwrap();
    boat(&cluster, "default", "b", json!({})).await.unwrap();
    let refused = boat(&cluster, "default", "c", json!({})).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused:?}");
    cluster.until("q", uses("2")).await;
    boats(&cluster, "default").delete("a", &DeleteParams::default()).await.unwrap();
    cluster.until("q", uses("1")).await;
    boat(&cluster, "default", "c", json!({})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_scales_a_custom_resource() {
    let cluster = Cluster::start().await;
    define(&cluster).await;
    boat(&cluster, "default", "a", json!({})).await.unwrap();
    let target = json!({"apiVersion": "example.test/v1", "kind": "Boat", "name": "a"});
    let spec = json!({"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 5});
    cluster.create::<HorizontalPodAutoscaler>(json!({"metadata": {"name": "a"}, "spec": spec})).await;
    let is_scaled = |found: Option<&DynamicObject>| found.is_some_and(|boat| boat.data["spec"]["sails"] == 3);
    let waiting = until(boats(&cluster, "default"), "a", is_scaled);
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

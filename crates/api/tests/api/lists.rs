//! Lists: pages from one snapshot, selectors, shapes.

use kube::api::{ListParams, PostParams};
use serde_json::Value;

use crate::harness::{Cluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(count: usize) -> Cluster {
    let cluster = Cluster::start().await;
    for index in 0..count {
        cluster
            .config_maps()
            .create(&PostParams::default(), &config_map(&format!("m{index}")))
            .await
            .unwrap();
    }
    cluster
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn pages_come_from_one_snapshot() {
    let cluster = with_maps(5).await;
    let maps = cluster.config_maps();
    let first = maps.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(3)));
    let token = first.metadata.continue_.unwrap();
    maps.create(&PostParams::default(), &config_map("m2-late")).await.unwrap();
    let (_, rest) = cluster.request("GET", &format!("{MAPS}?limit=9&continue={token}"), &Value::Null).await;
    assert_eq!(names(&rest), ["m2", "m3", "m4"]);
    assert_eq!(rest["metadata"]["resourceVersion"].as_str(), first.metadata.resource_version.as_deref());
}

#[tokio::test]
async fn exact_revisions_show_the_past_and_the_future_is_refused() {
    let cluster = with_maps(1).await;
    let (_, before) = cluster.request("GET", MAPS, &Value::Null).await;
    let revision = before["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.config_maps().create(&PostParams::default(), &config_map("late")).await.unwrap();
    let exact = format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={revision}");
    assert_eq!(names(&cluster.request("GET", &exact, &Value::Null).await.1), ["m0"]);
    let future = format!("{MAPS}?resourceVersion=99999999999");
    assert_eq!(cluster.request("GET", &future, &Value::Null).await.0, 504);
    let unmatched = format!("{MAPS}?resourceVersionMatch=Exact");
    assert_eq!(cluster.request("GET", &unmatched, &Value::Null).await.0, 422);
}

#[tokio::test]
async fn a_list_is_a_table_or_metadata_for_those_who_ask() {
    let cluster = with_maps(2).await;
    let shaped = async |accept: &str| cluster.send("GET", MAPS, &[("accept", accept)], Vec::new()).await;
    let (_, table) = shaped("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!((table["kind"].as_str(), table["rows"].as_array().map(Vec::len)), (Some("Table"), Some(2)));
    let (_, list) = shaped("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").await;
    assert_eq!(list["items"][1]["kind"], "PartialObjectMetadata");
    assert_eq!(shaped("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await.0, 406);
}

#[tokio::test]
async fn a_collection_is_deleted_as_selected() {
    let cluster = with_maps(3).await;
    let (_, gone) =
        cluster.request("DELETE", &format!("{MAPS}?fieldSelector=metadata.name%3Dm1"), &Value::Null).await;
    assert_eq!(names(&gone), ["m1"]);
    assert_eq!(names(&cluster.request("GET", MAPS, &Value::Null).await.1), ["m0", "m2"]);
}

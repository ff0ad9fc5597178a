//! What `metrics.k8s.io` tells, as controllers ask it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// What a pod uses.
#[derive(Debug, Deserialize)]
pub(crate) struct PodMetrics {
    pub(crate) metadata: ObjectMeta,
    pub(crate) containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ContainerMetrics {
    pub(crate) name: String,
    pub(crate) usage: Amounts,
}

#[derive(Debug, Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// The figures at `path`: `nodes`, `pods` or `namespaces/<name>/pods`.
pub(crate) async fn list<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    which: &ListParams,
) -> kube::Result<Vec<T>> {
    let request = kube::core::Request::new(format!("/apis/metrics.k8s.io/v1beta1/{path}"));
    let request = request.list(which).map_err(kube::Error::BuildRequest)?;
    client.request::<List<T>>(request).await.map(|list| list.items)
}

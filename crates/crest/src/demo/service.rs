//! The service of the demo: a Deployment of nginx behind the API, as any user would write it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt, watcher};

pub(super) const NAMESPACE: &str = "crest-demo";
const MANIFEST: &str = include_str!("../../../../examples/demo/service.yaml");
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the service and returns the address of its Pod, once it is ready.
pub(super) async fn start(client: &Client) -> anyhow::Result<SocketAddr> {
    // What an earlier demo left may still be going away.
    let namespaces = Api::<Namespace>::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await?.is_some_and(|left| left.metadata.deletion_timestamp.is_some()) {
        gone(&namespaces).await?;
    }
    let name = Some(NAMESPACE.to_owned());
    let namespace =
        Namespace { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Namespace::default() };
    create(&namespaces, &namespace).await?;
    let deployment: Deployment = serde_yaml_ng::from_str(MANIFEST).context("the demo's service.yaml")?;
    create(&Api::<Deployment>::namespaced(client.clone(), NAMESPACE), &deployment).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    tokio::time::timeout(PATIENCE, ready_address(pods)).await.map_err(|_| {
        anyhow::anyhow!("the service is not ready after a minute: see `kubectl -n {NAMESPACE} describe pods`")
    })?
}

/// Creates the object; one that is there already, from a demo that was cut short, serves as well.
async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn ready_address(pods: Api<Pod>) -> anyhow::Result<SocketAddr> {
    let mut changes = watcher(pods, watcher::Config::default().labels("app=web")).applied_objects().boxed();
    while let Some(pod) = changes.try_next().await? {
        if let Some(address) = address_if_ready(&pod) {
            return Ok(SocketAddr::new(address, 80));
        }
    }
    anyhow::bail!("the watch on the service's Pods ended")
}

fn address_if_ready(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if ready { status.pod_ip.as_ref()?.parse().ok() } else { None }
}

/// Removes all that the demo made in the cluster, and returns when it is gone.
pub(super) async fn remove(client: &Client) -> anyhow::Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .delete(NAMESPACE, &DeleteParams::default())
        .await
        .context("cannot remove the demo's namespace")?;
    gone(&namespaces).await
}

async fn gone(namespaces: &Api<Namespace>) -> anyhow::Result<()> {
    let gone =
        await_condition(namespaces.clone(), NAMESPACE, |namespace: Option<&Namespace>| namespace.is_none());
    tokio::time::timeout(PATIENCE, gone).await.map_err(|_| {
        anyhow::anyhow!(
            "namespace `{NAMESPACE}` is still not removed after a minute: see `kubectl get namespace {NAMESPACE} -o yaml`"
        )
    })??;
    Ok(())
}

//! The container engine, as one Pod's caretaker sees it: CRI calls with errors that say what was attempted.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use pouch::cri;
use pouch::cri::image_service_client::ImageServiceClient;
use pouch::cri::runtime_service_client::RuntimeServiceClient;
use tonic::transport::Channel;

use crate::pods::observed::{Instance, Observed, Sandbox, label};

/// The engine refused or could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot {attempt}")]
pub struct EngineError {
    attempt: String,
    source: Box<tonic::Status>,
}

impl EngineError {
    /// What the engine itself said, for people.
    pub fn message(&self) -> &str {
        self.source.message()
    }

    fn is_not_found(&self) -> bool {
        self.source.code() == tonic::Code::NotFound
    }
}

/// A client of the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// What a pod's sandboxes and containers look like at a glance, to notice changes cheaply.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glance {
    pub pod_uid: String,
    pub id: String,
    pub state: i32,
}

fn failed<'a>(attempt: &'a str, what: &'a str) -> impl FnOnce(tonic::Status) -> EngineError + use<'a> {
    move |status| EngineError { attempt: format!("{attempt} {what}"), source: Box::new(status) }
}

/// Absence is what a removal is for.
fn unless_gone(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

impl Engine {
    /// Connects at the first call, and again after the engine was restarted.
    pub fn new(socket: &Path) -> Self {
        let channel = cri::connect_lazy(socket);
        Self { runtime: RuntimeServiceClient::new(channel.clone()), images: ImageServiceClient::new(channel) }
    }

    pub async fn version(&self) -> Result<cri::VersionResponse, EngineError> {
        let request = cri::VersionRequest { version: "v1".to_owned() };
        let response = self.runtime.clone().version(request).await;
        Ok(response.map_err(failed("ask the engine for its", "version"))?.into_inner())
    }

    /// Everything that the engine has, at a glance, in a stable order.
    pub async fn glance(&self) -> Result<Vec<Glance>, EngineError> {
        let containers = self.list_containers(HashMap::new()).await?;
        let sandboxes = self.list_sandboxes(HashMap::new()).await?;
        let of_containers = containers.into_iter().map(|mut container| Glance {
            pod_uid: container.labels.remove(label::POD_UID).unwrap_or_default(),
            id: container.id,
            state: container.state,
        });
        let of_sandboxes = sandboxes.into_iter().map(|mut sandbox| Glance {
            pod_uid: sandbox.labels.remove(label::POD_UID).unwrap_or_default(),
            id: sandbox.id,
            state: sandbox.state,
        });
        let mut glances: Vec<Glance> = of_containers.chain(of_sandboxes).collect();
        glances.sort();
        Ok(glances)
    }

    /// What happens to containers from now on. It ends when the engine does, and when some was missed.
    pub async fn events(&self) -> Result<tonic::Streaming<cri::ContainerEventResponse>, EngineError> {
        let response = self.runtime.clone().get_container_events(cri::GetEventsRequest::default()).await;
        Ok(response.map_err(failed("listen to", "the engine"))?.into_inner())
    }

    /// What the containers that run have used so far.
    pub async fn stats(&self) -> Result<Vec<cri::ContainerStats>, EngineError> {
        let response =
            self.runtime.clone().list_container_stats(cri::ListContainerStatsRequest::default()).await;
        Ok(response.map_err(failed("measure", "containers"))?.into_inner().stats)
    }

    /// All of pod `uid`, in detail.
    pub async fn observe(&self, uid: &str) -> Result<Observed, EngineError> {
        let selector = HashMap::from([(label::POD_UID.to_owned(), uid.to_owned())]);
        let mut observed = Observed::default();
        for sandbox in self.list_sandboxes(selector.clone()).await? {
            if let Some(status) = self.sandbox_status(sandbox.id).await? {
                observed.sandboxes.push(Sandbox::from_status(status));
            }
        }
        for container in self.list_containers(selector).await? {
            let sandbox = container.pod_sandbox_id;
            if let Some(status) = self.container_status(container.id).await? {
                observed.containers.push(Instance::from_status(status, &sandbox));
            }
        }
        observed.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created)));
        observed.containers.sort_by_key(|instance| std::cmp::Reverse(instance.attempt));
        Ok(observed)
    }

    pub async fn list_sandboxes(
        &self,
        label_selector: HashMap<String, String>,
    ) -> Result<Vec<cri::PodSandbox>, EngineError> {
        let filter = cri::PodSandboxFilter { label_selector, ..Default::default() };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        let response = self.runtime.clone().list_pod_sandbox(request).await;
        Ok(response.map_err(failed("list", "sandboxes"))?.into_inner().items)
    }

    async fn list_containers(
        &self,
        label_selector: HashMap<String, String>,
    ) -> Result<Vec<cri::Container>, EngineError> {
        let filter = cri::ContainerFilter { label_selector, ..Default::default() };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        let response = self.runtime.clone().list_containers(request).await;
        Ok(response.map_err(failed("list", "containers"))?.into_inner().containers)
    }

    async fn sandbox_status(&self, id: String) -> Result<Option<cri::PodSandboxStatus>, EngineError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
        match self.runtime.clone().pod_sandbox_status(request).await {
            Ok(response) => Ok(response.into_inner().status),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(failed("read the status of sandbox", &id)(status)),
        }
    }

    async fn container_status(&self, id: String) -> Result<Option<cri::ContainerStatus>, EngineError> {
        let request = cri::ContainerStatusRequest { container_id: id.clone(), verbose: false };
        match self.runtime.clone().container_status(request).await {
            Ok(response) => Ok(response.into_inner().status),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
            Err(status) => Err(failed("read the status of container", &id)(status)),
        }
    }

    /// Runs a sandbox whose containers the runtime of this name makes; an empty name is the engine's own choice.
    pub async fn run_sandbox(
        &self,
        config: cri::PodSandboxConfig,
        runtime: String,
    ) -> Result<String, EngineError> {
        let name = config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default();
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: runtime };
        let response = self.runtime.clone().run_pod_sandbox(request).await;
        Ok(response.map_err(failed("run the sandbox of", &name))?.into_inner().pod_sandbox_id)
    }

    pub async fn stop_sandbox(&self, id: &str) -> Result<(), EngineError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let result = self.runtime.clone().stop_pod_sandbox(request).await;
        unless_gone(result.map(drop).map_err(failed("stop sandbox", id)))
    }

    pub async fn remove_sandbox(&self, id: &str) -> Result<(), EngineError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let result = self.runtime.clone().remove_pod_sandbox(request).await;
        unless_gone(result.map(drop).map_err(failed("remove sandbox", id)))
    }

    pub async fn create_container(
        &self,
        request: cri::CreateContainerRequest,
    ) -> Result<String, EngineError> {
        let metadata = request.config.as_ref().and_then(|config| config.metadata.as_ref());
        let name = metadata.map(|metadata| metadata.name.clone()).unwrap_or_default();
        let response = self.runtime.clone().create_container(request).await;
        Ok(response.map_err(failed("create container", &name))?.into_inner().container_id)
    }

    pub async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        let response = self.runtime.clone().start_container(request).await;
        response.map(drop).map_err(failed("start container", id))
    }

    /// Asks the container to end, and ends it after `grace`.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
        let result = self.runtime.clone().stop_container(request).await;
        unless_gone(result.map(drop).map_err(failed("stop container", id)))
    }

    pub async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        let result = self.runtime.clone().remove_container(request).await;
        unless_gone(result.map(drop).map_err(failed("remove container", id)))
    }

    /// Changes the share and the limits of a container that runs.
    pub async fn update_resources(
        &self,
        id: &str,
        resources: cri::LinuxContainerResources,
    ) -> Result<(), EngineError> {
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            ..Default::default()
        };
        let response = self.runtime.clone().update_container_resources(request).await;
        response.map(drop).map_err(failed("resize container", id))
    }

    pub async fn reopen_log(&self, id: &str) -> Result<(), EngineError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        let response = self.runtime.clone().reopen_container_log(request).await;
        response.map(drop).map_err(failed("reopen the log of container", id))
    }

    /// Runs a command in a container and waits for its end.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<cri::ExecSyncResponse, EngineError> {
        let timeout = i64::try_from(timeout.as_secs()).unwrap_or(0);
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout };
        let response = self.runtime.clone().exec_sync(request).await;
        Ok(response.map_err(failed("run a command in container", id))?.into_inner())
    }

    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String, EngineError> {
        let id = request.container_id.clone();
        let response = self.runtime.clone().exec(request).await;
        Ok(response.map_err(failed("open a command in container", &id))?.into_inner().url)
    }

    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String, EngineError> {
        let id = request.container_id.clone();
        let response = self.runtime.clone().attach(request).await;
        Ok(response.map_err(failed("attach to container", &id))?.into_inner().url)
    }

    pub async fn port_forward(&self, sandbox: &str, port: Vec<i32>) -> Result<String, EngineError> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port };
        let response = self.runtime.clone().port_forward(request).await;
        Ok(response.map_err(failed("forward ports of sandbox", sandbox))?.into_inner().url)
    }

    /// The image that `reference` names, if it is on the host.
    pub async fn image(&self, reference: &str) -> Result<Option<cri::Image>, EngineError> {
        let image = cri::ImageSpec { image: reference.to_owned(), ..Default::default() };
        let request = cri::ImageStatusRequest { image: Some(image), verbose: false };
        let response = self.images.clone().image_status(request).await;
        Ok(response.map_err(failed("look for image", reference))?.into_inner().image)
    }

    pub async fn pull(&self, reference: &str) -> Result<String, EngineError> {
        let image = cri::ImageSpec { image: reference.to_owned(), ..Default::default() };
        let request = cri::PullImageRequest { image: Some(image), ..Default::default() };
        let response = self.images.clone().pull_image(request).await;
        Ok(response.map_err(failed("pull image", reference))?.into_inner().image_ref)
    }
}

//! The runtime service.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::{Request, Response, Status};

use super::{Service, views};
use crate::cri;
use crate::cri::runtime_service_server::RuntimeService;
use crate::disk;
use crate::engine::Engine;
use crate::engine::events::Event;
use crate::engine::record::{Container, ContainerRecord, Phase, Sandbox, SandboxRecord};
use crate::stream::{Wanted, Wish};

/// CRI's own version, and that of its older greeting.
const API_VERSION: &str = "v1";
const GREETING_VERSION: &str = "0.1.0";

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

#[tonic::async_trait]
impl RuntimeService for Service {
    async fn version(&self, _request: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        answer(cri::VersionResponse {
            version: GREETING_VERSION.to_owned(),
            runtime_name: "pouch".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: API_VERSION.to_owned(),
        })
    }

    async fn status(&self, request: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let ready = |kind: &str| cri::RuntimeCondition {
            r#type: kind.to_owned(),
            status: true,
            ..Default::default()
        };
        let mut response = cri::StatusResponse {
            status: Some(cri::RuntimeStatus {
                conditions: vec![ready("RuntimeReady"), ready("NetworkReady")],
            }),
            ..Default::default()
        };
        if request.into_inner().verbose {
            let host = &self.engine.inner.host;
            let info = json!({
                "capabilities": host.capabilities,
                "leastOomScoreAdj": host.least_oom_score_adj,
                "unifiedCgroups": self.engine.inner.cgroups.is_unified(),
            });
            response.info.insert("host".to_owned(), info.to_string());
        }
        answer(response)
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let request = request.into_inner();
        let pod_sandbox_id = self.engine.run_sandbox(request.config, request.runtime_handler).await?;
        answer(cri::RunPodSandboxResponse { pod_sandbox_id })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        self.engine.stop_sandbox(&request.into_inner().pod_sandbox_id).await?;
        answer(cri::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        self.engine.remove_sandbox(&request.into_inner().pod_sandbox_id).await?;
        answer(cri::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let id = request.pod_sandbox_id;
        let sandbox = self
            .engine
            .sandbox(&id)
            .ok_or_else(|| Status::not_found(format!("there is no sandbox `{id}`")))?;
        let record = sandbox.record();
        let containers = self.engine.containers_of(&record.id);
        answer(cri::PodSandboxStatusResponse {
            info: if request.verbose { views::sandbox_info(&record) } else { Default::default() },
            status: Some(views::sandbox_status(record)),
            containers_statuses: containers.iter().map(|one| views::container_status(one)).collect(),
            timestamp: disk::nanoseconds(kit::clock::wall()),
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all: Vec<_> = self.engine.inner.sandboxes.lock().values().cloned().collect();
        let wanted = |record: &SandboxRecord| {
            record.id.starts_with(&filter.id)
                && filter.state.is_none_or(|wanted| wanted.state() == views::sandbox_state(record))
                && views::has_labels(&record.config.labels, &filter.label_selector)
        };
        let view = |sandbox: &Arc<Sandbox>| {
            let record = sandbox.record.lock();
            wanted(&record).then(|| views::sandbox(&record))
        };
        let mut items: Vec<_> = all.iter().filter_map(view).collect();
        items.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        answer(cri::ListPodSandboxResponse { items })
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let request = request.into_inner();
        let container_id = self.engine.create_container(&request.pod_sandbox_id, request.config).await?;
        answer(cri::CreateContainerResponse { container_id })
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        self.engine.start_container(&request.into_inner().container_id).await?;
        answer(cri::StartContainerResponse {})
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let request = request.into_inner();
        self.engine.stop_container(&request.container_id, seconds(request.timeout)).await?;
        answer(cri::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        self.engine.remove_container(&request.into_inner().container_id).await?;
        answer(cri::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let view = |container: &Arc<Container>| {
            let state = views::container_state(&container.phase.borrow());
            let record = container.record.lock();
            let is_wanted = filter.state.is_none_or(|wanted| wanted.state() == state)
                && selects(&record, &filter.id, &filter.pod_sandbox_id)
                && views::has_labels(&record.config.labels, &filter.label_selector);
            is_wanted.then(|| views::container(&record, state))
        };
        let mut containers: Vec<_> = self.all().iter().filter_map(view).collect();
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        answer(cri::ListContainersResponse { containers })
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.engine.known(&request.container_id)?;
        answer(cri::ContainerStatusResponse {
            status: Some(views::container_status(&container)),
            info: match request.verbose {
                true => views::container_info(&container.record()),
                false => Default::default(),
            },
        })
    }

    async fn update_container_resources(
        &self,
        request: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        self.engine.update_limits(&request.container_id, request.linux.unwrap_or_default()).await?;
        answer(cri::UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        self.engine.reopen_log(&request.into_inner().container_id).await?;
        answer(cri::ReopenContainerLogResponse {})
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        let request = request.into_inner();
        let limit = Some(seconds(request.timeout)).filter(|limit| !limit.is_zero());
        let done = self.engine.exec_sync(&request.container_id, request.cmd, limit).await?;
        answer(cri::ExecSyncResponse { stdout: done.stdout, stderr: done.stderr, exit_code: done.code })
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        let request = request.into_inner();
        if request.cmd.is_empty() {
            return Err(Status::invalid_argument("no command is given"));
        }
        let container = self.engine.running(&request.container_id)?.record().id;
        let cri::ExecRequest { stdin, stdout, stderr, tty, .. } = request;
        let streams = checked(Wanted { stdin, stdout, stderr, tty })?;
        let url = self.offer(Wish::Exec { container, command: request.cmd, streams })?;
        answer(cri::ExecResponse { url })
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        let request = request.into_inner();
        let container = self.engine.running(&request.container_id)?.record().id;
        let cri::AttachRequest { stdin, stdout, stderr, tty, .. } = request;
        let streams = checked(Wanted { stdin, stdout, stderr, tty })?;
        let url = self.offer(Wish::Attach { container, streams })?;
        answer(cri::AttachResponse { url })
    }

    async fn port_forward(
        &self,
        request: Request<cri::PortForwardRequest>,
    ) -> Answer<cri::PortForwardResponse> {
        let request = request.into_inner();
        let id = request.pod_sandbox_id;
        let sandbox = self.engine.sandbox(&id).filter(|sandbox| sandbox.record.lock().ready);
        let sandbox =
            sandbox.ok_or_else(|| Status::not_found(format!("there is no sandbox `{id}` that is ready")))?;
        let ports = request.port.iter().filter_map(|port| u16::try_from(*port).ok()).collect();
        let url = self.offer(Wish::PortForward { sandbox: sandbox.record().id, ports })?;
        answer(cri::PortForwardResponse { url })
    }

    async fn container_stats(
        &self,
        request: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        let container = self.engine.known(&request.into_inner().container_id)?;
        answer(cri::ContainerStatsResponse { stats: Some(self.stats(&container)) })
    }

    async fn list_container_stats(
        &self,
        request: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let wanted = |record: &ContainerRecord| {
            selects(record, &filter.id, &filter.pod_sandbox_id)
                && views::has_labels(&record.config.labels, &filter.label_selector)
        };
        let mut containers = self.all();
        containers.retain(|one| !one.phase.borrow().is_exited() && wanted(&one.record.lock()));
        answer(cri::ListContainerStatsResponse {
            stats: containers.iter().map(|container| self.stats(container)).collect(),
        })
    }

    type GetContainerEventsStream = BoxStream<'static, Result<cri::ContainerEventResponse, Status>>;

    async fn get_container_events(
        &self,
        _request: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let engine = self.engine.clone();
        let events = BroadcastStream::new(engine.inner.events.subscribe());
        let responses = events.map(move |event| match event {
            Ok(event) => Ok(told(&engine, &event)),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Err(Status::data_loss(format!("{missed} events were missed: list all, and listen anew")))
            }
        });
        answer(responses.take_until(self.token.clone().cancelled_owned()).boxed())
    }
}

/// An event, and how all of its sandbox stand.
fn told(engine: &Engine, Event { container, kind, at }: &Event) -> cri::ContainerEventResponse {
    let (container_id, sandbox) = {
        let record = container.record.lock();
        (record.id.clone(), record.sandbox.clone())
    };
    let containers = engine.containers_of(&sandbox);
    cri::ContainerEventResponse {
        container_id,
        container_event_type: (*kind).into(),
        created_at: *at,
        pod_sandbox_status: engine.sandbox(&sandbox).map(|sandbox| views::sandbox_status(sandbox.record())),
        containers_statuses: containers.iter().map(|one| views::container_status(one)).collect(),
    }
}

impl Service {
    fn all(&self) -> Vec<Arc<Container>> {
        self.engine.inner.containers.lock().values().cloned().collect()
    }

    fn offer(&self, wish: Wish) -> Result<String, Status> {
        let url = self.engine.inner.streams.offer(wish, kit::clock::monotonic());
        url.ok_or_else(|| Status::unavailable("the streaming server does not run"))
    }

    /// Of a container without a cgroup, one that has ended, only who it is.
    fn stats(&self, container: &Container) -> cri::ContainerStats {
        let (cgroup, attributes) = {
            let record = container.record.lock();
            let attributes = cri::ContainerAttributes {
                id: record.id.clone(),
                metadata: record.config.metadata.clone(),
                labels: record.config.labels.clone(),
                annotations: record.config.annotations.clone(),
            };
            (record.cgroup.clone(), attributes)
        };
        let timestamp = disk::nanoseconds(kit::clock::wall());
        let usage = match container.phase() {
            Phase::Exited(_) => None,
            Phase::Created | Phase::Running { .. } => self.engine.inner.cgroups.usage(&cgroup),
        };
        let number = |value| Some(cri::UInt64Value { value });
        let limit = container.resources().memory_limit_in_bytes;
        cri::ContainerStats {
            cpu: usage.map(|usage| cri::CpuUsage {
                timestamp,
                usage_core_nano_seconds: number(usage.cpu_nanoseconds),
                usage_nano_cores: None,
            }),
            memory: usage.map(|usage| cri::MemoryUsage {
                timestamp,
                working_set_bytes: number(usage.working_set),
                available_bytes: u64::try_from(limit)
                    .ok()
                    .filter(|limit| *limit > 0)
                    .and_then(|limit| number(limit.saturating_sub(usage.working_set))),
                usage_bytes: number(usage.memory),
                rss_bytes: number(usage.anonymous),
                page_faults: number(usage.page_faults),
                major_page_faults: number(usage.major_page_faults),
            }),
            attributes: Some(attributes),
            ..Default::default()
        }
    }
}

/// Empty words select all.
fn selects(container: &ContainerRecord, id: &str, sandbox: &str) -> bool {
    container.id.starts_with(id) && container.sandbox.starts_with(sandbox)
}

/// Less than none is none.
fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

fn checked(streams: Wanted) -> Result<Wanted, Status> {
    if streams.tty && streams.stderr {
        return Err(Status::invalid_argument("a terminal has no standard error of its own"));
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(Status::invalid_argument("none of stdin, stdout and stderr is wanted"));
    }
    Ok(streams)
}

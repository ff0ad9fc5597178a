//! Starts the sandbox and the containers of one Pod.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use model::{Bytes, QosClass};
use pouch::cri;
use tokio::sync::Mutex;

use super::observed::Sandbox;
use super::order::{self, Ground, PodId};
use super::{Shared, ephemeral, hooks, last_words, log_files};
use crate::cgroup::{InUse, Knob};
use crate::engine::EngineError;
use crate::env::{Environment, Scope, environment};
use crate::resources;
use crate::sources::{References, Sources, fetch};
use crate::tokens::Purse;
use crate::volumes::{self, Places};

/// Why something was not started, as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Failure {
    fn because<E: std::error::Error + 'static>(reason: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self { reason, message: kit::Chain(&error).to_string() }
    }
}

/// Starts what the plan says, and keeps what starting takes.
#[derive(Debug)]
pub(super) struct Starter {
    context: Shared,
    id: PodId,
    /// Volumes that are in place.
    places: Option<Places>,
    ips: Vec<String>,
    /// The tokens in its volumes.
    purse: Purse,
    /// Held while the engine makes something: to give up then would leave half of it behind.
    making: Arc<Mutex<()>>,
}

/// Whether volumes of `pod` follow objects that may change while it runs.
pub(super) fn has_changing_volumes(pod: &Pod) -> bool {
    !References::of_volumes(pod).is_empty()
}

impl Starter {
    pub(super) fn new(context: Shared, id: PodId) -> Self {
        Self { context, id, places: None, ips: Vec::new(), purse: Purse::default(), making: Arc::default() }
    }

    /// What to lock before giving up on something that is being started.
    pub(super) fn making(&self) -> Arc<Mutex<()>> {
        self.making.clone()
    }

    /// Brings volumes of a running Pod up to date.
    pub(super) async fn refresh(&mut self, pod: &Pod) {
        if self.ips.is_empty() {
            // Adopted after a restart of the agent: the status tells what the sandbox told then.
            let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
            self.ips = ips.map(|ip| ip.ip.clone()).collect();
        }
        if !self.ips.is_empty()
            && has_changing_volumes(pod)
            && let Err(failure) = self.prepare_volumes(pod).await
        {
            self.context.recorder.warning(pod, None, "FailedMount", failure.message);
        }
    }

    /// Runs the sandbox of `pod`: after this it has a network.
    pub(super) async fn sandbox(&mut self, pod: &Pod, attempt: u32) -> Result<(), Failure> {
        let class = QosClass::of(pod);
        let group = self.context.groups.pod(class, &self.id.uid);
        let prepared = self.prepare_group(pod, &group);
        prepared.inspect_err(|failure| self.warn(pod, None, "FailedCreatePodContainer", failure))?;
        let log_dir = self.log_dir();
        std::fs::create_dir_all(&log_dir).map_err(Failure::because("CreatePodSandboxError"))?;
        let config = self.config(pod, attempt, &log_dir, &group);
        let _whole = self.making.lock().await;
        // Until RuntimeClass objects are served, a class names the engine's runtime itself.
        let runtime = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone()).unwrap_or_default();
        let result = self.context.engine.run_sandbox(config, runtime).await;
        let failed = result.map_err(Failure::because("CreatePodSandboxError"));
        failed.inspect_err(|failure| self.warn(pod, None, "FailedCreatePodSandBox", failure))?;
        Ok(())
    }

    /// The sandbox of `pod`; one of batch sends no faster than batch may.
    fn config(&self, pod: &Pod, attempt: u32, log_dir: &Path, group: &str) -> cri::PodSandboxConfig {
        let mut config = order::sandbox(pod, attempt, log_dir, group, &self.context.facts.dns);
        if let (QosClass::Batch, Some(most)) = (QosClass::of(pod), self.context.batch_egress) {
            order::bound_egress(&mut config.annotations, most);
        }
        config
    }

    fn prepare_group(&self, pod: &Pod, group: &str) -> Result<(), Failure> {
        let backend = self.context.groups.backend();
        let result = backend.create(group).and_then(|()| {
            let is_own = |knob: &Knob| !(matches!(knob, Knob::Quota(_)) && self.is_bounded_by_arbiter(pod));
            let mut knobs = resources::knobs(pod).into_iter().filter(is_own);
            knobs.try_for_each(|knob| backend.set(group, knob).map(drop))
        });
        result.map_err(Failure::because("CreatePodSandboxError"))?;
        self.context.pinner.admit(pod, &self.context.registry);
        Ok(())
    }

    /// Whether the CPU limit of `pod` is the arbiter's to write, at the Pod's group: where no group may be allowed more
    /// than its parent, limits of batch would forbid to squeeze it, and a squeeze to start what has limits.
    fn is_bounded_by_arbiter(&self, pod: &Pod) -> bool {
        QosClass::of(pod) == QosClass::Batch && !self.context.groups.backend().may_exceed_parents()
    }

    /// What the engine sets on the group of `container`.
    fn limits(&self, pod: &Pod, container: &Container) -> cri::LinuxContainerResources {
        let facts = &self.context.facts;
        let mut limits = resources::linux(pod, container, facts.memory, facts.lowest_oom_score);
        if self.is_bounded_by_arbiter(pod) {
            limits.cpu_quota = 0;
        }
        limits
    }

    fn log_dir(&self) -> PathBuf {
        self.context.pod_logs.join(self.id.log_dir_name())
    }

    fn warn(&self, pod: &Pod, container: Option<&str>, reason: &'static str, failure: &Failure) {
        self.context.recorder.warning(pod, container, reason, failure.message.clone());
    }

    /// Starts container `name` of `pod` in `sandbox`; gives the id of its run.
    pub(super) async fn container(
        &mut self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        sandbox: &Sandbox,
    ) -> Result<String, Failure> {
        self.learn_ips(pod, sandbox);
        let missing =
            || Failure { reason: "CreateContainerError", message: format!("no container `{name}`") };
        let container = hooks::find(pod, name).ok_or_else(missing)?;
        let container = container.as_ref();
        if self.places.is_none() {
            let mounted = self.prepare_volumes(pod).await;
            mounted.inspect_err(|failure| self.warn(pod, None, "FailedMount", failure))?;
        }
        let image = self.image(pod, container).await?;
        let created = self.create(pod, container, attempt, (sandbox, &image)).await;
        let id = created.inspect_err(|failure| self.warn(pod, Some(name), "Failed", failure))?;
        self.context.recorder.normal(pod, Some(name), "Created", format!("Created container: {name}"));
        let whole = self.making.lock().await;
        let started =
            self.context.engine.start_container(&id).await.map_err(Failure::because("RunContainerError"));
        drop(whole);
        if let Err(failure) = started {
            self.warn(pod, Some(name), "Failed", &failure);
            // What did not start must not be mistaken for something that is about to.
            let _removed = self.context.engine.remove_container(&id).await;
            return Err(failure);
        }
        self.context.recorder.normal(pod, Some(name), "Started", format!("Started container {name}"));
        self.post_start(pod, container, &id).await;
        Ok(id)
    }

    async fn post_start(&self, pod: &Pod, container: &Container, id: &str) {
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let Some(hook) = hook else { return };
        if let Err(why) = hooks::run(&self.context, pod, id, container, hook).await {
            let message = format!("PostStartHook failed: {why}");
            self.context.recorder.warning(pod, Some(&container.name), "FailedPostStartHook", message);
            hooks::kill(&self.context, pod, (id, &container.name), 2, "FailedPostStartHook").await;
        }
    }

    /// Gives a running container, and the whole Pod, what the spec says now.
    pub(super) async fn resize(&self, pod: &Pod, name: &str, id: &str) -> Result<(), Failure> {
        let Some(container) = hooks::find(pod, name) else { return Ok(()) };
        let group = self.context.groups.pod(QosClass::of(pod), &self.id.uid);
        let below = self.fits(pod, &container, &group, id);
        below.inspect_err(|failure| self.warn(pod, Some(name), "ResizeError", failure))?;
        // A group never holds less than what is in it, so the Pod's own limits grow first and shrink last. The
        // kernel refuses the wrong order, and then the other one is right.
        let grown = self.prepare_group(pod, &group);
        // The kernel takes no quota below a burst; the hands give the burst back by the new quota.
        let _gone = self.context.groups.backend().set(&format!("{group}/{id}"), Knob::Burst(None));
        let updated = self.context.engine.update_resources(id, self.limits(pod, &container)).await;
        let result = updated.map_err(Failure::because("ResizeError"));
        let result = result.and_then(|()| grown.or_else(|_| self.prepare_group(pod, &group)));
        result.inspect_err(|failure| self.warn(pod, Some(name), "ResizeError", failure))
    }

    /// A limit below what is in use is not written, as the kernel would make room by killing: it is tried again.
    fn fits(&self, pod: &Pod, container: &Container, group: &str, id: &str) -> Result<(), Failure> {
        let whole = (group.to_owned(), resources::of_pod(pod).memory_limit);
        let own =
            (format!("{group}/{id}"), resources::of_container(container, QosClass::of(pod)).memory_limit);
        for (group, limit) in [whole, own] {
            let used = self.context.groups.backend().memory_in_use(&group).ok();
            if let Some(message) = below_use(limit, used) {
                return Err(Failure { reason: "ResizeError", message });
            }
        }
        Ok(())
    }

    async fn prepare_volumes(&mut self, pod: &Pod) -> Result<(), Failure> {
        let mut references = References::of_volumes(pod);
        let wanted = std::mem::take(&mut references.tokens);
        let tokens = self.purse.fill(&self.context.client, pod, wanted).await;
        let tokens = tokens.map_err(Failure::because("ContainerCreating"))?;
        let sources = Sources { tokens, ..self.sources(references).await? };
        let dir = self.context.pod_dir(&self.id.uid).join("volumes");
        let scope = Scope { pod, pod_ips: &self.ips, host: &self.context.host, sources: &sources };
        let places = volumes::prepare(&dir, &scope).map_err(Failure::because("ContainerCreating"))?;
        self.places = Some(places);
        Ok(())
    }

    async fn sources(&self, references: References) -> Result<Sources, Failure> {
        let fetched = fetch(&self.context.client, &self.id.namespace, references).await;
        fetched.map_err(Failure::because("CreateContainerConfigError"))
    }

    fn learn_ips(&mut self, pod: &Pod, sandbox: &Sandbox) {
        let on_host = pod.spec.as_ref().is_some_and(resources::uses_host_network);
        self.ips = if on_host { vec![self.context.host.ip.clone()] } else { sandbox.ips.clone() };
    }

    /// Sees to it that the image is there. Gives the reference to run.
    async fn image(&self, pod: &Pod, container: &Container) -> Result<String, Failure> {
        let reference = container.image.clone().unwrap_or_default();
        let name = container.name.as_str();
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let looked = self.context.engine.image(&reference).await;
        let present = looked.map_err(Failure::because("ImageInspectError"))?;
        match (policy, present) {
            ("IfNotPresent" | "Never", Some(image)) => {
                let message = format!("Container image \"{reference}\" already present on machine");
                self.context.recorder.normal(pod, Some(name), "Pulled", message);
                check_user(pod, container, &image)?;
                return Ok(reference);
            }
            ("Never", None) => {
                let message =
                    format!("Container image \"{reference}\" is not present with pull policy of Never");
                let failure = Failure { reason: "ErrImageNeverPull", message };
                self.warn(pod, Some(name), "ErrImageNeverPull", &failure);
                return Err(failure);
            }
            _ => {}
        }
        self.pull(pod, container, &reference).await
    }

    async fn pull(&self, pod: &Pod, container: &Container, reference: &str) -> Result<String, Failure> {
        let name = container.name.as_str();
        let message = format!("Pulling image \"{reference}\"");
        self.context.recorder.normal(pod, Some(name), "Pulling", message);
        let started = kit::clock::monotonic();
        let pulled = self.context.engine.pull(reference).await;
        let failed = |error: EngineError| Failure {
            reason: "ErrImagePull",
            message: format!("Failed to pull image \"{reference}\": {}", error.message()),
        };
        pulled.map_err(failed).inspect_err(|failure| self.warn(pod, Some(name), "Failed", failure))?;
        let took = started.elapsed().as_secs_f64();
        let message = format!("Successfully pulled image \"{reference}\" in {took:.3}s");
        self.context.recorder.normal(pod, Some(name), "Pulled", message);
        if let Ok(Some(image)) = self.context.engine.image(reference).await {
            check_user(pod, container, &image)?;
        }
        Ok(reference.to_owned())
    }

    async fn create(
        &mut self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        (sandbox, image): (&Sandbox, &str),
    ) -> Result<String, Failure> {
        let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        let sources = self.sources(References::of_environment(container, links)).await?;
        let scope = Scope { pod, pod_ips: &self.ips, host: &self.context.host, sources: &sources };
        let environment =
            environment(container, &scope).map_err(Failure::because("CreateContainerConfigError"))?;
        let mut mounts = self.mounts(pod, container, &environment)?;
        let last_words = last_words::mount(&self.context.pod_dir(&self.id.uid), container, attempt);
        let last_words = last_words.map_err(Failure::because("CreateContainerConfigError"))?;
        let is_free =
            |words: &cri::Mount| mounts.iter().all(|mount| mount.container_path != words.container_path);
        mounts.extend(last_words.filter(is_free));
        log_files::trim(&self.log_dir().join(&container.name), attempt);
        let resources = self.limits(pod, container);
        let target = self.target(pod, &container.name).await?;
        let ground = Ground { environment: &environment, image, mounts, resources, target };
        let group = self.context.groups.pod(QosClass::of(pod), &self.id.uid);
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(order::container(pod, container, attempt, ground)),
            sandbox_config: Some(self.config(pod, sandbox.attempt, &self.log_dir(), &group)),
        };
        let _whole = self.making.lock().await;
        self.context.engine.create_container(request).await.map_err(Failure::because("CreateContainerError"))
    }

    /// The run of the container whose processes `name` asks to see.
    async fn target(&self, pod: &Pod, name: &str) -> Result<Option<String>, Failure> {
        let Some(target) = ephemeral::target(pod, name).filter(|target| !target.is_empty()) else {
            return Ok(None);
        };
        let observed = self.context.engine.observe(&self.id.uid).await;
        let observed = observed.map_err(Failure::because("CreateContainerError"))?;
        let run = observed.newest(target).filter(|run| run.is_alive()).map(|run| run.id.clone());
        let message = format!("unable to find target container {target}");
        run.map(Some).ok_or(Failure { reason: "CreateContainerError", message })
    }

    /// The container's own mounts and `/etc/hosts`.
    fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        environment: &Environment,
    ) -> Result<Vec<cri::Mount>, Failure> {
        let places = self.places.clone().unwrap_or_default();
        let mounts = order::mounts(container, &places, environment);
        let mut mounts = mounts.map_err(Failure::because("CreateContainerConfigError"))?;
        let taken = mounts.iter().any(|mount| mount.container_path == "/etc/hosts");
        let on_host = pod.spec.as_ref().is_some_and(resources::uses_host_network);
        if !taken && !on_host {
            let dir = self.context.pod_dir(&self.id.uid);
            let file = dir.join("etc-hosts");
            let written = std::fs::create_dir_all(&dir)
                .and_then(|()| std::fs::write(&file, order::hosts_file(pod, &self.ips)));
            written.map_err(Failure::because("CreateContainerConfigError"))?;
            mounts.push(cri::Mount {
                container_path: "/etc/hosts".to_owned(),
                host_path: file.display().to_string(),
                ..cri::Mount::default()
            });
        }
        Ok(mounts)
    }
}

/// A container that must not run as root is refused when its image would make it do so.
fn check_user(pod: &Pod, container: &Container, image: &cri::Image) -> Result<(), Failure> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let demanded =
        own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|of_pod| of_pod.run_as_non_root));
    let stated = own.and_then(|own| own.run_as_user).or(of_pod.and_then(|of_pod| of_pod.run_as_user));
    let of_image = image.uid.as_ref().map_or(0, |uid| uid.value);
    let is_root = stated.unwrap_or(of_image) == 0 && (stated.is_some() || image.username.is_empty());
    if demanded != Some(true) || !is_root {
        return Ok(());
    }
    let message = "container has runAsNonRoot and image will run as root".to_owned();
    Err(Failure { reason: "CreateContainerConfigError", message })
}

/// Why a group cannot have this limit now, if so: files can be dropped to make room, all else cannot.
fn below_use(limit: Option<Bytes>, used: Option<InUse>) -> Option<String> {
    let (limit, used) = (limit?, used?.without_files());
    (used > limit)
        .then(|| format!("the memory limit of {} bytes is below the {} bytes in use", limit.0, used.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_waits_until_what_cannot_be_dropped_fits() {
        let used = InUse { all: Bytes(100), inactive_file: Bytes(20), active_file: Bytes(30) };
        assert_eq!(below_use(Some(Bytes(50)), Some(used)), None);
        let why = below_use(Some(Bytes(49)), Some(used));
        assert_eq!(why.as_deref(), Some("the memory limit of 49 bytes is below the 50 bytes in use"));
        assert_eq!((below_use(None, Some(used)), below_use(Some(Bytes(1)), None)), (None, None));
    }
}

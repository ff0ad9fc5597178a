//! What happens around the life of a container: `postStart`, `preStop`, and its end.

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};

use super::{Context, ephemeral};
use crate::probes::ask::{Target, ask};

/// Ends a container: `preStop` first, then its stop signal, and after the grace period by force.
pub(super) async fn kill(
    context: &Context,
    pod: &Pod,
    (id, name): (&str, &str),
    grace_seconds: i64,
    why: &str,
) {
    let message = if why.is_empty() { format!("Stopping container {name}") } else { why.to_owned() };
    context.recorder.normal(pod, Some(name), "Killing", message);
    let grace = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
    let started = kit::clock::monotonic();
    let container = find(pod, name);
    let handler = container.as_ref().and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(container), Some(handler)) = (&container, handler)
        && !grace.is_zero()
    {
        let ran = tokio::time::timeout(grace, run(context, pod, id, container, handler)).await;
        if let Ok(Err(why)) = ran {
            context.recorder.warning(
                pod,
                Some(name),
                "FailedPreStopHook",
                format!("PreStopHook failed: {why}"),
            );
        }
    }
    // As kubelets do, a container whose hook took all the grace still gets a moment.
    let left = grace.saturating_sub(started.elapsed()).max(Duration::from_secs(2).min(grace));
    if let Err(error) = context.engine.stop_container(id, left).await {
        tracing::warn!(container = %id, error = %kit::Chain(&error), "Container not stopped; trying again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Runs a hook of `container`, whose run is `id`.
pub(super) async fn run(
    context: &Context,
    pod: &Pod,
    id: &str,
    container: &Container,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    let target = Target { container_id: id.to_owned(), container: container.clone(), ip };
    let action = Probe {
        exec: handler.exec.clone(),
        http_get: handler.http_get.clone(),
        tcp_socket: handler.tcp_socket.clone(),
        // The grace period limits hooks, not a timeout of their own.
        timeout_seconds: Some(3600),
        ..Probe::default()
    };
    ask(&context.engine, &target, &action).await
}

/// The container of this name, of whichever kind.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = pod.spec.as_ref()?;
    let lasting = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut all = lasting.map(Cow::Borrowed).chain(ephemeral::containers(spec).map(Cow::Owned));
    all.find(|container| container.name == name)
}

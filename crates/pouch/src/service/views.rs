//! How sandboxes, containers and images look to callers.

use std::collections::HashMap;

use serde_json::json;

use crate::cri;
use crate::engine::record::{Container, ContainerRecord, Phase, SandboxRecord};
use crate::image::Image;

pub(super) fn has_labels(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

pub(super) fn sandbox_state(record: &SandboxRecord) -> cri::PodSandboxState {
    if record.ready { cri::PodSandboxState::SandboxReady } else { cri::PodSandboxState::SandboxNotready }
}

/// Of lists, which are asked for once a second: no more of the record is copied than is told.
pub(super) fn sandbox(record: &SandboxRecord) -> cri::PodSandbox {
    cri::PodSandbox {
        state: sandbox_state(record).into(),
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

pub(super) fn sandbox_status(record: SandboxRecord) -> cri::PodSandboxStatus {
    let options =
        record.config.linux.as_ref().and_then(|linux| linux.security_context.clone()?.namespace_options);
    cri::PodSandboxStatus {
        state: sandbox_state(&record).into(),
        id: record.id,
        metadata: record.config.metadata,
        created_at: record.created_at,
        network: Some(cri::PodSandboxNetworkStatus {
            ip: record.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            additional_ips: Vec::new(),
        }),
        linux: Some(cri::LinuxPodSandboxStatus { namespaces: Some(cri::Namespace { options }) }),
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.runtime_handler,
    }
}

pub(super) fn container_state(phase: &Phase) -> cri::ContainerState {
    match phase {
        Phase::Created => cri::ContainerState::ContainerCreated,
        Phase::Running { .. } => cri::ContainerState::ContainerRunning,
        Phase::Exited(_) => cri::ContainerState::ContainerExited,
    }
}

/// Of lists, as a [`sandbox`].
pub(super) fn container(record: &ContainerRecord, state: cri::ContainerState) -> cri::Container {
    cri::Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox.clone(),
        metadata: record.config.metadata.clone(),
        image: record.config.image.clone(),
        image_ref: record.image_ref.clone(),
        state: state.into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image_id.clone(),
    }
}

pub(super) fn container_status(container: &Container) -> cri::ContainerStatus {
    let phase = container.phase();
    let record = container.record();
    let resources = container.resources();
    let user = cri::LinuxContainerUser {
        uid: record.uid.into(),
        gid: record.gid.into(),
        supplemental_groups: record.groups.iter().map(|gid| i64::from(*gid)).collect(),
    };
    let mut status = cri::ContainerStatus {
        state: container_state(&phase).into(),
        log_path: record.log.map(|path| path.display().to_string()).unwrap_or_default(),
        id: record.id,
        metadata: record.config.metadata,
        created_at: record.created_at,
        image: record.config.image,
        image_ref: record.image_ref,
        image_id: record.image_id,
        labels: record.config.labels,
        annotations: record.config.annotations,
        mounts: record.config.mounts,
        resources: Some(cri::ContainerResources { linux: Some(resources) }),
        user: Some(cri::ContainerUser { linux: Some(user) }),
        ..Default::default()
    };
    describe_phase(phase, &mut status);
    status
}

fn describe_phase(phase: Phase, status: &mut cri::ContainerStatus) {
    match phase {
        Phase::Created => {}
        Phase::Running { started_at } => status.started_at = started_at,
        Phase::Exited(exit) => {
            status.started_at = exit.started_at.unwrap_or_default();
            status.finished_at = exit.finished_at;
            status.exit_code = exit.code;
            let reason = match (exit.oom_killed, exit.code) {
                (true, _) => "OOMKilled",
                (false, 0) => "Completed",
                (false, _) => "Error",
            };
            reason.clone_into(&mut status.reason);
        }
    }
}

/// For `verbose`: the process, the cgroup, what could not be as asked.
pub(super) fn container_info(record: &ContainerRecord) -> HashMap<String, String> {
    let info = json!({
        "pid": record.processes.map(|processes| processes.init.pid),
        "shimPid": record.processes.map(|processes| processes.shim.pid),
        "sandboxID": record.sandbox,
        "runtime": record.runtime,
        "cgroup": record.cgroup,
        "adjustments": record.adjustments,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

pub(super) fn sandbox_info(record: &SandboxRecord) -> HashMap<String, String> {
    let info = json!({
        "runtime": record.runtime,
        "namespaces": record.namespaces,
        "hostname": record.hostname,
    });
    HashMap::from([("info".to_owned(), info.to_string())])
}

pub(super) fn image(image: Image) -> cri::Image {
    let user = image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let user = user.split(':').next().unwrap_or_default().to_owned();
    // A caller learns from it whether the image runs as root: a number, or a name to look up. No word is root.
    let (uid, username) = match (user.as_str(), user.parse()) {
        ("", _) => (Some(0), String::new()),
        (_, Ok(uid)) => (Some(uid), String::new()),
        (_, Err(_)) => (None, user),
    };
    cri::Image {
        spec: Some(cri::ImageSpec { image: image.id.clone(), ..Default::default() }),
        id: image.id,
        repo_tags: image.references,
        repo_digests: image.repo_digests,
        size: image.size,
        uid: uid.map(|value| cri::Int64Value { value }),
        username,
        pinned: false,
    }
}

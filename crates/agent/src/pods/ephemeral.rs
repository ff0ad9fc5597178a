//! Ephemeral containers: they come to a Pod that runs already, look on, and are never started again. Pure.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

/// The ephemeral containers of a Pod as containers like any other.
pub fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> {
    spec.ephemeral_containers.iter().flatten().map(as_container)
}

/// The container whose processes `name` asks to see.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let mut all = pod.spec.as_ref()?.ephemeral_containers.iter().flatten();
    all.find(|container| container.name == name)?.target_container_name.as_deref()
}

fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let ephemeral = ephemeral.clone();
    Container {
        args: ephemeral.args,
        command: ephemeral.command,
        env: ephemeral.env,
        env_from: ephemeral.env_from,
        image: ephemeral.image,
        image_pull_policy: ephemeral.image_pull_policy,
        name: ephemeral.name,
        restart_policy: Some("Never".to_owned()),
        security_context: ephemeral.security_context,
        stdin: ephemeral.stdin,
        stdin_once: ephemeral.stdin_once,
        termination_message_path: ephemeral.termination_message_path,
        termination_message_policy: ephemeral.termination_message_policy,
        tty: ephemeral.tty,
        volume_devices: ephemeral.volume_devices,
        volume_mounts: ephemeral.volume_mounts,
        working_dir: ephemeral.working_dir,
        ..Container::default()
    }
}

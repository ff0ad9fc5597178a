//! The orders to the engine for a Pod: its sandbox and its containers, in CRI's terms. Pure.

use std::collections::HashMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, SecurityContext, VolumeMount};
use model::Quantity;
use pouch::cri;
use pouch::network::shape::EGRESS;

use super::observed::label;
use crate::env::Environment;
use crate::resources::uses_host_network;
use crate::volumes::{Places, VolumeError, sub_path};

/// Who a Pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodId {
    pub fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// The name of the Pod's directory of logs.
    pub fn log_dir_name(&self) -> String {
        format!("{}_{}_{}", self.namespace, self.name, self.uid)
    }

    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([
            (label::POD_NAME.to_owned(), self.name.clone()),
            (label::POD_NAMESPACE.to_owned(), self.namespace.clone()),
            (label::POD_UID.to_owned(), self.uid.clone()),
        ])
    }
}

/// The sandbox of `pod`.
pub fn sandbox(
    pod: &Pod,
    attempt: u32,
    log_dir: &Path,
    group: &str,
    dns: &cri::DnsConfig,
) -> cri::PodSandboxConfig {
    let id = PodId::of(pod);
    let spec = pod.spec.clone().unwrap_or_default();
    let context = spec.security_context.clone().unwrap_or_default();
    let sysctls = context.sysctls.iter().flatten().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()));
    let linux = cri::LinuxPodSandboxConfig {
        cgroup_parent: format!("/{group}"),
        sysctls: sysctls.collect(),
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces(&spec)),
            run_as_user: context.run_as_user.map(|value| cri::Int64Value { value }),
            run_as_group: context.run_as_group.map(|value| cri::Int64Value { value }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut labels: HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(id.labels());
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    cri::PodSandboxConfig {
        hostname: if uses_host_network(&spec) {
            String::new()
        } else {
            spec.hostname.clone().unwrap_or_else(|| hostname(&id.name))
        },
        log_directory: log_dir.display().to_string(),
        dns_config: Some(dns_of(&spec, dns)),
        port_mappings: port_mappings(&spec),
        labels,
        annotations: annotations.into_iter().collect(),
        linux: Some(linux),
        metadata: Some(cri::PodSandboxMetadata {
            name: id.name,
            uid: id.uid,
            namespace: id.namespace,
            attempt,
        }),
    }
}

/// The engine takes no higher rate: a petabit per second.
const MOST_BITS: u64 = 1_000_000_000_000_000;

/// Lets a Pod send no faster than `most`, in bytes per second, whatever faster or unreadable rate it asks for.
pub(super) fn bound_egress(annotations: &mut HashMap<String, String>, most: u64) {
    let most = most.saturating_mul(8).min(MOST_BITS);
    let own = annotations.get(EGRESS).and_then(|own| Quantity::parse(own).ok()).map(|own| own.to_units());
    if own.is_none_or(|own| own > i128::from(most)) {
        annotations.insert(EGRESS.to_owned(), most.to_string());
    }
}

/// A host name has at most 63 characters and does not end in a separator.
fn hostname(name: &str) -> String {
    let cut = name.char_indices().nth(63).map_or(name.len(), |(at, _)| at);
    name[..cut].trim_end_matches(['-', '.']).to_owned()
}

fn dns_of(spec: &PodSpec, host: &cri::DnsConfig) -> cri::DnsConfig {
    let own = spec.dns_config.clone().unwrap_or_default();
    let mut dns =
        if spec.dns_policy.as_deref() == Some("None") { cri::DnsConfig::default() } else { host.clone() };
    dns.servers.extend(own.nameservers.into_iter().flatten());
    dns.searches.extend(own.searches.into_iter().flatten());
    dns.options.extend(own.options.into_iter().flatten().filter_map(|option| {
        let name = option.name?;
        Some(option.value.map_or(name.clone(), |value| format!("{name}:{value}")))
    }));
    dns
}

fn port_mappings(spec: &PodSpec) -> Vec<cri::PortMapping> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let host = ports.filter(|port| port.host_port.is_some_and(|port| port != 0));
    host.map(|port| cri::PortMapping {
        protocol: match port.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp.into(),
            Some("SCTP") => cri::Protocol::Sctp.into(),
            _ => cri::Protocol::Tcp.into(),
        },
        container_port: port.container_port,
        host_port: port.host_port.unwrap_or_default(),
        host_ip: port.host_ip.clone().unwrap_or_default(),
    })
    .collect()
}

fn namespaces(spec: &PodSpec) -> cri::NamespaceOption {
    let node_if = |shared: Option<bool>, otherwise: cri::NamespaceMode| {
        i32::from(if shared == Some(true) { cri::NamespaceMode::Node } else { otherwise })
    };
    let pid = if spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: node_if(spec.host_network, cri::NamespaceMode::Pod),
        ipc: node_if(spec.host_ipc, cri::NamespaceMode::Pod),
        pid: node_if(spec.host_pid, pid),
        target_id: String::new(),
    }
}

/// What a container's order needs besides the Pod.
#[derive(Debug)]
pub struct Ground<'a> {
    pub environment: &'a Environment,
    pub image: &'a str,
    pub mounts: Vec<cri::Mount>,
    pub resources: cri::LinuxContainerResources,
    /// The run whose processes the container sees, of one that asks to see another's.
    pub target: Option<String>,
}

/// The container of `pod` named in `container`, as its `attempt`th restart.
pub fn container(pod: &Pod, container: &Container, attempt: u32, ground: Ground<'_>) -> cri::ContainerConfig {
    let id = PodId::of(pod);
    let spec = pod.spec.clone().unwrap_or_default();
    let environment = ground.environment;
    let expand = |words: &Option<Vec<String>>| {
        words.iter().flatten().map(|word| environment.expand(word)).collect::<Vec<String>>()
    };
    let mut security = security(&spec, container);
    if let (Some(target), Some(namespaces)) = (ground.target, &mut security.namespace_options) {
        namespaces.pid = cri::NamespaceMode::Target.into();
        namespaces.target_id = target;
    }
    let mut labels = id.labels();
    labels.insert(label::CONTAINER_NAME.to_owned(), container.name.clone());
    let user_specified = container.image.clone().unwrap_or_default();
    let env = |(key, value): (&str, &str)| cri::KeyValue { key: key.to_owned(), value: value.to_owned() };
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt }),
        image: Some(cri::ImageSpec {
            image: ground.image.to_owned(),
            user_specified_image: user_specified,
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: environment.iter().map(env).collect(),
        mounts: ground.mounts,
        labels,
        log_path: format!("{}/{attempt}.log", container.name),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(ground.resources),
            security_context: Some(security),
        }),
        ..Default::default()
    }
}

const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn security(spec: &PodSpec, container: &Container) -> cri::LinuxContainerSecurityContext {
    let of_pod: PodSecurityContext = spec.security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.unwrap_or_default();
    let profile = own.seccomp_profile.or(of_pod.seccomp_profile);
    let paths = |paths: &[&str]| {
        if privileged { Vec::new() } else { paths.iter().map(|path| (*path).to_owned()).collect() }
    };
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: own.run_as_user.or(of_pod.run_as_user).map(|value| cri::Int64Value { value }),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(|value| cri::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: of_pod
            .supplemental_groups
            .into_iter()
            .flatten()
            .chain(of_pod.fs_group)
            .collect(),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(
            profile.as_ref().map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())),
        )),
        ..Default::default()
    }
}

/// Pods that ask for no profile get the engine's own: a container that needs more says so.
fn seccomp(profile: Option<(&str, Option<&str>)>) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (profile_type, reference) = match profile {
        Some(("Unconfined", _)) => (ProfileType::Unconfined, None),
        Some(("Localhost", reference)) => (ProfileType::Localhost, reference),
        _ => (ProfileType::RuntimeDefault, None),
    };
    cri::SecurityProfile {
        profile_type: profile_type.into(),
        localhost_ref: reference.unwrap_or_default().to_owned(),
    }
}

/// The mounts that `container` asks for, with volumes where `places` has them.
pub fn mounts(
    container: &Container,
    places: &Places,
    environment: &Environment,
) -> Result<Vec<cri::Mount>, VolumeError> {
    container.volume_mounts.iter().flatten().map(|mount| one_mount(mount, places, environment)).collect()
}

fn one_mount(
    mount: &VolumeMount,
    places: &Places,
    environment: &Environment,
) -> Result<cri::Mount, VolumeError> {
    let unknown = || VolumeError::Unknown(mount.name.clone());
    let place = places.get(&mount.name).ok_or_else(unknown)?;
    let expression = mount.sub_path_expr.as_ref().map(|expression| environment.expand(expression));
    let part = expression.or_else(|| mount.sub_path.clone()).filter(|part| !part.is_empty());
    let host_path = match part {
        Some(part) => sub_path(&mount.name, place, &part)?,
        None => place.clone(),
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
        _ => cri::MountPropagation::PropagationPrivate,
    };
    Ok(cri::Mount {
        container_path: mount.mount_path.clone(),
        host_path: host_path.display().to_string(),
        readonly: mount.read_only.unwrap_or(false),
        propagation: propagation.into(),
        ..Default::default()
    })
}

/// The text of a Pod's `/etc/hosts`.
pub fn hosts_file(pod: &Pod, ips: &[String]) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let name = spec.hostname.clone().unwrap_or_else(|| hostname(&PodId::of(pod).name));
    let mut text = "# Written by crest for this Pod.\n127.0.0.1\tlocalhost\n".to_owned();
    text += "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n";
    text.extend(ips.iter().map(|ip| format!("{ip}\t{name}\n")));
    for alias in spec.host_aliases.iter().flatten() {
        text += &format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\t")
        );
    }
    text
}

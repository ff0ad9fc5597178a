//! The runtime specification of a container, from its CRI configuration and its image's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};

use crate::cri::{self, ContainerConfig, NamespaceMode, security_profile::ProfileType};
use crate::disk::{self, DiskError};

mod capabilities;
mod devices;
mod mounts;
mod seccomp;
mod user;

pub(crate) use capabilities::Host;
pub(crate) use mounts::make_directory_inside;
pub(crate) use user::Identity;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MASKED: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const UMASK: u32 = 0o022;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("neither the container nor its image names a command")]
    NoCommand,
    #[error("the working directory `{0}` is not absolute")]
    WorkingDir(String),
    #[error("a process namespace shared by the pod is not supported: choose CONTAINER, NODE or TARGET")]
    SharedPid,
    #[error("the container `{0}`, whose process namespace is wanted, does not run")]
    NoTarget(String),
    #[error("cannot set the container's capabilities")]
    Capability(#[from] capabilities::UnknownCapability),
    #[error("cannot find the container's user")]
    User(#[from] user::UserError),
    #[error("cannot set the container's mounts")]
    Mount(#[from] mounts::MountError),
    #[error("cannot give the container a device")]
    Device(#[from] devices::DeviceError),
    #[error("cannot load the system call filter")]
    Seccomp { source: DiskError },
}

/// All that a specification is made from.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub config: &'a ContainerConfig,
    pub image: &'a ImageConfiguration,
    pub rootfs: &'a Path,
    pub cgroup: &'a str,
    pub sandbox: Shared<'a>,
    pub host: &'a Host,
    /// The first process of the container whose process namespace is to be joined.
    pub target_pid: Option<i32>,
}

/// What the sandbox gives each of its containers.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    /// Namespace type and file, for those that are not the host's.
    pub namespaces: &'a BTreeMap<String, PathBuf>,
    pub hostname: &'a str,
    /// Holds `hosts`, `hostname` and `resolv.conf`.
    pub files: &'a Path,
    pub shm: &'a Path,
}

/// The specification, who runs in it, and what could not be as asked.
#[derive(Debug)]
pub(crate) struct Built {
    pub spec: Value,
    pub identity: Identity,
    pub oom_score_adj: i32,
    pub adjustments: Vec<String>,
}

pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Built, SpecError> {
    let linux = inputs.config.linux.clone().unwrap_or_default();
    let security = linux.security_context.unwrap_or_default();
    let resources = linux.resources.unwrap_or_default();
    let image_user = inputs.image.config().as_ref().and_then(|config| config.user().clone());
    let identity = user::resolve(&security, &image_user.unwrap_or_default(), inputs.rootfs)?;
    let (capabilities, missing) =
        capabilities::choose(security.capabilities.as_ref(), security.privileged, inputs.host)?;
    let mut adjustments: Vec<String> = missing
        .iter()
        .map(|name| format!("{name} is not given: this host's root does not have it"))
        .collect();
    let oom_score_adj = clamp_score(resources.oom_score_adj, inputs.host, &mut adjustments);
    let process = json!({
        "terminal": inputs.config.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "umask": UMASK, "additionalGids": identity.groups},
        "args": command(inputs)?,
        "env": environment(inputs),
        "cwd": working_dir(inputs)?,
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
    });
    let devices = devices::choose(&inputs.config.devices, security.privileged)?;
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": inputs.rootfs, "readonly": security.readonly_rootfs},
        "mounts": mounts::build(inputs, &security)?,
        "annotations": inputs.config.annotations,
        "linux": {
            "cgroupsPath": inputs.cgroup,
            "namespaces": namespaces(inputs, security.namespace_options.as_ref())?,
            "resources": limits(&resources, &devices),
            "devices": devices.nodes,
            "rootfsPropagation": mounts::root_propagation(inputs.config),
        },
    });
    if security.no_new_privs {
        spec["process"]["noNewPrivileges"] = json!(true);
    }
    if !security.privileged {
        let or_default = |given: &[String], default: &[&str]| match given {
            [] => json!(default),
            given => json!(given),
        };
        spec["linux"]["maskedPaths"] = or_default(&security.masked_paths, &MASKED);
        spec["linux"]["readonlyPaths"] = or_default(&security.readonly_paths, &READ_ONLY);
        if let Some(profile) = filter(security.seccomp.as_ref(), &capabilities)? {
            spec["linux"]["seccomp"] = profile;
        }
    }
    Ok(Built { spec, identity, oom_score_adj, adjustments })
}

/// Without a word on it a container gets the default filter, not none.
fn filter(
    wanted: Option<&cri::SecurityProfile>,
    capabilities: &std::collections::BTreeSet<String>,
) -> Result<Option<Value>, SpecError> {
    let nothing = cri::SecurityProfile::default();
    let wanted = wanted.unwrap_or(&nothing);
    match wanted.profile_type() {
        ProfileType::RuntimeDefault => Ok(Some(seccomp::default_profile(capabilities))),
        ProfileType::Unconfined => Ok(None),
        ProfileType::Localhost => {
            let profile: Value = disk::read(Path::new(&wanted.localhost_ref))
                .map_err(|source| SpecError::Seccomp { source })?;
            Ok(Some(seccomp::from_file(&profile)))
        }
    }
}

fn clamp_score(wanted: i64, host: &Host, adjustments: &mut Vec<String>) -> i32 {
    let given = wanted.clamp(host.least_oom_score_adj, 1000);
    if given != wanted {
        adjustments.push(format!("oom_score_adj is {given} instead of {wanted}: this host allows no other"));
    }
    i32::try_from(given).unwrap_or(0)
}

/// As Kubernetes has it: a command of its own makes the image's arguments void.
fn command(inputs: &Inputs<'_>) -> Result<Vec<String>, SpecError> {
    let image = inputs.image.config().clone().unwrap_or_default();
    let config = inputs.config;
    let entrypoint = match config.command.as_slice() {
        [] => image.entrypoint().clone().unwrap_or_default(),
        own => own.to_vec(),
    };
    let arguments = match config.args.as_slice() {
        [] if config.command.is_empty() => image.cmd().clone().unwrap_or_default(),
        own => own.to_vec(),
    };
    let words = [entrypoint, arguments].concat();
    if words.is_empty() { Err(SpecError::NoCommand) } else { Ok(words) }
}

/// The last word on a variable holds: the default, the image, the container.
fn environment(inputs: &Inputs<'_>) -> Vec<String> {
    let mut variables: Vec<(String, String)> = vec![
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), inputs.sandbox.hostname.to_owned()),
    ];
    if inputs.config.tty {
        variables.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let image = inputs.image.config().as_ref().and_then(|config| config.env().clone()).unwrap_or_default();
    let of_image = image.iter().filter_map(|entry| entry.split_once('='));
    let own = inputs.config.envs.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
    for (key, value) in of_image.chain(own) {
        match variables.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => value.clone_into(known),
            None => variables.push((key.to_owned(), value.to_owned())),
        }
    }
    variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

pub(crate) fn working_dir(inputs: &Inputs<'_>) -> Result<String, SpecError> {
    let of_image = || inputs.image.config().as_ref().and_then(|config| config.working_dir().clone());
    let directory = match inputs.config.working_dir.as_str() {
        "" => of_image().filter(|directory| !directory.is_empty()).unwrap_or_else(|| "/".to_owned()),
        own => own.to_owned(),
    };
    if directory.starts_with('/') { Ok(directory) } else { Err(SpecError::WorkingDir(directory)) }
}

fn namespaces(inputs: &Inputs<'_>, options: Option<&cri::NamespaceOption>) -> Result<Vec<Value>, SpecError> {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "cgroup"})];
    for (kind, path) in inputs.sandbox.namespaces {
        namespaces.push(json!({"type": kind, "path": path}));
    }
    match options.map(|options| (options.pid(), options)) {
        None | Some((NamespaceMode::Container, _)) => namespaces.push(json!({"type": "pid"})),
        Some((NamespaceMode::Node, _)) => {}
        Some((NamespaceMode::Pod, _)) => return Err(SpecError::SharedPid),
        Some((NamespaceMode::Target, options)) => {
            let no_target = || SpecError::NoTarget(options.target_id.clone());
            let pid = inputs.target_pid.ok_or_else(no_target)?;
            namespaces.push(json!({"type": "pid", "path": format!("/proc/{pid}/ns/pid")}));
        }
    }
    Ok(namespaces)
}

fn limits(resources: &cri::LinuxContainerResources, devices: &devices::Devices) -> Value {
    let mut limits = resource_limits(resources);
    limits["devices"] = json!(devices.rules);
    limits
}

/// Limits by cgroup; what is zero or empty is not set.
pub(crate) fn resource_limits(resources: &cri::LinuxContainerResources) -> Value {
    let mut limits = json!({"cpu": {}, "memory": {}});
    let mut set = |controller: &str, name: &str, value: Value| {
        if value != json!(0) && value != json!("") {
            limits[controller][name] = value;
        }
    };
    set("cpu", "shares", json!(resources.cpu_shares.max(0)));
    set("cpu", "quota", json!(resources.cpu_quota));
    set("cpu", "period", json!(resources.cpu_period.max(0)));
    set("cpu", "cpus", json!(resources.cpuset_cpus));
    set("cpu", "mems", json!(resources.cpuset_mems));
    set("memory", "limit", json!(resources.memory_limit_in_bytes));
    set("memory", "swap", json!(resources.memory_swap_limit_in_bytes));
    if !resources.unified.is_empty() {
        limits["unified"] = json!(resources.unified);
    }
    limits
}

#[cfg(test)]
mod tests;

//! The baseline: nothing that is known to break out of a container.

use serde_json::Value;

use super::Violation;
use super::facts::{Facts, by_containers, by_pod_or_containers, listed, quoted};

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sysctls that belong to a Pod alone, with the minor version since which they are allowed.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const SELINUX_TYPES: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// Since when probes and hooks may not reach for other hosts.
const HOST_PROBES_SINCE: u32 = 34;

pub(super) fn violations(facts: &Facts<'_>) -> Vec<Violation> {
    let mut found = shared(facts);
    found.extend(capabilities(facts));
    found.extend(seccomp(facts));
    found
}

/// The rules that hold in the restricted level as they are.
pub(super) fn shared(facts: &Facts<'_>) -> Vec<Violation> {
    let privileged = facts.names(|context| context["privileged"] == true);
    let proc_mount =
        facts.names(|context| context["procMount"].as_str().is_some_and(|mount| mount != "Default"));
    let host_process = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    [
        app_armor(facts),
        host_namespaces(facts),
        host_paths(facts),
        host_ports(facts),
        host_probes(facts),
        by_containers("privileged", &privileged, "must not set securityContext.privileged=true"),
        by_containers(
            "procMount",
            &proc_mount,
            "must not set securityContext.procMount to anything but Default",
        ),
        selinux(facts),
        sysctls(facts),
        by_pod_or_containers(
            "hostProcess",
            host_process(facts.pod_context()),
            &facts.names(host_process),
            "must not set securityContext.windowsOptions.hostProcess=true",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn app_armor(facts: &Facts<'_>) -> Option<Violation> {
    let annotations = facts.metadata["annotations"].as_object().into_iter().flatten();
    let is_bad_text =
        |text: &str| !(text.is_empty() || text == "runtime/default" || text.starts_with("localhost/"));
    let mut said: Vec<String> = annotations
        .filter(|(key, value)| key.starts_with(APPARMOR) && value.as_str().is_some_and(is_bad_text))
        .map(|(key, value)| format!("annotation {key}={value}"))
        .collect();
    let is_bad = |context: &Value| {
        context["appArmorProfile"]["type"]
            .as_str()
            .is_some_and(|kind| kind != "RuntimeDefault" && kind != "Localhost")
    };
    let must = "must not set securityContext.appArmorProfile.type to Unconfined";
    let by_type = by_pod_or_containers("", is_bad(facts.pod_context()), &facts.names(is_bad), must);
    said.extend(by_type.map(|violation| violation.detail));
    (!said.is_empty()).then(|| Violation { what: "forbidden AppArmor profile", detail: said.join(", ") })
}

fn capabilities(facts: &Facts<'_>) -> Option<Violation> {
    let mut names = Vec::new();
    let mut forbidden: Vec<&str> = Vec::new();
    for (name, context) in facts.contexts() {
        let added = context["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let bad: Vec<&str> = added.filter(|capability| !CAPABILITIES.contains(capability)).collect();
        if !bad.is_empty() {
            names.push(name);
            forbidden.extend(bad);
        }
    }
    forbidden.sort_unstable();
    let must = format!("must not include {} in securityContext.capabilities.add", quoted(&forbidden));
    by_containers("non-default capabilities", &names, &must)
}

fn host_namespaces(facts: &Facts<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let said: Vec<String> =
        fields.filter(|field| facts.spec[*field] == true).map(|field| format!("{field}=true")).collect();
    (!said.is_empty()).then(|| Violation { what: "host namespaces", detail: said.join(", ") })
}

fn host_paths(facts: &Facts<'_>) -> Option<Violation> {
    let volumes = facts.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| volume["name"].as_str().unwrap_or_default())
        .collect();
    (!names.is_empty()).then(|| Violation { what: "hostPath volumes", detail: listed("volume", &names) })
}

fn host_ports(facts: &Facts<'_>) -> Option<Violation> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for (name, container) in facts.containers() {
        let used = container["ports"].as_array().into_iter().flatten();
        let used: Vec<i64> =
            used.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect();
        if !used.is_empty() {
            names.push(name);
            ports.extend(used);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let (verb, plural) =
        (if names.len() == 1 { "uses" } else { "use" }, if ports.len() == 1 { "" } else { "s" });
    let ports: Vec<String> = ports.iter().map(i64::to_string).collect();
    by_containers("hostPort", &names, &format!("{verb} hostPort{plural} {}", ports.join(", ")))
}

fn host_probes(facts: &Facts<'_>) -> Option<Violation> {
    if facts.minor < HOST_PROBES_SINCE {
        return None;
    }
    let reaches = |action: &Value| {
        ["httpGet", "tcpSocket"]
            .iter()
            .any(|kind| action[*kind]["host"].as_str().is_some_and(|host| !host.is_empty()))
    };
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    let hooks = ["postStart", "preStop"];
    let is_bad = |container: &Value| {
        probes.iter().any(|probe| reaches(&container[*probe]))
            || hooks.iter().any(|hook| reaches(&container["lifecycle"][*hook]))
    };
    let names: Vec<&str> =
        facts.containers().filter(|(_, container)| is_bad(container)).map(|(name, _)| name).collect();
    let must = "must not set host in probes or lifecycle hooks";
    by_containers("probe or lifecycle host", &names, must)
}

fn selinux(facts: &Facts<'_>) -> Option<Violation> {
    let is_bad = |context: &Value| {
        let text = |field: &str| context["seLinuxOptions"][field].as_str().unwrap_or_default();
        let is_known = text("type").is_empty() || SELINUX_TYPES.contains(&text("type"));
        !is_known || !text("user").is_empty() || !text("role").is_empty()
    };
    let must = "set forbidden securityContext.seLinuxOptions";
    by_pod_or_containers("seLinuxOptions", is_bad(facts.pod_context()), &facts.names(is_bad), must)
}

fn seccomp(facts: &Facts<'_>) -> Option<Violation> {
    let is_bad = |context: &Value| context["seccompProfile"]["type"] == "Unconfined";
    let must = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    by_pod_or_containers("seccompProfile", is_bad(facts.pod_context()), &facts.names(is_bad), must)
}

fn sysctls(facts: &Facts<'_>) -> Option<Violation> {
    let set = facts.pod_context()["sysctls"].as_array().into_iter().flatten();
    let names = set.filter_map(|sysctl| sysctl["name"].as_str());
    let is_safe = |name: &str| SYSCTLS.iter().any(|(safe, since)| *safe == name && facts.minor >= *since);
    let unsafe_ones: Vec<&str> = names.filter(|name| !is_safe(name)).collect();
    (!unsafe_ones.is_empty()).then(|| Violation { what: "forbidden sysctls", detail: unsafe_ones.join(", ") })
}

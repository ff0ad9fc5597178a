//! What a Pod says that means nothing to the operating system that it asks for.

use serde_json::Value;

use super::{Faults, items, required, text};
use crate::status::FieldError;

/// Of the Pod itself.
const LINUX_ONLY: &[&str] = &["hostUsers", "shareProcessNamespace"];
/// Of the Pod itself, where they are asked for.
const LINUX_FLAGS: &[&str] = &["hostIPC", "hostPID"];
/// Of the Pod's `securityContext`.
const LINUX_ONLY_OF_POD: &[&str] = &[
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "runAsGroup",
    "runAsUser",
    "seLinuxChangePolicy",
    "seLinuxOptions",
    "seccompProfile",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "sysctls",
];
/// Of a container's.
const LINUX_ONLY_OF_CONTAINER: &[&str] = &[
    "allowPrivilegeEscalation",
    "appArmorProfile",
    "capabilities",
    "privileged",
    "procMount",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsUser",
    "seLinuxOptions",
    "seccompProfile",
];

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    let os = &spec["os"];
    if os.is_null() {
        return;
    }
    let of_os = format!("{path}.os");
    required(&of_os, os, "name", faults);
    let name = text(os, "name");
    if !matches!(name, "" | "linux" | "windows") {
        // Told of the whole, as Kubernetes does.
        faults.push(FieldError::not_supported(of_os, name, &["linux", "windows"]));
    }
    match os["name"].as_str() {
        Some("windows") => {
            forbid(path, spec, LINUX_ONLY, "windows", faults);
            let asked: Vec<&str> = LINUX_FLAGS.iter().copied().filter(|flag| spec[*flag] == true).collect();
            forbid(path, spec, &asked, "windows", faults);
            security(path, spec, (LINUX_ONLY_OF_POD, LINUX_ONLY_OF_CONTAINER), "windows", faults);
        }
        Some("linux") => {
            security(path, spec, (&["windowsOptions"], &["windowsOptions"]), "linux", faults);
        }
        _ => {}
    }
}

/// `fields` are those of the Pod's context and those of its containers'.
fn security(path: &str, spec: &Value, fields: (&[&str], &[&str]), os: &str, faults: &mut Faults) {
    forbid(&format!("{path}.securityContext"), &spec["securityContext"], fields.0, os, faults);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (path, container) in items(path, spec, list) {
            let path = format!("{path}.securityContext");
            forbid(&path, &container["securityContext"], fields.1, os, faults);
        }
    }
}

fn forbid(path: &str, object: &Value, fields: &[&str], os: &str, faults: &mut Faults) {
    for field in fields.iter().filter(|field| !object[**field].is_null()) {
        let message = format!("cannot be set for a {os} pod");
        faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
    }
}

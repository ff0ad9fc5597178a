//! What must hold of the security contexts of a Pod and of its containers.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Faults, in_range, items, list, one_of, text, unique, volume};
use crate::status::FieldError;

static SYSCTL: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    Regex::new(&format!("^({part}[./])*{part}$")).expect("the expression is a constant, and a test uses it")
});
const MAX_SYSCTL: usize = 253;
const IDS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;

/// Of the whole Pod; `path` is that of its spec.
pub(super) fn of_pod(path: &str, spec: &Value, faults: &mut Faults) {
    let (of_spec, path) = (path, format!("{path}.securityContext"));
    let context = &spec["securityContext"];
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        in_range(&path, context, field, IDS, faults);
    }
    for (path, group) in items(&path, context, "supplementalGroups") {
        if !group.as_i64().is_some_and(|group| IDS.contains(&group)) {
            let message = "must be between 0 and 2147483647, inclusive";
            faults.push(FieldError::invalid(path, group.clone(), message));
        }
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let message = "cannot be enabled together with `hostPID`";
        faults.push(FieldError::invalid(format!("{path}.shareProcessNamespace"), true, message));
    }
    one_of(&path, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], faults);
    one_of(&path, context, "supplementalGroupsPolicy", &["Merge", "Strict"], faults);
    one_of(&path, context, "seLinuxChangePolicy", &["MountOption", "Recursive"], faults);
    profiles(&path, context, faults);
    sysctls(&path, context, faults);
    if spec["hostUsers"] == false {
        // The names of the fields are told as Kubernetes writes them in its code.
        for (field, told) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
            if spec[field] == true {
                let message = "when `hostUsers` is false";
                faults.push(FieldError::forbidden(format!("{of_spec}.{told}"), message));
            }
        }
    }
}

/// Of one container; whose users are the host's, unless its Pod says otherwise.
pub(super) fn of_container(path: &str, context: &Value, host_users: bool, faults: &mut Faults) {
    for field in ["runAsUser", "runAsGroup"] {
        in_range(path, context, field, IDS, faults);
    }
    let refused = |message: &str| FieldError::invalid(path, context.clone(), message);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            faults.push(refused("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        if list(&context["capabilities"], "add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let message =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.push(refused(message));
        }
    }
    one_of(path, context, "procMount", &["Default", "Unmasked"], faults);
    if context["procMount"] == "Unmasked" && host_users {
        let message = "`hostUsers` must be false to use `Unmasked`";
        faults.push(FieldError::invalid(format!("{path}.procMount"), "Unmasked", message));
    }
    profiles(path, context, faults);
}

/// The profiles of seccomp and AppArmor: a file is named where, and only where, the profile is one.
fn profiles(path: &str, context: &Value, faults: &mut Faults) {
    for (field, what) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = &context[field];
        if profile.is_null() {
            continue;
        }
        let path = format!("{path}.{field}");
        let (kind, file) = (text(profile, "type"), &profile["localhostProfile"]);
        if kind.is_empty() {
            let message = format!("type is required when {field} is set");
            faults.push(FieldError::required(format!("{path}.type"), message));
        } else {
            one_of(&path, profile, "type", &["Localhost", "RuntimeDefault", "Unconfined"], faults);
        }
        let place = format!("{path}.localhostProfile");
        // Of an AppArmor profile without a type, or of an unknown one, nothing more is told.
        let is_judged = what == "seccomp" || matches!(kind, "RuntimeDefault" | "Unconfined");
        if kind == "Localhost" {
            local_profile(&place, what, profile, faults);
        } else if is_judged && !file.is_null() {
            let message = format!("can only be set when {what} type is Localhost");
            faults.push(FieldError::invalid(place, file.clone(), message));
        }
    }
}

fn local_profile(path: &str, what: &str, profile: &Value, faults: &mut Faults) {
    const MOST: usize = 4095;
    let file = text(profile, "localhostProfile");
    let missing = || FieldError::required(path, format!("must be set when {what} type is Localhost"));
    if profile["localhostProfile"].is_null() {
        faults.push(missing());
    } else if what == "seccomp" {
        volume::descending(path, file, faults);
    } else if file.trim() != file {
        faults.push(FieldError::invalid(path, file, "must not be padded with whitespace"));
    } else if file.is_empty() {
        faults.push(missing());
    } else if file.len() > MOST {
        faults.push(FieldError::too_long(path, MOST));
    }
}

fn sysctls(path: &str, context: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, sysctl) in items(path, context, "sysctls") {
        let name = text(sysctl, "name");
        let path = format!("{path}.name");
        if name.is_empty() {
            faults.push(FieldError::required(path, ""));
        } else if name.len() > MAX_SYSCTL || !SYSCTL.is_match(name) {
            let message = format!(
                "must have at most {MAX_SYSCTL} characters and match the expression {}",
                SYSCTL.as_str()
            );
            faults.push(FieldError::invalid(path, name, message));
        } else {
            unique(&mut seen, name, path, faults);
        }
    }
}

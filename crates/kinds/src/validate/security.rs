//! What must hold of the security contexts of a Pod and of its containers.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{Faults, in_range, items, list, one_of, text, unique};
use crate::status::FieldError;

static SYSCTL: LazyLock<Regex> = LazyLock::new(|| {
    let part = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    Regex::new(&format!("^({part}[./])*{part}$")).expect("the expression is a constant, and a test uses it")
});
const MAX_SYSCTL: usize = 253;

/// Of the whole Pod.
pub(super) fn of_pod(path: &str, context: &Value, faults: &mut Faults) {
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        in_range(path, context, field, 0..=i64::from(i32::MAX), faults);
    }
    for (path, group) in items(path, context, "supplementalGroups") {
        if !group.as_i64().is_some_and(|group| (0..=i64::from(i32::MAX)).contains(&group)) {
            let message = "must be between 0 and 2147483647, inclusive";
            faults.push(FieldError::invalid(path, group.clone(), message));
        }
    }
    one_of(path, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], faults);
    one_of(path, context, "supplementalGroupsPolicy", &["Merge", "Strict"], faults);
    profiles(path, context, faults);
    sysctls(path, context, faults);
}

/// Of one container.
pub(super) fn of_container(path: &str, context: &Value, faults: &mut Faults) {
    for field in ["runAsUser", "runAsGroup"] {
        in_range(path, context, field, 0..=i64::from(i32::MAX), faults);
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
            faults.push(FieldError::required(
                format!("{path}.type"),
                format!("type is required when {field} is set"),
            ));
            continue;
        }
        one_of(&path, profile, "type", &["Localhost", "RuntimeDefault", "Unconfined"], faults);
        let at_file = format!("{path}.localhostProfile");
        if kind != "Localhost" {
            if !file.is_null() {
                let message = format!("can only be set when {what} type is Localhost");
                faults.push(FieldError::invalid(at_file, file.clone(), message));
            }
        } else if text(profile, "localhostProfile").trim().is_empty() {
            let message = format!("must be set when {what} type is Localhost");
            faults.push(FieldError::required(at_file, message));
        } else if field == "seccompProfile" {
            let file = text(profile, "localhostProfile");
            if file.starts_with('/') {
                faults.push(FieldError::invalid(at_file.clone(), file, "must be a relative path"));
            }
            if file.split('/').any(|part| part == "..") {
                faults.push(FieldError::invalid(at_file, file, "must not contain '..'"));
            }
        }
    }
}

fn sysctls(path: &str, context: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, sysctl) in items(path, context, "sysctls") {
        let name = text(sysctl, "name");
        let path = format!("{path}.name");
        if name.is_empty() {
            faults.push(FieldError::required(path, ""));
            continue;
        }
        if name.len() > MAX_SYSCTL || !SYSCTL.is_match(name) {
            let message = format!(
                "must have at most {MAX_SYSCTL} characters and match the expression {}",
                SYSCTL.as_str()
            );
            faults.push(FieldError::invalid(path.clone(), name, message));
        }
        unique(&mut seen, name, path, faults);
    }
}

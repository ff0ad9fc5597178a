//! What must hold of a container.
//!
//! Where Kubernetes tells a fault of a whole list, or of a field under another name, so does this: clients know the
//! places.

mod environment;
mod handlers;
mod mounts;
mod resources;

use std::collections::HashSet;

use serde_json::Value;

pub(super) use self::environment::{
    OF_FILE, check as environment, field_reference, file_volumes, resource_reference,
};
pub(super) use self::mounts::check as mounts;
pub(super) use self::resources::{
    Holder, MEASURED, can_be_shared, check as resources, name as resource_name, quantity,
};
use super::{Faults, in_range, items, list, names, one_of, security, text, unique};
use crate::status::FieldError;

/// Which list of the Pod a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Init,
    Ephemeral,
}

/// What a container may refer to: parts of its Pod.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) spec: &'a Value,
    /// The names of the sound volumes.
    pub(super) volumes: HashSet<&'a str>,
    /// Whether the Pod is one, and no template: what was always allowed in templates still is.
    pub(super) is_pod: bool,
}

pub(super) fn check(
    path: &str,
    container: &Value,
    role: Role,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) {
    identity(path, container, around, faults);
    one_of(path, container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], faults);
    ports(path, container, faults);
    environment(path, container, faults);
    mounts(path, container, &around.volumes, faults);
    mounts::devices(path, container, around, faults);
    one_of(path, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], faults);
    let resources = format!("{path}.resources");
    self::resources(&resources, &container["resources"], Holder::Container, faults);
    resources::claims(&resources, &container["resources"], around.spec, faults);
    resize_policies(path, container, role, around.spec, faults);
    let host_users = around.spec["hostUsers"] != false;
    let context = format!("{path}.securityContext");
    security::of_container(&context, &container["securityContext"], host_users, faults);
    restarts(path, container, role, faults);
    match role {
        Role::Init if container["restartPolicy"] != "Always" => {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if !container[field].is_null() {
                    let message = "may not be set for init containers without restartPolicy=Always";
                    faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
                }
            }
        }
        Role::Init | Role::Main => handlers::check(path, container, around.spec, faults),
        Role::Ephemeral => {}
    }
}

fn identity(path: &str, container: &Value, around: &Surroundings<'_>, faults: &mut Faults) {
    let name = text(container, "name");
    if name.is_empty() {
        faults.push(FieldError::required(format!("{path}.name"), ""));
    } else {
        let faulty = names::label(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
    }
    let image = text(container, "image");
    if image.is_empty() {
        faults.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image && around.is_pod {
        let message = "must not have leading or trailing whitespace";
        faults.push(FieldError::invalid(format!("{path}.image"), image, message));
    }
}

fn ports(path: &str, container: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, port) in items(path, container, "ports") {
        let name = text(port, "name");
        let faulty = if name.is_empty() { Vec::new() } else { names::port_name(name) };
        if faulty.is_empty() {
            unique(&mut seen, name, format!("{path}.name"), faults);
        }
        faults
            .extend(faulty.into_iter().map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
        if port["containerPort"].as_i64().unwrap_or_default() == 0 {
            faults.push(FieldError::required(format!("{path}.containerPort"), ""));
        } else {
            in_range(&path, port, "containerPort", 1..=65535, faults);
        }
        if port["hostPort"] != 0 {
            in_range(&path, port, "hostPort", 1..=65535, faults);
        }
        one_of(&path, port, "protocol", &["TCP", "UDP", "SCTP"], faults);
    }
}

/// What the policy of a container, and its rules by exit code, may say.
fn restarts(path: &str, container: &Value, role: Role, faults: &mut Faults) {
    const MOST: usize = 20;
    if role == Role::Ephemeral {
        return;
    }
    let rules = list(container, "restartPolicyRules");
    one_of(path, container, "restartPolicy", &["Always", "Never", "OnFailure"], faults);
    if container["restartPolicy"].is_null() {
        if !rules.is_empty() {
            let message = "must be specified where there are rules for restarts";
            faults.push(FieldError::required(format!("{path}.restartPolicy"), message));
        }
        if role == Role::Init {
            return;
        }
    }
    if rules.len() > MOST {
        faults.push(FieldError::too_many(format!("{path}.restartPolicyRules"), rules.len(), MOST));
    }
    for (path, rule) in items(path, container, "restartPolicyRules") {
        if rule["action"] != "Restart" {
            let action = text(rule, "action");
            faults.push(FieldError::not_supported(format!("{path}.action"), action, &["Restart"]));
        }
        let codes = &rule["exitCodes"];
        if codes.is_null() {
            faults.push(FieldError::required(format!("{path}.exitCodes"), "must be specified"));
        } else if !matches!(text(codes, "operator"), "In" | "NotIn") {
            let path = format!("{path}.exitCodes.operator");
            faults.push(FieldError::not_supported(path, text(codes, "operator"), &["In", "NotIn"]));
        }
    }
}

/// Faults are told of the whole list.
fn resize_policies(path: &str, container: &Value, role: Role, spec: &Value, faults: &mut Faults) {
    const RESOURCES: &[&str] = &["cpu", "memory"];
    const POLICIES: &[&str] = &["NotRequired", "RestartContainer"];
    let path = format!("{path}.resizePolicy");
    let mut seen = HashSet::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        unique(&mut seen, text(policy, "resourceName"), format!("{path}[{index}]"), faults);
        for (field, supported) in [("resourceName", RESOURCES), ("restartPolicy", POLICIES)] {
            match text(policy, field) {
                "" => faults.push(FieldError::required(path.as_str(), "")),
                value if supported.contains(&value) => {}
                value => faults.push(FieldError::not_supported(path.as_str(), value, supported)),
            }
        }
        let restart = text(policy, "restartPolicy");
        if spec["restartPolicy"] == "Never" && restart != "NotRequired" {
            let message = "must be 'NotRequired' when the Pod's `restartPolicy` is 'Never'";
            faults.push(FieldError::invalid(path.as_str(), restart, message));
        }
        if role == Role::Init && container["restartPolicy"] != "Always" && restart == "RestartContainer" {
            let message = "may not be 'RestartContainer' for init containers that do not run on";
            faults.push(FieldError::invalid(format!("{path}[{index}].restartPolicy"), restart, message));
        }
    }
}

//! What must hold of a container.

use std::collections::HashSet;

use model::Quantity;
use serde_json::Value;

use super::{Faults, in_range, items, names, not_negative, one_of, required, text, unique};
use crate::status::FieldError;

/// Which list of the Pod a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Init,
}

pub(super) fn check(path: &str, container: &Value, role: Role, faults: &mut Faults) {
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
    } else if image.trim() != image {
        let message = "must not have leading or trailing whitespace";
        faults.push(FieldError::invalid(format!("{path}.image"), image, message));
    }
    one_of(path, container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], faults);
    one_of(path, container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], faults);
    one_of(path, container, "restartPolicy", &["Always", "OnFailure", "Never"], faults);
    environment(path, container, faults);
    resources(&format!("{path}.resources"), &container["resources"], faults);
    super::security::of_container(&format!("{path}.securityContext"), &container["securityContext"], faults);
    resize_policies(&format!("{path}.resizePolicy"), container, faults);
    for field in ["postStart", "preStop"] {
        let hook = &container["lifecycle"][field];
        if !hook.is_null() {
            handlers(
                &format!("{path}.lifecycle.{field}"),
                hook,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                faults,
            );
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[field];
        if !probe.is_null() {
            self::probe(&format!("{path}.{field}"), probe, field, faults);
        }
    }
    let sidecar = container["restartPolicy"] == "Always";
    if role == Role::Init && !sidecar {
        for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            if !container[field].is_null() {
                let message = "may not be set for init containers without restartPolicy=Always";
                faults.push(FieldError::forbidden(format!("{path}.{field}"), message));
            }
        }
    }
}

pub(super) fn environment(path: &str, container: &Value, faults: &mut Faults) {
    for (path, variable) in items(path, container, "env") {
        let name = text(variable, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(fault) = names::env_name(name) {
            faults.push(FieldError::invalid(format!("{path}.name"), name, fault));
        }
        if variable["valueFrom"].is_object() {
            value_from(&path, variable, faults);
        }
    }
    for (path, source) in items(path, container, "envFrom") {
        if source["configMapRef"].is_null() && source["secretRef"].is_null() {
            let message = "must specify one of: `configMapRef` or `secretRef`";
            faults.push(FieldError::invalid(path, "", message));
        }
    }
}

fn value_from(path: &str, variable: &Value, faults: &mut Faults) {
    let path = format!("{path}.valueFrom");
    let source = &variable["valueFrom"];
    if !text(variable, "value").is_empty() {
        faults.push(FieldError::invalid(path.clone(), "", "may not be specified when `value` is not empty"));
    }
    let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = sources.into_iter().filter(|name| source[*name].is_object()).collect();
    match given.as_slice() {
        [] => {
            let message =
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            faults.push(FieldError::invalid(path.clone(), "", message));
        }
        [_one] => {}
        _ => {
            let message = "may not have more than one field specified at a time";
            faults.push(FieldError::invalid(path.clone(), "", message));
        }
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        if source[name].is_object() {
            required(&format!("{path}.{name}"), &source[name], "name", faults);
            required(&format!("{path}.{name}"), &source[name], "key", faults);
        }
    }
    if source["fieldRef"].is_object() {
        field_reference(&format!("{path}.fieldRef"), &source["fieldRef"], OF_ENVIRONMENT, faults);
    }
    if source["resourceFieldRef"].is_object() {
        resource_reference(&format!("{path}.resourceFieldRef"), &source["resourceFieldRef"], faults);
    }
}

/// The fields of its Pod that a container can be told in a variable.
const OF_ENVIRONMENT: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Those that it can be told in a file.
pub(super) const OF_FILE: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Those that have a name at all.
const NAMED: &[&str] =
    &["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

pub(super) fn field_reference(path: &str, reference: &Value, told: &[&str], faults: &mut Faults) {
    required(path, reference, "fieldPath", faults);
    let field = text(reference, "fieldPath");
    let path = format!("{path}.fieldPath");
    let of_map = field.strip_suffix("']").and_then(|field| field.split_once("['"));
    match of_map {
        _ if field.is_empty() || told.contains(&field) => {}
        Some(("metadata.annotations" | "metadata.labels", key)) => {
            let faulty = names::qualified_name(key).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), key, fault)));
        }
        Some(_) => faults.push(FieldError::invalid(path, field, "does not support subscript")),
        None if OF_ENVIRONMENT.contains(&field) || NAMED.contains(&field) => {
            faults.push(FieldError::not_supported(path, field, told));
        }
        None => {
            let message = format!("error converting fieldPath: field label not supported: {field}");
            faults.push(FieldError::invalid(path, field, message));
        }
    }
}

pub(super) fn resource_reference(path: &str, reference: &Value, faults: &mut Faults) {
    const RESOURCES: &[&str] = &[
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let resource = text(reference, "resource");
    let is_huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|huge| resource.starts_with(huge));
    if resource.is_empty() {
        faults.push(FieldError::required(format!("{path}.resource"), ""));
    } else if !is_huge && !RESOURCES.contains(&resource) {
        faults.push(FieldError::not_supported(format!("{path}.resource"), resource, RESOURCES));
    }
}

pub(super) fn ports(path: &str, container: &Value, host_network: bool, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, port) in items(path, container, "ports") {
        let name = text(port, "name");
        if !name.is_empty() {
            let faulty = names::port_name(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            unique(&mut seen, name, format!("{path}.name"), faults);
        }
        let number = port["containerPort"].as_i64().unwrap_or_default();
        if number == 0 {
            faults.push(FieldError::required(format!("{path}.containerPort"), ""));
        }
        if number != 0 {
            in_range(&path, port, "containerPort", 1..=65535, faults);
        }
        let host_port = port["hostPort"].as_i64().unwrap_or_default();
        if host_port != 0 {
            in_range(&path, port, "hostPort", 1..=65535, faults);
            if host_network && host_port != number {
                let message = "must match `containerPort` when `hostNetwork` is true";
                faults.push(FieldError::invalid(format!("{path}.hostPort"), host_port, message));
            }
        }
        one_of(&path, port, "protocol", &["TCP", "UDP", "SCTP"], faults);
    }
}

pub(super) fn mounts(path: &str, container: &Value, volumes: &HashSet<&str>, faults: &mut Faults) {
    let mut paths = HashSet::new();
    for (mount_path, mount) in items(path, container, "volumeMounts") {
        let name = text(mount, "name");
        if name.is_empty() {
            faults.push(FieldError::required(format!("{mount_path}.name"), ""));
        } else if !volumes.contains(name) {
            faults.push(FieldError::not_found(format!("{mount_path}.name"), name));
        }
        let place = text(mount, "mountPath");
        if place.is_empty() {
            faults.push(FieldError::required(format!("{mount_path}.mountPath"), ""));
        } else if !paths.insert(place) {
            faults.push(FieldError::invalid(format!("{mount_path}.mountPath"), place, "must be unique"));
        }
        one_of(&mount_path, mount, "mountPropagation", PROPAGATIONS, faults);
        let (sub_path, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !sub_path.is_empty() && !expression.is_empty() {
            let message = "subPathExpr and subPath are mutually exclusive";
            faults.push(FieldError::invalid(format!("{mount_path}.subPathExpr"), expression, message));
        }
        for field in ["subPath", "subPathExpr"] {
            let sub = text(mount, field);
            let field = format!("{path}.volumeMounts.{field}");
            if sub.starts_with('/') {
                faults.push(FieldError::invalid(field, sub, "must be a relative path"));
            } else if sub.split('/').any(|part| part == "..") {
                faults.push(FieldError::invalid(field, sub, "must not contain '..'"));
            }
        }
    }
}

const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];

/// Devices are volumes, too; where they appear is theirs alone.
pub(super) fn devices(path: &str, container: &Value, volumes: &HashSet<&str>, faults: &mut Faults) {
    let mut paths = HashSet::new();
    for (path, device) in items(path, container, "volumeDevices") {
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            faults.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            faults.push(FieldError::not_found(format!("{path}.name"), name));
        }
        if place.is_empty() {
            faults.push(FieldError::required(format!("{path}.devicePath"), ""));
        } else if !paths.insert(place) {
            faults.push(FieldError::invalid(format!("{path}.devicePath"), place, "must be unique"));
        }
    }
}

/// Whether containers may ask for a resource of this name.
fn is_of_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

fn resources(path: &str, resources: &Value, faults: &mut Faults) {
    for list in ["limits", "requests"] {
        for (name, quantity) in resources[list].as_object().into_iter().flatten() {
            let path = format!("{path}.{list}[{name}]");
            self::quantity(&path, name, quantity, faults);
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let (Some(asked), Some(allowed)) = (parse(request), parse(limit)) else { continue };
        let limit = limit.as_str().unwrap_or_default();
        if asked > allowed {
            let message = format!("must be less than or equal to {name} limit of {limit}");
            faults.push(FieldError::invalid(format!("{path}.requests"), request.clone(), message));
        }
    }
    let asks_for = |wanted: fn(&str) -> bool| {
        ["limits", "requests"]
            .iter()
            .any(|list| resources[*list].as_object().into_iter().flatten().any(|(name, _)| wanted(name)))
    };
    if asks_for(|name| name.starts_with("hugepages-")) && !asks_for(|name| matches!(name, "cpu" | "memory")) {
        faults.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
    for (path, claim) in items(path, resources, "claims") {
        faults.push(FieldError::not_found(path, text(claim, "name")));
    }
}

/// Resources that are counted elsewhere: of volumes, of quotas.
fn is_of_nodes(name: &str) -> bool {
    const COUNTED: &[&str] = &[
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
        "storage",
    ];
    COUNTED.contains(&name) || name.starts_with("requests.") || name.starts_with("limits.")
}

fn quantity(path: &str, name: &str, quantity: &Value, faults: &mut Faults) {
    let faulty = names::qualified_name(name).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(path, name, fault)));
    if !name.contains('/') && !is_of_containers(name) {
        if !is_of_nodes(name) {
            let message = "must be a standard resource type or fully qualified";
            faults.push(FieldError::invalid(path, name, message));
        }
        faults.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    let Some(parsed) = parse(quantity) else { return };
    if parsed.is_negative() {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be greater than or equal to 0"));
    }
    // Only cpu is shared in parts; extended resources are counted.
    let whole = parsed.to_milli() == parsed.to_units() * 1000;
    if name.contains('/') && !whole {
        faults.push(FieldError::invalid(path, quantity.clone(), "must be an integer"));
    }
}

fn parse(quantity: &Value) -> Option<Quantity> {
    Quantity::parse(quantity.as_str()?).ok()
}

fn probe(path: &str, probe: &Value, field: &str, faults: &mut Faults) {
    for number in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        not_negative(path, probe, number, faults);
    }
    handlers(path, probe, &["exec", "httpGet", "tcpSocket", "grpc"], faults);
    let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
    if field != "readinessProbe" && threshold != 1 {
        faults.push(FieldError::invalid(format!("{path}.successThreshold"), threshold, "must be 1"));
    }
}

/// One of `known`, and only one.
fn handlers(path: &str, object: &Value, known: &[&str], faults: &mut Faults) {
    let given: Vec<&str> = known.iter().copied().filter(|handler| object[*handler].is_object()).collect();
    if given.is_empty() {
        faults.push(FieldError::required(path, "must specify a handler type"));
    }
    for extra in given.iter().skip(1) {
        let message = "may not specify more than 1 handler type";
        faults.push(FieldError::forbidden(format!("{path}.{extra}"), message));
    }
    for handler in given {
        self::handler(&format!("{path}.{handler}"), &object[handler], handler, faults);
    }
}

/// Faults are told of the whole list, as Kubernetes does.
fn resize_policies(path: &str, container: &Value, faults: &mut Faults) {
    const RESOURCES: &[&str] = &["cpu", "memory"];
    const POLICIES: &[&str] = &["NotRequired", "RestartContainer"];
    let mut seen = HashSet::new();
    for (index, policy) in super::list(container, "resizePolicy").iter().enumerate() {
        unique(&mut seen, text(policy, "resourceName"), format!("{path}[{index}]"), faults);
        for (field, supported) in [("resourceName", RESOURCES), ("restartPolicy", POLICIES)] {
            match text(policy, field) {
                "" => faults.push(FieldError::required(path, "")),
                value if supported.contains(&value) => {}
                value => faults.push(FieldError::not_supported(path, value, supported)),
            }
        }
    }
}

fn handler(path: &str, handler: &Value, name: &str, faults: &mut Faults) {
    match name {
        "exec" if super::list(handler, "command").is_empty() => {
            faults.push(FieldError::required(format!("{path}.command"), ""));
        }
        "httpGet" => {
            required(path, handler, "path", faults);
            port(path, handler, faults);
            one_of(path, handler, "scheme", &["HTTP", "HTTPS"], faults);
        }
        "tcpSocket" | "grpc" => port(path, handler, faults),
        _ => {}
    }
}

fn port(path: &str, handler: &Value, faults: &mut Faults) {
    match &handler["port"] {
        Value::Number(_) => in_range(path, handler, "port", 1..=65535, faults),
        Value::String(name) => {
            let faulty = names::port_name(name).into_iter();
            faults.extend(
                faulty.map(|fault| FieldError::invalid(format!("{path}.port"), name.as_str(), fault)),
            );
        }
        _ => faults.push(FieldError::required(format!("{path}.port"), "")),
    }
}

//! The environment of a container: service variables, `envFrom`, `env`, and `$(VAR)` in all that follows. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
    Service,
};
use model::Quantity;

use crate::sources::Sources;

/// Why the environment cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("configmap \"{0}\" not found")]
    NoConfigMap(String),
    #[error("secret \"{0}\" not found")]
    NoSecret(String),
    #[error("no token was given for {0}")]
    NoToken(String),
    #[error("couldn't find key {key} in {kind} {name}")]
    NoKey { kind: &'static str, name: String, key: String },
    #[error("field path \"{0}\" is not supported")]
    NoField(String),
    #[error("resource \"{0}\" is not supported")]
    NoResource(String),
}

/// What of the node a Pod may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    pub ip: String,
    pub milli_cpu: u64,
    pub memory: u64,
}

/// A Pod with all that its environment may refer to.
#[derive(Debug)]
pub struct Scope<'a> {
    pub pod: &'a Pod,
    pub pod_ips: &'a [String],
    pub host: &'a Host,
    pub sources: &'a Sources,
}

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    order: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Environment {
    fn set(&mut self, name: String, value: String) {
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.order.iter().filter_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// Replaces `$(NAME)` by its value; `$$` is a dollar; unknown names stay as they are.
    pub fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
            {
                match self.get(name) {
                    Some(value) => expanded.push_str(value),
                    None => expanded.extend(["$(", name, ")"]),
                }
                rest = after;
            } else {
                expanded.push('$');
            }
        }
        expanded + rest
    }
}

/// The environment of `container` in `scope`.
pub fn environment(container: &Container, scope: &Scope<'_>) -> Result<Environment, EnvError> {
    let mut environment = Environment::default();
    for service in &scope.sources.services {
        service_variables(service, &mut environment);
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let found = config_map(scope, &reference.name, reference.optional)?;
            for (key, value) in found.iter().flat_map(|found| found.data.iter().flatten()) {
                environment.set(format!("{prefix}{key}"), value.clone());
            }
        }
        if let Some(reference) = &source.secret_ref {
            let found = secret(scope, &reference.name, reference.optional)?;
            for (key, value) in found.iter().flat_map(|found| found.data.iter().flatten()) {
                environment.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(variable, container, scope, &environment)? {
            environment.set(variable.name.clone(), value);
        }
    }
    Ok(environment)
}

fn value(
    variable: &EnvVar,
    container: &Container,
    scope: &Scope<'_>,
    environment: &Environment,
) -> Result<Option<String>, EnvError> {
    match &variable.value_from {
        Some(source) => from_source(source, container, scope),
        None => Ok(Some(environment.expand(variable.value.as_deref().unwrap_or_default()))),
    }
}

fn from_source(
    source: &EnvVarSource,
    container: &Container,
    scope: &Scope<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(key) = &source.config_map_key_ref {
        let Some(found) = config_map(scope, &key.name, key.optional)? else { return Ok(None) };
        let value = found.data.as_ref().and_then(|data| data.get(&key.key)).cloned();
        return present(value, "ConfigMap", &key.name, &key.key, key.optional);
    }
    if let Some(key) = &source.secret_key_ref {
        let Some(found) = secret(scope, &key.name, key.optional)? else { return Ok(None) };
        let value = found.data.as_ref().and_then(|data| data.get(&key.key));
        let value = value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return present(value, "Secret", &key.name, &key.key, key.optional);
    }
    if let Some(selector) = &source.field_ref {
        return field(selector, scope).map(Some);
    }
    match &source.resource_field_ref {
        Some(selector) => resource(selector, container, scope).map(Some),
        None => Ok(None),
    }
}

fn present(
    value: Option<String>,
    kind: &'static str,
    name: &str,
    key: &str,
    optional: Option<bool>,
) -> Result<Option<String>, EnvError> {
    if value.is_none() && optional != Some(true) {
        return Err(EnvError::NoKey { kind, name: name.to_owned(), key: key.to_owned() });
    }
    Ok(value)
}

fn config_map<'a>(
    scope: &Scope<'a>,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a ConfigMap>, EnvError> {
    let found = scope.sources.config_maps.get(name);
    if found.is_none() && optional != Some(true) {
        return Err(EnvError::NoConfigMap(name.to_owned()));
    }
    Ok(found)
}

fn secret<'a>(scope: &Scope<'a>, name: &str, optional: Option<bool>) -> Result<Option<&'a Secret>, EnvError> {
    let found = scope.sources.secrets.get(name);
    if found.is_none() && optional != Some(true) {
        return Err(EnvError::NoSecret(name.to_owned()));
    }
    Ok(found)
}

/// The field of the Pod that `selector` names.
pub fn field(selector: &ObjectFieldSelector, scope: &Scope<'_>) -> Result<String, EnvError> {
    let metadata = &scope.pod.metadata;
    let spec = scope.pod.spec.as_ref();
    let path = selector.field_path.as_str();
    let found = match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => Some(lines(metadata.labels.as_ref())),
        "metadata.annotations" => Some(lines(metadata.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.map(|spec| spec.service_account_name.clone().unwrap_or_default()),
        "status.hostIP" | "status.hostIPs" => Some(scope.host.ip.clone()),
        "status.podIP" => Some(scope.pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Some(scope.pod_ips.join(",")),
        _ => {
            let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
            let label = keyed("metadata.labels['").map(|key| (metadata.labels.as_ref(), key));
            let keyed =
                label.or(keyed("metadata.annotations['").map(|key| (metadata.annotations.as_ref(), key)));
            keyed.map(|(map, key)| map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
        }
    };
    found.ok_or_else(|| EnvError::NoField(path.to_owned()))
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={value:?}");
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// The request or limit that `selector` names, in units of its divisor, rounded up.
pub fn resource(
    selector: &ResourceFieldSelector,
    container: &Container,
    scope: &Scope<'_>,
) -> Result<String, EnvError> {
    let unknown = || EnvError::NoResource(selector.resource.clone());
    let (side, name) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let named = selector.container_name.as_deref().and_then(|name| {
        let mut containers = scope.pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.find(|container| container.name == name)
    });
    let resources = named.unwrap_or(container).resources.as_ref();
    let stated = match side {
        "requests" => resources.and_then(|resources| resources.requests.as_ref()?.get(name)),
        "limits" => resources.and_then(|resources| resources.limits.as_ref()?.get(name)),
        _ => return Err(unknown()),
    };
    // Without a limit, what the node has is the limit.
    let host = match (side, name) {
        ("limits", "cpu") => format!("{}m", scope.host.milli_cpu),
        ("limits", "memory") => scope.host.memory.to_string(),
        _ => "0".to_owned(),
    };
    let amount =
        Quantity::parse(stated.map_or(host.as_str(), |quantity| &quantity.0)).map_err(|_| unknown())?;
    let divisor = selector.divisor.as_ref().map(|divisor| divisor.0.as_str()).filter(|text| *text != "0");
    let divisor = Quantity::parse(divisor.unwrap_or("1")).map_err(|_| unknown())?.to_milli().max(1);
    let milli = amount.to_milli();
    Ok((milli / divisor + i128::from(milli % divisor != 0)).to_string())
}

/// `WEB_SERVICE_HOST`, `WEB_SERVICE_PORT` and their kin.
fn service_variables(service: &Service, environment: &mut Environment) {
    let spec = service.spec.as_ref();
    let ip = spec.and_then(|spec| spec.cluster_ip.as_deref()).filter(|ip| !ip.is_empty() && *ip != "None");
    let (Some(name), Some(ip), Some(spec)) = (&service.metadata.name, ip, spec) else { return };
    let prefix = name.to_uppercase().replace(['-', '.'], "_");
    environment.set(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (idx, port) in spec.ports.iter().flatten().enumerate() {
        let number = port.port;
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{ip}:{number}", protocol.to_lowercase());
        if idx == 0 {
            environment.set(format!("{prefix}_SERVICE_PORT"), number.to_string());
            environment.set(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let suffix = port_name.to_uppercase().replace('-', "_");
            environment.set(format!("{prefix}_SERVICE_PORT_{suffix}"), number.to_string());
        }
        let long = format!("{prefix}_PORT_{number}_{protocol}");
        environment.set(long.clone(), url);
        environment.set(format!("{long}_PROTO"), protocol.to_lowercase());
        environment.set(format!("{long}_PORT"), number.to_string());
        environment.set(format!("{long}_ADDR"), ip.to_owned());
    }
}

#[cfg(test)]
mod tests;

//! Warnings about containers: variables and ports that hide each other, fractions of bytes.

use model::quantity::Quantity;
use serde_json::Value;

use super::{Path, list};

/// All containers of a Pod with their paths: their ports are of one network.
pub(super) fn check(containers: &[(String, &Value)], warnings: &mut Vec<String>) {
    let mut ports = Vec::new();
    for (path, container) in containers {
        environment(path, container, warnings);
        for (index, port) in list(container, "ports") {
            let path = format!("{path}.ports[{index}]");
            if port["hostIP"].as_str().is_some_and(|ip| !ip.is_empty())
                && port["hostPort"].as_i64().unwrap_or_default() == 0
            {
                warnings.push(format!("{path}: `hostIP` does nothing without `hostPort`"));
            }
            ports.push((path, port));
        }
        for field in ["limits", "requests"] {
            for resource in ["memory", "ephemeral-storage"] {
                let path = format_args!("{path}.resources.{field}[{resource}]");
                fraction(&path, &container["resources"][field][resource], warnings);
            }
        }
    }
    for (index, (path, port)) in ports.iter().enumerate() {
        if let Some((first, _)) = ports[..index].iter().find(|(_, other)| is_one(port, other)) {
            warnings.push(format!("{path}: the same port as {first}"));
        }
    }
}

fn environment(path: Path<'_>, container: &Value, warnings: &mut Vec<String>) {
    let mut named: Vec<&str> = Vec::new();
    for (index, variable) in list(container, "env") {
        let name = variable["name"].as_str().unwrap_or_default();
        let given = variable["value"].as_str().unwrap_or_default();
        let before = format!("$({name})");
        // What builds on the value before it means to come later.
        if named.contains(&name) && (given == before || !given.contains(&before)) {
            let why =
                format!("hides previous definition of \"{name}\", which may be dropped when using apply");
            warnings.push(format!("{path}.env[{index}]: {why}"));
        }
        named.push(name);
    }
}

/// Whether two ports are one, or may be: a port of the container alone is any of the host's, and one on no address
/// is on each.
fn is_one(port: &Value, other: &Value) -> bool {
    let key = |port: &Value| {
        (port["containerPort"].as_i64(), port["protocol"].as_str().unwrap_or("TCP").to_owned())
    };
    let on_host = |port: &Value| port["hostPort"].as_i64().unwrap_or_default();
    let address = |port: &Value| port["hostIP"].as_str().unwrap_or_default().to_owned();
    let (one, two) = (address(port), address(other));
    let meets = one == two || one.is_empty() || two.is_empty();
    let is_open = on_host(port) == 0 || on_host(other) == 0;
    key(port) == key(other) && (is_open || (on_host(port) == on_host(other) && meets))
}

/// There are no parts of a byte.
pub(super) fn fraction(path: Path<'_>, quantity: &Value, warnings: &mut Vec<String>) {
    let Some(text) = quantity.as_str() else { return };
    let Ok(parsed) = Quantity::parse(text) else { return };
    if parsed.to_milli() % 1000 != 0 {
        warnings.push(format!("{path}: fractional byte value \"{text}\" is invalid, must be an integer"));
    }
}

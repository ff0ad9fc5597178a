//! Cells of how Pods are reached: Ingresses, policies, endpoints.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{NONE, count, created, joined, list, name, selector, text_or};

/// Endpoints beyond the first few are only counted.
const SHOWN: usize = 3;

pub(super) fn cells(kind: &str, object: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let spec = &object["spec"];
    let middle: Vec<Value> = match kind {
        "Endpoints" => vec![endpoints(object)],
        "EndpointSlice" => vec![
            text_or(&object["addressType"], ""),
            or_unset(list(&object["ports"]).iter().map(slice_port).collect()),
            or_unset(slice_addresses(object)),
        ],
        "Ingress" => vec![
            text_or(&spec["ingressClassName"], NONE),
            hosts(spec),
            addresses(object),
            if list(&spec["tls"]).is_empty() { "80".into() } else { "80, 443".into() },
        ],
        "IngressClass" => vec![text_or(&spec["controller"], ""), parameters(&spec["parameters"])],
        "IPAddress" => vec![parent(&spec["parentRef"])],
        "NetworkPolicy" => vec![selector(&spec["podSelector"])],
        "ServiceCIDR" => vec![joined(list(&spec["cidrs"]).iter().filter_map(Value::as_str))],
        _ => return None,
    };
    let mut cells = vec![name(object)];
    cells.extend(middle);
    cells.push(created(object, now));
    Some(cells)
}

fn few(all: Vec<String>) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.into_iter().take(SHOWN).collect::<Vec<_>>().join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn or_unset(all: Vec<String>) -> Value {
    if all.is_empty() { "<unset>".into() } else { few(all).into() }
}

fn endpoints(object: &Value) -> Value {
    let mut found = Vec::new();
    for subset in list(&object["subsets"]) {
        let addresses = list(&subset["addresses"]).iter().filter_map(|address| address["ip"].as_str());
        for address in addresses {
            let ports = list(&subset["ports"]);
            if ports.is_empty() {
                found.push(address.to_owned());
            }
            found.extend(ports.iter().map(|port| format!("{}:{}", bracketed(address), count(&port["port"]))));
        }
    }
    if found.is_empty() { NONE.into() } else { few(found).into() }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

fn slice_port(port: &Value) -> String {
    port["port"].as_i64().map_or_else(|| "*".to_owned(), |number| number.to_string())
}

fn slice_addresses(object: &Value) -> Vec<String> {
    list(&object["endpoints"])
        .iter()
        .flat_map(|endpoint| list(&endpoint["addresses"]))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect()
}

fn hosts(spec: &Value) -> Value {
    let named: Vec<&str> = list(&spec["rules"])
        .iter()
        .filter_map(|rule| rule["host"].as_str())
        .filter(|host| !host.is_empty())
        .collect();
    match named.len() {
        0 => "*".into(),
        count if count > SHOWN => format!("{} + {} more...", named[..SHOWN].join(","), count - SHOWN).into(),
        _ => named.join(",").into(),
    }
}

fn addresses(object: &Value) -> Value {
    let given = list(&object["status"]["loadBalancer"]["ingress"]).iter();
    let given: Vec<&str> =
        given.filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str())).collect();
    given.join(",").into()
}

fn parameters(parameters: &Value) -> Value {
    if parameters.is_null() {
        return NONE.into();
    }
    let of = |field: &str| parameters[field].as_str().unwrap_or_default();
    let dot = if of("apiGroup").is_empty() { "" } else { "." };
    format!("{}{dot}{}/{}", of("kind"), of("apiGroup"), of("name")).into()
}

fn parent(reference: &Value) -> Value {
    let of = |field: &str| reference[field].as_str().filter(|text| !text.is_empty());
    let resource = [of("resource"), of("group")].into_iter().flatten().collect::<Vec<_>>().join(".");
    [Some(resource.as_str()), of("namespace"), of("name")]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("/")
        .into()
}

//! Services: which addresses and ports they need, and that those which the server gave stay theirs when their owners do
//! not name them.

use serde_json::{Map, Value, json};

use crate::object;

/// Whether a Service of this spec is reached by an address of its own; `None` counts as one.
pub(crate) fn needs_address(spec: &Value) -> bool {
    matches!(spec["type"].as_str(), None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer"))
}

pub(crate) fn needs_node_ports(spec: &Value) -> bool {
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// Whether a port tells load balancers which nodes have the Service's Pods.
pub(crate) fn needs_health_port(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn needs_external_policy(spec: &Value) -> bool {
    let has_external = spec["externalIPs"].as_array().is_some_and(|addresses| !addresses.is_empty());
    match spec["type"].as_str() {
        Some("NodePort" | "LoadBalancer") => true,
        Some("ClusterIP") => has_external,
        _ => false,
    }
}

pub(super) fn prepare_create(new: &mut Value) {
    let spec = object::entry_object(new, "spec");
    name_all_addresses(spec);
    fill_families(new);
}

pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    let spec = object::entry_object(new, "spec");
    drop_unneeded(spec, &old["spec"]);
    follow_address(spec, &old["spec"]);
    keep(spec, &old["spec"]);
    fill_families(new);
}

/// `clusterIPs` is the newer form of `clusterIP`, which most still write.
fn name_all_addresses(spec: &mut Map<String, Value>) {
    let first = spec.get("clusterIP").and_then(Value::as_str).filter(|address| !address.is_empty());
    if let Some(first) = first.map(str::to_owned)
        && is_unset(spec.get("clusterIPs"))
    {
        spec.insert("clusterIPs".into(), json!([first]));
    }
}

/// Who changes or clears `clusterIP` alone means the whole list.
fn follow_address(spec: &mut Map<String, Value>, old: &Value) {
    let unset = Value::Null;
    let address = spec.get("clusterIP").unwrap_or(&unset).clone();
    let same_list = spec.get("clusterIPs").unwrap_or(&unset) == &old["clusterIPs"];
    if address == old["clusterIP"] || !same_list {
        return;
    }
    if is_unset(Some(&address)) {
        spec.remove("clusterIPs");
    } else {
        spec.insert("clusterIPs".into(), json!([address]));
    }
}

/// What a Service of its new type has no use for goes, where its owner left it as it was.
fn drop_unneeded(spec: &mut Map<String, Value>, old: &Value) {
    let new = Value::Object(spec.clone());
    let same = |field: &str| new[field] == old[field];
    if needs_address(old) && !needs_address(&new) && same("clusterIP") && same("clusterIPs") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
    }
    if needs_address(old) && !needs_address(&new) && same("internalTrafficPolicy") {
        spec.remove("internalTrafficPolicy");
    }
    if needs_node_ports(old) && !needs_node_ports(&new) && node_ports(&new) == node_ports(old) {
        for port in ports_mut(spec) {
            port.remove("nodePort");
        }
    }
    if needs_health_port(old) && !needs_health_port(&new) && same("healthCheckNodePort") {
        spec.remove("healthCheckNodePort");
    }
    if needs_external_policy(old) && !needs_external_policy(&new) && same("externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
    if old["type"] == "LoadBalancer" && new["type"] != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(field) {
                spec.remove(field);
            }
        }
    }
}

/// Keeps what the server gave where the owner does not name anything else.
fn keep(spec: &mut Map<String, Value>, old: &Value) {
    let new = Value::Object(spec.clone());
    let mut fields: Vec<&str> = Vec::new();
    if needs_address(old) && needs_address(&new) {
        fields.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if needs_health_port(old) && needs_health_port(&new) {
        fields.push("healthCheckNodePort");
    }
    for field in fields {
        // The list follows an address that its owner chose.
        let is_others = field == "clusterIPs" && spec.get("clusterIP") != old.get("clusterIP");
        if is_unset(spec.get(field))
            && !is_others
            && let Some(value) = old.get(field)
        {
            spec.insert(field.to_owned(), value.clone());
        }
    }
    name_all_addresses(spec);
    if needs_node_ports(old) && needs_node_ports(&new) {
        keep_node_ports(spec, old);
    }
}

/// A port is the same one by its name, whatever else of it changes.
fn keep_node_ports(spec: &mut Map<String, Value>, old: &Value) {
    let had = node_ports(old);
    let mut used: Vec<u64> = node_ports(&Value::Object(spec.clone()));
    used.retain(|port| had.contains(port));
    let before = |name: Option<&Value>| {
        let ports = old["ports"].as_array().into_iter().flatten();
        let mut same = ports.filter(|port| port.get("name") == name);
        same.next_back().and_then(|port| port["nodePort"].as_u64())
    };
    for port in ports_mut(spec) {
        if port.get("nodePort").and_then(Value::as_u64).unwrap_or_default() == 0
            && let Some(given) = before(port.get("name")).filter(|given| !used.contains(given))
        {
            used.push(given);
            port.insert("nodePort".into(), given.into());
        }
    }
}

fn node_ports(spec: &Value) -> Vec<u64> {
    let ports = spec["ports"].as_array().into_iter().flatten();
    let mut ports: Vec<u64> =
        ports.filter_map(|port| port["nodePort"].as_u64()).filter(|port| *port != 0).collect();
    ports.sort_unstable();
    ports
}

fn ports_mut(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    ports.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(|value| {
        value.is_null() || value == "" || value.as_array().is_some_and(|items| items.is_empty())
    })
}

/// The cluster's addresses are of one family. Only who runs a headless Service without a selector names the endpoints
/// himself, and those may be of any.
fn fill_families(object: &mut Value) {
    let spec = object::entry_object(object, "spec");
    let is = |field: &str, text: &str| spec.get(field).is_some_and(|value| value == text);
    if is("type", "ExternalName") {
        return;
    }
    let unselected =
        spec.get("selector").and_then(Value::as_object).is_none_or(|selector| selector.is_empty());
    let any_family = is("clusterIP", "None") && unselected;
    if is_unset(spec.get("ipFamilyPolicy")) {
        let policy = if any_family { "RequireDualStack" } else { "SingleStack" };
        spec.insert("ipFamilyPolicy".into(), policy.into());
    }
    let single = spec.get("ipFamilyPolicy").is_some_and(|policy| policy == "SingleStack");
    let families = spec.entry("ipFamilies").or_insert(Value::Null);
    if is_unset(Some(families)) {
        *families = json!(["IPv4"]);
    }
    if any_family
        && !single
        && let Some(families) = families.as_array_mut()
        && let [only] = families.as_slice()
    {
        let other = if only == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
}

//! Cells of the kinds of the core group, and of the small ones of other groups.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cell::{NONE, condition, count, created, joined, labels, list, name, text_or};

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text_or(&object["status"]["phase"], ""), created(object, now)]
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let keys = size(&object["data"]) + size(&object["binaryData"]);
    vec![name(object), keys.into(), created(object, now)]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let kind = text_or(&object["type"], "Opaque");
    vec![name(object), kind, size(&object["data"]).into(), created(object, now)]
}

pub(super) fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), list(&object["secrets"]).len().into(), created(object, now)]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text_or(&object["spec"]["holderIdentity"], ""), created(object, now)]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let is_default = object["globalDefault"] == true;
    let policy = text_or(&object["preemptionPolicy"], "PreemptLowerPriority");
    vec![name(object), count(&object["value"]).into(), is_default.into(), created(object, now), policy]
}

pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match condition(object, "Ready") {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let info = &object["status"]["nodeInfo"];
    vec![
        name(object),
        status.into(),
        roles(object),
        created(object, now),
        text_or(&info["kubeletVersion"], ""),
        address(object, "InternalIP"),
        address(object, "ExternalIP"),
        text_or(&info["osImage"], "<unknown>"),
        text_or(&info["kernelVersion"], "<unknown>"),
        text_or(&info["containerRuntimeVersion"], "<unknown>"),
    ]
}

fn roles(object: &Value) -> Value {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role).filter(|role| !role.is_empty()),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .collect();
    roles.sort_unstable();
    joined(roles.into_iter())
}

fn address(object: &Value, kind: &str) -> Value {
    let addresses = list(&object["status"]["addresses"]);
    let found = addresses.iter().find(|address| address["type"] == kind);
    found.map_or_else(|| NONE.into(), |address| text_or(&address["address"], NONE))
}

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let terms = labels(&spec["selector"]);
    vec![
        name(object),
        text_or(&spec["type"], "ClusterIP"),
        text_or(&spec["clusterIP"], NONE),
        external_addresses(object),
        ports(spec),
        created(object, now),
        joined(terms.iter().map(String::as_str)),
    ]
}

fn external_addresses(object: &Value) -> Value {
    let spec = &object["spec"];
    let own = list(&spec["externalIPs"]).iter().filter_map(Value::as_str);
    match spec["type"].as_str() {
        Some("ExternalName") => text_or(&spec["externalName"], NONE),
        Some("LoadBalancer") => {
            let balancers = list(&object["status"]["loadBalancer"]["ingress"]);
            let given =
                balancers.iter().filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()));
            let all: Vec<&str> = given.chain(own).collect();
            if all.is_empty() { "<pending>".into() } else { joined(all.into_iter()) }
        }
        _ => joined(own),
    }
}

fn ports(spec: &Value) -> Value {
    let ports: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match count(&port["nodePort"]) {
                0 => format!("{}/{protocol}", count(&port["port"])),
                node_port => format!("{}:{node_port}/{protocol}", count(&port["port"])),
            }
        })
        .collect();
    joined(ports.iter().map(String::as_str))
}

/// Events come in the core form and in the newer one, which names some fields otherwise.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |old: &str, new: &str| if object[old].is_null() { &object[new] } else { &object[old] };
    let about = either("involvedObject", "regarding");
    let source = either("source", "deprecatedSource");
    let first = time_of([either("firstTimestamp", "deprecatedFirstTimestamp"), &object["eventTime"]]);
    let last = either("lastTimestamp", "deprecatedLastTimestamp");
    let series = &object["series"]["lastObservedTime"];
    let last = time_of([series, if last.is_null() { &object["eventTime"] } else { last }]);
    let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
    let subject = format!("{kind}/{}", about["name"].as_str().unwrap_or_default());
    let times = count(&object["series"]["count"]).max(count(either("count", "deprecatedCount"))).max(1);
    let said = either("message", "note").as_str().unwrap_or_default().trim();
    vec![
        age::since(last, now).into(),
        text_or(&object["type"], ""),
        text_or(&object["reason"], ""),
        subject.into(),
        text_or(&about["fieldPath"], ""),
        source_cell(source, either("reportingComponent", "reportingController")),
        said.into(),
        age::since(first, now).into(),
        times.into(),
        name(object),
    ]
}

fn time_of(times: [&Value; 2]) -> &Value {
    if times[0].is_null() { times[1] } else { times[0] }
}

fn source_cell(source: &Value, reporter: &Value) -> Value {
    let component = text_or(&source["component"], reporter.as_str().unwrap_or_default());
    match source["host"].as_str().filter(|host| !host.is_empty()) {
        Some(host) => format!("{}, {host}", component.as_str().unwrap_or_default()).into(),
        None => component,
    }
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

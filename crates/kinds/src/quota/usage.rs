//! What one object uses, by the names under which quotas limit it.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::Kind;
use crate::resources::{self, Amount, Amounts};

const COMPUTED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Whether `name`, of a quota, limits something about objects of `kind`.
pub fn part(kind: &Kind, name: &str) -> bool {
    if name == count_name(kind) {
        return true;
    }
    match (kind.group, kind.plural) {
        ("", "pods") => name == "pods" || is_computed(name),
        ("", "services") => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        ("", "persistentvolumeclaims") => {
            matches!(name, "persistentvolumeclaims" | "requests.storage") || name.contains(OF_CLASS)
        }
        ("", plural) => resources::COUNTED.contains(&plural) && name == plural,
        _ => false,
    }
}

/// Whether `name` is about what containers ask for.
pub(super) fn is_computed(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    COMPUTED.contains(&bare)
        || bare.starts_with("hugepages-")
        || (name.starts_with("requests.") && bare.contains('/') && !bare.contains(OF_CLASS))
}

fn count_name(kind: &Kind) -> String {
    format!("count/{}", kind.qualified_resource())
}

/// All that `object` uses.
pub fn of_object(kind: &Kind, object: &Value, now: Timestamp) -> Amounts {
    let one = Amount::count(1);
    let mut amounts = Amounts::from([(count_name(kind), one)]);
    match (kind.group, kind.plural) {
        ("", "pods") if is_over(object, now) => {}
        ("", "pods") => {
            let requests = resources::of_pod(object, "requests");
            let limits = resources::of_pod(object, "limits");
            amounts.extend(named(&requests, &limits));
            amounts.insert("pods".into(), one);
        }
        ("", "services") => amounts.extend(of_service(&object["spec"])),
        ("", "persistentvolumeclaims") => amounts.extend(of_claim(object)),
        ("", plural) if resources::COUNTED.contains(&plural) => drop(amounts.insert(plural.to_owned(), one)),
        _ => {}
    }
    amounts
}

/// What a container asks for, with what is said for its whole Pod.
pub(super) fn of_container(container: &Value, pod: &Value) -> Amounts {
    let all = |field: &str| {
        let mut amounts = Amount::parse_all(&container["resources"][field]);
        amounts.extend(Amount::parse_all(&pod[field]));
        amounts
    };
    named(&all("requests"), &all("limits"))
}

/// Requests under their bare and their long names, limits under their long ones.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut amounts = Amounts::new();
    for (name, amount) in requests {
        let is_bare = COMPUTED.contains(&name.as_str()) || name.starts_with("hugepages-");
        if is_bare {
            amounts.insert(name.clone(), *amount);
        }
        if is_bare || name.contains('/') {
            amounts.insert(format!("requests.{name}"), *amount);
        }
    }
    let limits = limits.iter().filter(|(name, _)| COMPUTED.contains(&name.as_str()));
    amounts.extend(limits.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    amounts
}

/// A Pod that has ended, or whose grace is over, uses nothing any more.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return true;
    }
    let marked =
        pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match (marked, grace) {
        (Some(marked), Some(grace)) => {
            now > marked.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(marked)
        }
        _ => false,
    }
}

fn of_service(spec: &Value) -> Amounts {
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let given = ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count();
    let (balancers, node_ports) = match spec["type"].as_str() {
        Some("NodePort") => (0, ports.len()),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => (1, given),
        Some("LoadBalancer") => (1, ports.len()),
        _ => (0, 0),
    };
    let rows = [("services", 1), ("services.loadbalancers", balancers), ("services.nodeports", node_ports)];
    rows.into_iter().map(|(name, number)| (name.to_owned(), Amount::count(number))).collect()
}

fn of_claim(claim: &Value) -> Amounts {
    let one = Amount::count(1);
    let asked = Amount::parse_all(&claim["spec"]["resources"]["requests"]).get("storage").copied();
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = annotated.or_else(|| claim["spec"]["storageClassName"].as_str()).unwrap_or_default();
    let mut amounts = Amounts::from([("persistentvolumeclaims".to_owned(), one)]);
    amounts.extend(asked.map(|asked| ("requests.storage".to_owned(), asked)));
    if !class.is_empty() {
        amounts.insert(format!("{class}{OF_CLASS}persistentvolumeclaims"), one);
        amounts.extend(asked.map(|asked| (format!("{class}{OF_CLASS}requests.storage"), asked)));
    }
    amounts
}

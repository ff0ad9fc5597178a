//! Where a Service's Pods answer, from its endpoint slices: for those inside this server, who have no cluster addresses.

use kinds::status::Failure;
use serde_json::Value;
use store::Range;

use crate::object;
use crate::record;
use crate::registry::Registry;

/// An address that answers for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// The ready endpoints of a Service for its port of this name, which is empty where the only port has none.
pub(crate) async fn ready(
    registry: &Registry,
    namespace: &str,
    service: &str,
    port_name: &str,
) -> Result<Vec<Endpoint>, Failure> {
    let slices = slices(registry, namespace, service).await?;
    Ok(slices.iter().flat_map(|slice| ready_in(slice, port_name)).collect())
}

fn ready_in(slice: &Value, port_name: &str) -> Vec<Endpoint> {
    let items = |field: &str| slice[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let port = items("ports").iter().find(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let number = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
    let Some(port) = number.filter(|port| *port != 0) else { return Vec::new() };
    let ready = items("endpoints").iter().filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let hosts = ready.filter_map(|endpoint| endpoint["addresses"][0].as_str());
    hosts.map(|host| Endpoint { host: host.to_owned(), port }).collect()
}

async fn slices(registry: &Registry, namespace: &str, service: &str) -> Result<Vec<Value>, Failure> {
    let kind = kinds::find("discovery.k8s.io", "v1", "endpointslices").ok_or_else(Failure::no_such_path)?;
    let prefix = format!("{}{namespace}/", kind.storage_prefix());
    let page = registry.range(Range { prefix, ..Range::default() }).await?;
    let mut found = Vec::new();
    for entry in &page.entries {
        let slice = record::decode(kind, entry)?;
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] == *service
            && !object::is_being_deleted(&slice)
        {
            found.push(slice);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Endpoint, ready_in};

    #[test]
    fn only_what_is_ready_counts_and_the_port_is_found_by_name() {
        let slice = json!({
            "ports": [{"name": "other", "port": 1}, {"name": "https", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.3"]},
            ],
        });
        let endpoint = |host: &str| Endpoint { host: host.to_owned(), port: 8443 };
        assert_eq!(ready_in(&slice, "https"), [endpoint("10.0.0.2"), endpoint("10.0.0.3")]);
        assert_eq!(ready_in(&slice, ""), []);
    }
}

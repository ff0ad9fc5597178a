//! Ports of all nodes, given to Services that can be reached from outside.

use std::collections::BTreeMap;
use std::ops::Range;

use kinds::Kind;
use kinds::status::{Failure, FieldError};
use serde_json::Value;

use super::pool::{Claim, Pool};
use crate::{object, strategy};

/// The usual range of Kubernetes.
const RANGE: Range<u32> = 30_000..32_768;

/// The ports that a Service holds; protocols may share one.
pub(super) fn of(service: &Value) -> Vec<u32> {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| number(&port["nodePort"]));
    let mut held: Vec<u32> =
        ports.chain([number(&spec["healthCheckNodePort"])]).filter(|port| *port != 0).collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// Gives `service` the ports that it needs and does not have, takes those that it names, and gives back what its former
/// state had and it has no longer.
pub(super) fn claim(
    pool: &Pool,
    kind: &Kind,
    service: &mut Value,
    old: &Value,
    claim: &mut Claim,
) -> Result<(), Failure> {
    let had = of(old);
    let name = object::name(service).to_owned();
    let refused = |error: Box<FieldError>| Failure::invalid(kind, &name, vec![*error]);
    let mut round = Round { pool, had: &had, claim };
    if strategy::service::needs_node_ports(&service["spec"]) {
        round.ports(service).map_err(refused)?;
    }
    if strategy::service::needs_health_port(&service["spec"]) {
        let wanted = number(&service["spec"]["healthCheckNodePort"]);
        let port = round
            .port(wanted)
            .map_err(|why| refused(Box::new(FieldError::invalid("spec.healthCheckNodePort", wanted, why))))?;
        service["spec"]["healthCheckNodePort"] = port.into();
    }
    let has = of(service);
    for port in had.into_iter().filter(|port| !has.contains(port)) {
        claim.give_back(pool, port);
    }
    Ok(())
}

struct Round<'a> {
    pool: &'a Pool,
    had: &'a [u32],
    claim: &'a mut Claim,
}

impl Round<'_> {
    fn ports(&mut self, service: &mut Value) -> Result<(), Box<FieldError>> {
        // Protocols of one port number share the node's port, as DNS does.
        let mut shared: BTreeMap<u32, u32> = BTreeMap::new();
        let ports = service["spec"]["ports"].as_array_mut().into_iter().flatten();
        for (index, port) in ports.enumerate() {
            let inner = number(&port["port"]);
            let wanted = number(&port["nodePort"]);
            let given = match shared.get(&inner) {
                Some(given) if wanted == 0 || wanted == *given => *given,
                _ => self.port(wanted).map_err(|why| {
                    Box::new(FieldError::invalid(format!("spec.ports[{index}].nodePort"), wanted, why))
                })?,
            };
            shared.insert(inner, given);
            port["nodePort"] = given.into();
        }
        Ok(())
    }

    /// The port that is named, or any if none is.
    fn port(&mut self, wanted: u32) -> Result<u32, &'static str> {
        if wanted == 0 {
            return self.claim.take_any(self.pool, RANGE).ok_or("all ports of the nodes are in use");
        }
        if self.had.contains(&wanted) {
            return Ok(wanted);
        }
        if !RANGE.contains(&wanted) {
            return Err("the provided port is not in the range of node ports, which is 30000-32767");
        }
        if self.claim.take(self.pool, wanted) { Ok(wanted) } else { Err("another Service holds this port") }
    }
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
}

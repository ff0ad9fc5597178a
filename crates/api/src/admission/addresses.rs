//! What Services hold that no other may have: cluster addresses and ports of the nodes.

mod node_ports;
mod pool;

use std::net::Ipv4Addr;

use kinds::Kind;
use kinds::status::{Failure, FieldError};
use serde_json::{Value, json};

pub(crate) use pool::Claim;

use super::{Operation, Review};
use crate::{object, strategy};
use pool::Pool;

/// A Service gets its cluster address and node ports when it is otherwise complete.
pub(super) async fn allocate(review: &mut Review<'_>) -> Result<(), Failure> {
    if !review.is_about("", "services") {
        return Ok(());
    }
    let (addresses, kind) = (&review.context.addresses, review.kind);
    if review.context.registry.is_shared() {
        addresses.refresh(&review.context.registry.all(kind).await?);
    }
    let claim = match review.operation {
        Operation::Create => addresses.claim(kind, &mut review.object)?,
        Operation::Update => addresses.claim_next(kind, &mut review.object, &review.old)?,
        Operation::Delete | Operation::Connect => return Ok(()),
    };
    review.claim(claim);
    Ok(())
}

/// A range of IPv4 addresses such as `10.96.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Range {
    base: u32,
    prefix: u32,
}

/// The text is no range with room for addresses.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no IPv4 range: write an address and a prefix length of at most 29, such as 10.96.0.0/16"
)]
pub struct RangeError {
    text: String,
}

impl Ipv4Range {
    pub fn parse(text: &str) -> Result<Self, RangeError> {
        let refused = || RangeError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(refused)?;
        let address: Ipv4Addr = address.parse().map_err(|_| refused())?;
        let prefix: u32 =
            prefix.parse().ok().filter(|prefix| (1..=29).contains(prefix)).ok_or_else(refused)?;
        let mask = u32::MAX << (32 - prefix);
        Ok(Self { base: u32::from(address) & mask, prefix })
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The first address that can be used: the API server's own.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size() - 1
    }
}

/// Which addresses and node ports are held.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    range: Ipv4Range,
    addresses: Pool,
    node_ports: Pool,
}

impl Addresses {
    /// All free but what `services` hold.
    pub(crate) fn new(range: Ipv4Range, services: &[Value]) -> Self {
        let addresses = Self { range, addresses: Pool::default(), node_ports: Pool::default() };
        addresses.refresh(services);
        addresses
    }

    /// Learns what other servers gave out and took back: `services` are all that there are.
    pub(crate) fn refresh(&self, services: &[Value]) {
        self.addresses.refresh(services.iter().filter_map(address).map(u32::from));
        self.node_ports.refresh(services.iter().flat_map(node_ports::of));
    }

    pub(crate) fn range(&self) -> Ipv4Range {
        self.range
    }

    /// Gives `service` the address and the node ports that it needs, or takes those that it names.
    pub(crate) fn claim(&self, kind: &Kind, service: &mut Value) -> Result<Claim, Failure> {
        self.claim_next(kind, service, &Value::Null)
    }

    /// As [`Addresses::claim`] for the next state of `old`, which keeps what it has or, in the end, gives it back.
    pub(crate) fn claim_next(&self, kind: &Kind, new: &mut Value, old: &Value) -> Result<Claim, Failure> {
        let mut claim = Claim::default();
        let had = address(old);
        if had.is_none() || address(new) != had {
            self.claim_address(kind, new, &mut claim)?;
            if let Some(had) = had {
                claim.give_back(&self.addresses, had.into());
            }
        }
        node_ports::claim(&self.node_ports, kind, new, old, &mut claim)?;
        Ok(claim)
    }

    fn claim_address(&self, kind: &Kind, service: &mut Value, claim: &mut Claim) -> Result<(), Failure> {
        let wanted = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        if !strategy::service::needs_address(&service["spec"]) || wanted == "None" {
            return Ok(());
        }
        let address = if wanted.is_empty() {
            self.any_address(claim)?
        } else {
            self.named_address(&wanted, claim)
                .map_err(|error| Failure::invalid(kind, object::name(service), vec![*error]))?
        };
        let spec = object::entry_object(service, "spec");
        spec.insert("clusterIP".into(), address.to_string().into());
        spec.insert("clusterIPs".into(), json!([address.to_string()]));
        Ok(())
    }

    /// The deleted `service` needs nothing any longer.
    pub(crate) fn release(&self, service: &Value) {
        if let Some(address) = address(service) {
            self.addresses.free(address.into());
        }
        node_ports::of(service).into_iter().for_each(|port| self.node_ports.free(port));
    }

    fn any_address(&self, claim: &mut Claim) -> Result<Ipv4Addr, Failure> {
        // Neither the network's own address, nor the API server's, nor the last one.
        let room = self.range.base + 2..self.range.base + self.range.size() - 1;
        let address = claim.take_any(&self.addresses, room);
        address
            .map(Ipv4Addr::from)
            .ok_or_else(|| Failure::internal("all cluster addresses of Services are in use"))
    }

    /// The address that the Service names.
    fn named_address(&self, wanted: &str, claim: &mut Claim) -> Result<Ipv4Addr, Box<FieldError>> {
        let refused = |why: &str| Err(Box::new(FieldError::invalid("spec.clusterIPs", json!([wanted]), why)));
        let Ok(address) = wanted.parse::<Ipv4Addr>() else {
            let why = "must be a valid IPv4 address";
            return Err(Box::new(FieldError::invalid("spec.clusterIPs[0]", wanted, why)));
        };
        if !self.range.contains(address) {
            return refused("failed to allocate IP: the provided IP is not in the valid range");
        }
        if claim.take(&self.addresses, address.into()) {
            Ok(address)
        } else {
            refused("failed to allocate IP: provided IP is already allocated")
        }
    }
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    service["spec"]["clusterIP"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests;

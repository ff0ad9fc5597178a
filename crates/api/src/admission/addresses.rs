//! Cluster addresses of Services, each held by one Service at most.
//!
//! ```text
//!   claim ──► Claim (held) ──keep──► held by a stored Service ──release──► free
//!                 └──drop──► free
//! ```

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use kinds::Kind;
use kinds::status::{Failure, FieldError};
use parking_lot::Mutex;
use rand::Rng;
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::object;

/// A Service gets its cluster address when it is otherwise complete.
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

/// Which addresses are held.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    range: Ipv4Range,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: HashSet<Ipv4Addr>,
    /// Those of Services that are about to be stored.
    claimed: HashSet<Ipv4Addr>,
}

impl Held {
    fn claim(&mut self, address: Ipv4Addr) -> bool {
        let is_free = self.all.insert(address);
        if is_free {
            self.claimed.insert(address);
        }
        is_free
    }

    fn free(&mut self, address: Ipv4Addr) {
        self.all.remove(&address);
        self.claimed.remove(&address);
    }
}

/// Addresses that are free again when this is dropped before [`Claim::keep`].
#[derive(Debug, Default)]
pub(crate) struct Claim {
    taken: Option<(Addresses, Ipv4Addr)>,
    /// What the Service held before; free once the claim is kept.
    freed: Option<(Addresses, Ipv4Addr)>,
}

impl Claim {
    /// The Service is stored: the address is its own now.
    pub(crate) fn keep(mut self) {
        if let Some((addresses, address)) = self.taken.take() {
            addresses.held.lock().claimed.remove(&address);
        }
        if let Some((addresses, address)) = self.freed.take() {
            addresses.held.lock().free(address);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((addresses, address)) = self.taken.take() {
            addresses.held.lock().free(address);
        }
    }
}

impl Addresses {
    /// All free but those that `services` hold.
    pub(crate) fn new(range: Ipv4Range, services: &[Value]) -> Self {
        let addresses = Self { range, held: Arc::default() };
        addresses.refresh(services);
        addresses
    }

    /// Learns what other servers gave out and took back: `services` are all that there are. Two servers that give out
    /// one address at the very same moment are not told apart; of 65,000 random ones that is as good as never.
    pub(crate) fn refresh(&self, services: &[Value]) {
        let mut held = self.held.lock();
        held.all = services.iter().filter_map(address).chain(held.claimed.iter().copied()).collect();
    }

    pub(crate) fn range(&self) -> Ipv4Range {
        self.range
    }

    /// Gives `service` an address if it needs one, or takes the one that it names.
    pub(crate) fn claim(&self, kind: &Kind, service: &mut Value) -> Result<Claim, Failure> {
        let wanted = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        if service["spec"]["type"] == "ExternalName" || wanted == "None" {
            if wanted == "None" {
                service["spec"]["clusterIPs"] = json!(["None"]);
            }
            return Ok(Claim::default());
        }
        let address = if wanted.is_empty() { self.take_free()? } else { self.take(kind, service, &wanted)? };
        let spec = object::entry_object(service, "spec");
        spec.insert("clusterIP".into(), address.to_string().into());
        spec.insert("clusterIPs".into(), json!([address.to_string()]));
        Ok(Claim { taken: Some((self.clone(), address)), freed: None })
    }

    /// As [`Addresses::claim`] for the next state of `old`, whose address it keeps or, in the end, gives back.
    pub(crate) fn claim_next(&self, kind: &Kind, new: &mut Value, old: &Value) -> Result<Claim, Failure> {
        let had = address(old);
        if had.is_some() && address(new) == had {
            return Ok(Claim::default());
        }
        let mut claim = self.claim(kind, new)?;
        claim.freed = had.map(|address| (self.clone(), address));
        Ok(claim)
    }

    /// The deleted `service` needs its address no longer.
    pub(crate) fn release(&self, service: &Value) {
        if let Some(address) = address(service) {
            self.held.lock().free(address);
        }
    }

    /// A random free address, so that one that was just released is not given out at once.
    fn take_free(&self) -> Result<Ipv4Addr, Failure> {
        let mut held = self.held.lock();
        let room = self.range.size() - 2;
        let start = rand::rng().random_range(0..room);
        let mut candidates =
            (0..room).map(|step| Ipv4Addr::from(self.range.base + 1 + (start + step) % room));
        let free = candidates.find(|address| *address != self.range.first() && !held.all.contains(address));
        let free = free.ok_or_else(|| Failure::internal("all cluster addresses of Services are in use"))?;
        held.claim(free);
        Ok(free)
    }

    /// The address that the Service names.
    fn take(&self, kind: &Kind, service: &Value, wanted: &str) -> Result<Ipv4Addr, Failure> {
        let invalid = |error| Err(Failure::invalid(kind, object::name(service), vec![error]));
        let refuse = |why: &str| invalid(FieldError::invalid("spec.clusterIPs", json!([wanted]), why));
        let Ok(address) = wanted.parse::<Ipv4Addr>() else {
            let why = "must be a valid IPv4 address";
            return invalid(FieldError::invalid("spec.clusterIPs[0]", wanted, why));
        };
        if !self.range.contains(address) {
            return refuse("failed to allocate IP: the provided IP is not in the valid range");
        }
        if self.held.lock().claim(address) {
            Ok(address)
        } else {
            refuse("failed to allocate IP: provided IP is already allocated")
        }
    }
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    service["spec"]["clusterIP"].as_str()?.parse().ok()
}

#[cfg(test)]
mod tests;

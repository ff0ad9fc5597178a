//! Which address is next. Pure: the taken addresses go in, a free one comes out.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A range of IPv4 addresses. The first usable one is the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: u32,
    prefix: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no range for pods: expected a network such as 10.88.0.0/16, with a prefix from 8 to 29")]
pub struct CidrError {
    text: String,
}

impl Cidr {
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.network
    }

    /// A free address, the first after `last`: an address that was just given back rests for as long as possible.
    pub fn next_free(&self, taken: &BTreeSet<Ipv4Addr>, last: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let first = self.network + 2;
        let beyond = self.network | !self.mask();
        let start = last.map_or(first, |last| u32::from(last).saturating_add(1)).clamp(first, beyond);
        (start..beyond).chain(first..start).map(Ipv4Addr::from).find(|address| !taken.contains(address))
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - self.prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| {
            let prefix = prefix.parse().ok().filter(|prefix| (8..=29).contains(prefix))?;
            let cidr = Self { network: u32::from(address.parse::<Ipv4Addr>().ok()?), prefix };
            (cidr.network & !cidr.mask() == 0).then_some(cidr)
        });
        parsed.ok_or_else(|| CidrError { text: text.to_owned() })
    }
}

/// The hardware address that belongs to an address: neighbours' caches stay right when an address is used again.
pub(super) fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    // Locally administered, unicast.
    [0x0a, 0x58, a, b, c, d]
}

pub(super) fn shown_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::{Cidr, mac, shown_mac};

    #[test]
    fn only_whole_networks_parse() {
        let cidr: Cidr = "10.88.0.0/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.88.0.0/16");
        assert_eq!(cidr.gateway(), Ipv4Addr::new(10, 88, 0, 1));
        for bad in ["", "10.88.0.0", "10.88.0.1/16", "10.0.0.0/7", "10.0.0.0/30", "10.0.0.0/x", "::/64"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hardware_address_follows_from_the_address() {
        assert_eq!(shown_mac(mac(Ipv4Addr::new(10, 88, 0, 2))), "0a:58:0a:58:00:02");
    }

    proptest! {
        #[test]
        fn addresses_are_never_given_twice_and_never_run_out_early(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..60)
        ) {
            let cidr: Cidr = "10.1.2.0/28".parse().unwrap();
            let (mut taken, mut last) = (BTreeSet::new(), None);
            for (gives, which) in steps {
                if gives {
                    let next = cidr.next_free(&taken, last);
                    // 16 addresses without network, gateway and broadcast.
                    prop_assert_eq!(next.is_some(), taken.len() < 13);
                    if let Some(next) = next {
                        prop_assert!(cidr.contains(next) && next != cidr.gateway());
                        prop_assert!(next.octets()[3] != 0 && next.octets()[3] != 15);
                        prop_assert!(taken.insert(next));
                        last = Some(next);
                    }
                } else if !taken.is_empty() {
                    let back = *which.get(&taken.iter().copied().collect::<Vec<_>>());
                    taken.remove(&back);
                }
            }
        }
    }
}

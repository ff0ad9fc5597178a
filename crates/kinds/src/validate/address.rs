//! Addresses and networks, and which of them are sound: one way to write each, so that no two parts of a cluster read
//! the same text as different addresses.

use std::net::IpAddr;

use super::Faults;
use crate::status::FieldError;

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_NETWORK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address of the older form within the newer has two ways to be written.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

pub(super) fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address| !is_mapped(*address))
}

pub(super) fn check(path: &str, text: &str, faults: &mut Faults) {
    if parse(text).is_none() {
        faults.push(FieldError::invalid(path, text, NO_ADDRESS));
    }
}

/// A network: an address and how many of its bits are the network's.
pub(super) fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let is_plain = bits == "0" || !bits.starts_with('0');
    let (address, bits): (IpAddr, u8) = (parse(address)?, bits.parse().ok().filter(|_| is_plain)?);
    (bits <= width(address)).then_some((address, bits))
}

/// As [`parse_network`], with nothing beside the network in the address.
pub(super) fn check_network(path: &str, text: &str, faults: &mut Faults) {
    let Some((address, bits)) = parse_network(text) else {
        faults.push(FieldError::invalid(path, text, NO_NETWORK));
        return;
    };
    if number(address) != masked(address, bits) {
        let message = "must not have bits set beyond the prefix length";
        faults.push(FieldError::invalid(path, text, message));
    }
}

/// Whether one network holds all of another, and more.
pub(super) fn contains((outer, bits): (IpAddr, u8), (inner, inner_bits): (IpAddr, u8)) -> bool {
    outer.is_ipv4() == inner.is_ipv4() && bits < inner_bits && masked(outer, bits) == masked(inner, bits)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

fn masked(address: IpAddr, bits: u8) -> u128 {
    let rest = u32::from(width(address) - bits);
    number(address).checked_shr(rest).unwrap_or_default().checked_shl(rest).unwrap_or_default()
}

/// Addresses that no other host could reach.
pub(super) fn reachable(path: &str, text: &str, faults: &mut Faults) {
    let message = match text.parse::<IpAddr>() {
        Err(_) => NO_ADDRESS,
        Ok(ip) if ip.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        Ok(ip) if ip.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        Ok(ip) if is_link_local(ip) => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        Ok(ip) if is_link_local_multicast(ip) => {
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        }
        Ok(_) => return,
    };
    faults.push(FieldError::invalid(path, text, message));
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [224, 0, 0, _]),
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Whether the address or network is written the one way that all others are told apart by.
pub(crate) fn is_canonical(text: &str) -> bool {
    let network = parse_network(text).map(|(address, bits)| format!("{address}/{bits}"));
    network.or_else(|| parse(text).map(|address| address.to_string())).is_some_and(|written| written == text)
}

#[cfg(test)]
mod tests {
    use super::{check_network, contains, is_canonical, parse, parse_network};

    #[test]
    fn there_is_one_way_to_write_an_address() {
        for (text, sound) in
            [("10.0.0.1", true), ("010.0.0.1", false), ("::ffff:1.2.3.4", false), ("fd00::1", true)]
        {
            assert_eq!(parse(text).is_some(), sound, "{text}");
        }
        assert!(is_canonical("fd00::1") && !is_canonical("FD00::1") && !is_canonical("fd00:0::1"));
    }

    #[test]
    fn networks() {
        for (text, sound) in [
            ("10.0.0.0/8", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("0.0.0.0/0", true),
            ("::/0", true),
        ] {
            let mut faults = Vec::new();
            check_network("x", text, &mut faults);
            assert_eq!(faults.is_empty(), sound, "{text}");
        }
        let network = |text| parse_network(text).unwrap();
        assert!(contains(network("10.0.0.0/8"), network("10.9.0.0/16")));
        assert!(!contains(network("10.0.0.0/8"), network("10.0.0.0/8")));
        assert!(!contains(network("10.0.0.0/8"), network("11.0.0.0/16")));
    }
}

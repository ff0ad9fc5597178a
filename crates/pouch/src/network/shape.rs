//! How fast a sandbox may send and receive: a token bucket at each end of its pair of devices.
//!
//! ```text
//!   process ──► eth0 [bucket: egress] ──► veth... ──► bridge          the sender waits, nothing is thrown away
//!   process ◄── eth0 ◄── [bucket: ingress] veth... ◄── bridge
//! ```
//!
//! The buckets go with the devices, so that nothing is left of them.

use std::collections::HashMap;

/// The annotations of a Pod that say it, in bits per second, as the bandwidth plugin of CNI has them.
pub const EGRESS: &str = "kubernetes.io/egress-bandwidth";
pub const INGRESS: &str = "kubernetes.io/ingress-bandwidth";

/// Bytes per second; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub egress: Option<u64>,
    pub ingress: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{value}` of annotation {name} is no bandwidth: write bits per second from 1k to 1P, such as 500k, 10M or 1G"
)]
pub struct BandwidthError {
    name: &'static str,
    value: String,
}

impl Bandwidth {
    /// What the annotations of a sandbox say.
    pub fn of(annotations: &HashMap<String, String>) -> Result<Self, BandwidthError> {
        let read = |name: &'static str| {
            let Some(value) = annotations.get(name) else { return Ok(None) };
            let bits = bits_per_second(value.trim());
            let bits = bits.filter(|bits| (1_000..=1_000_000_000_000_000).contains(bits));
            bits.map(|bits| Some(bits / 8)).ok_or_else(|| BandwidthError { name, value: value.clone() })
        };
        Ok(Self { egress: read(EGRESS)?, ingress: read(INGRESS)? })
    }
}

/// A whole number with one of the suffixes of Kubernetes' quantities.
fn bits_per_second(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let decimal = ["", "k", "M", "G", "T", "P"].iter().position(|known| *known == suffix);
    let binary = ["", "Ki", "Mi", "Gi", "Ti", "Pi"].iter().position(|known| *known == suffix);
    let base: u64 = if decimal.is_some() { 1000 } else { 1024 };
    let factor = base.checked_pow(u32::try_from(decimal.or(binary)?).ok()?)?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A token bucket in the kernel's terms: the attributes of its queueing discipline `tbf`.
pub(super) fn token_bucket(bytes_per_second: u64) -> Vec<(u16, Vec<u8>)> {
    const PARAMETERS: u16 = 1;
    const RATE_64: u16 = 4;
    const BURST: u16 = 6;
    const ETHERNET: u8 = 1;
    // Two of the largest packets that the kernel makes before it cuts them for the wire, or a hundredth of a second.
    let burst = saturated(bytes_per_second / 100).max(2 * 65_536);
    // What may wait: a twentieth of a second more.
    let queue = burst.saturating_add(saturated(bytes_per_second / 20));
    // struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate
    let mut rate = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    rate.extend(saturated(bytes_per_second).to_ne_bytes());
    // struct tc_tbf_qopt: rate, peakrate, limit, buffer, mtu
    let mut parameters = rate;
    parameters.extend([0; 12]);
    for number in [queue, 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    vec![
        (PARAMETERS, parameters),
        (RATE_64, bytes_per_second.to_ne_bytes().to_vec()),
        (BURST, burst.to_ne_bytes().to_vec()),
    ]
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_bits_per_second() {
        let egress = |value: &str| Bandwidth::of(&HashMap::from([(EGRESS.to_owned(), value.to_owned())]));
        for (value, bytes) in [("8000", 1000), ("10M", 1_250_000), ("1Gi", 1 << 27), (" 16k ", 2000)] {
            assert_eq!(egress(value), Ok(Bandwidth { egress: Some(bytes), ingress: None }), "{value}");
        }
        for value in
            ["", "M", "-8k", "1.5M", "8K", "7", "10m", "99999999999999999999", "2P", "18446744073709551615k"]
        {
            assert!(egress(value).is_err(), "{value}");
        }
        assert_eq!(Bandwidth::of(&HashMap::new()), Ok(Bandwidth::default()));
        let message = egress("fast").unwrap_err().to_string();
        assert!(
            message.starts_with("`fast` of annotation kubernetes.io/egress-bandwidth is no bandwidth"),
            "{message}"
        );
    }
}

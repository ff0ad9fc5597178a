//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) as exact integers with their unit in the type.
//!
//! The grammar and the rounding (up, to the unit asked for) follow Kubernetes' `resource.Quantity`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

/// CPU time per second of wall time, in thousandths of a core.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(pub u64);

/// An amount of memory or disk, in bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A parsed quantity, in nano-units so that every suffix of the grammar is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no quantity: write a number with an optional suffix such as 100m, 1.5, 64Mi or 2G")]
pub struct QuantityError {
    pub text: String,
}

const NANOS: i128 = 1_000_000_000;
/// Kubernetes caps quantities at 2^63-1 of their unit; anything above reads as that.
const MAX_UNITS: i128 = i64::MAX as i128;

impl Quantity {
    /// Reads a quantity. Amounts beyond 2^63-1 are capped there, as Kubernetes does.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse_nanos(text).map(|nanos| Self { nanos }).ok_or_else(|| QuantityError { text: text.to_owned() })
    }

    /// Thousandths, rounded up.
    pub fn to_milli(self) -> i128 {
        div_up(self.nanos, NANOS / 1000)
    }

    /// Whole units, rounded up.
    pub fn to_units(self) -> i128 {
        div_up(self.nanos, NANOS)
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

impl From<Quantity> for MilliCpu {
    /// Negative quantities, which validation refuses, read as zero.
    fn from(quantity: Quantity) -> Self {
        Self(u64::try_from(quantity.to_milli().max(0)).unwrap_or(u64::MAX))
    }
}

impl From<Quantity> for Bytes {
    /// Negative quantities, which validation refuses, read as zero.
    fn from(quantity: Quantity) -> Self {
        Self(u64::try_from(quantity.to_units().max(0)).unwrap_or(u64::MAX))
    }
}

fn div_up(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn parse_nanos(text: &str) -> Option<i128> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let (multiplier, divisor) = scale(suffix)?;
    let mantissa: i128 = capped_digits(whole, fraction)?;
    // The mantissa is in units of 10^-len(fraction); saturation stands for Kubernetes' cap.
    let fraction_scale = 10_i128.checked_pow(u32::try_from(fraction.len().min(18)).ok()?)?;
    let scaled = mantissa.saturating_mul(NANOS).saturating_mul(multiplier);
    let nanos = div_up(scaled, fraction_scale.checked_mul(divisor)?);
    Some(sign * nanos.min(MAX_UNITS * NANOS))
}

/// The digits as one integer; more than 18 decimals are below every suffix's resolution and are dropped.
fn capped_digits(whole: &str, fraction: &str) -> Option<i128> {
    let kept = &fraction[..fraction.len().min(18)];
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(kept.bytes()) {
        value = value.saturating_mul(10).saturating_add(i128::from(digit.checked_sub(b'0')?));
    }
    Some(value)
}

/// Multiplier and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "n" => (1, NANOS),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "" => (1, 1),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANOS, 1),
        "T" => (1000 * NANOS, 1),
        "P" => (1_000_000 * NANOS, 1),
        "E" => (NANOS * NANOS, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(suffix),
    })
}

fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let digits = suffix.strip_prefix(['e', 'E'])?;
    let power: i32 = digits.parse().ok()?;
    let magnitude = 10_i128.checked_pow(power.unsigned_abs().min(18))?;
    Some(if power < 0 { (1, magnitude) } else { (magnitude, 1) })
}

macro_rules! arithmetic {
    ($type:ident) => {
        impl $type {
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Add for $type {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $type {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $type {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self.saturating_sub(other)
            }
        }
        impl SubAssign for $type {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Sum for $type {
            fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
                items.fold(Self(0), Add::add)
            }
        }
    };
}
arithmetic!(MilliCpu);
arithmetic!(Bytes);

impl fmt::Display for MilliCpu {
    /// As Kubernetes writes it: whole cores bare, the rest in `m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    /// As Kubernetes writes it: in the largest binary unit that is exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 6] =
            [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
        for (suffix, shift) in UNITS {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, milli: Option<i128>) {
        assert_eq!(Quantity::parse(text).ok().map(Quantity::to_milli), milli, "{text}");
    }

    #[test]
    fn the_grammar_of_quantities() {
        check("1", Some(1000));
        check("100m", Some(100));
        check("0.5", Some(500));
        check(".5", Some(500));
        check("1.", Some(1000));
        check("+2", Some(2000));
        check("-1", Some(-1000));
        check("1n", Some(1)); // rounded up
        check("2e3", Some(2_000_000));
        check("2E-3", Some(2));
        check("1Ki", Some(1_024_000));
        check("1.5Gi", Some(1_610_612_736_000));
        check("1k", Some(1_000_000));
        check("", None);
        check("m", None);
        check(".", None);
        check("1.2.3", None);
        check("1 Gi", None);
        check("1gi", None);
        check("abc", None);
        check("99999999999999999999999999E", Some(i128::from(i64::MAX) * 1000));
    }

    #[test]
    fn amounts_print_as_kubernetes_prints_them() {
        assert_eq!(MilliCpu(2000).to_string(), "2");
        assert_eq!(MilliCpu(1500).to_string(), "1500m");
        assert_eq!(Bytes(64 << 20).to_string(), "64Mi");
        assert_eq!(Bytes(1000).to_string(), "1000");
        assert_eq!(Bytes(0).to_string(), "0");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,24}") {
            let _parsed = Quantity::parse(&text);
        }

        #[test]
        fn what_is_printed_reads_back(bytes in 0..u64::MAX / 2) {
            let printed = Bytes(bytes).to_string();
            assert_eq!(Bytes::from(Quantity::parse(&printed).unwrap()), Bytes(bytes));
        }
    }
}

//! How many seats each priority level has: in proportion to its shares, of which it may lend and borrow.

use serde_json::Value;

/// What a level may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What it has.
    pub nominal: u32,
    /// What it never lends.
    pub guaranteed: u32,
    /// What it may use at most, with what it borrows.
    pub most: u32,
}

/// What a level's configuration says of seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    nominal: u32,
    lendable_percent: u32,
    /// `None` borrows all that there is.
    borrowing_percent: Option<u32>,
}

/// Shares of a level that does not state them.
const DEFAULT_SHARES: u32 = 30;

impl Shares {
    /// One level among equals that lend nothing.
    pub(super) const EQUAL: Self = Self { nominal: 1, lendable_percent: 0, borrowing_percent: None };

    /// Nothing of its own, and all that others lend.
    pub(super) const NONE: Self = Self { nominal: 0, lendable_percent: 0, borrowing_percent: None };

    pub(super) fn read(spec: &Value) -> Self {
        let part = if spec["type"] == "Exempt" { &spec["exempt"] } else { &spec["limited"] };
        let number = |field: &str| part[field].as_u64().and_then(|number| u32::try_from(number).ok());
        let default = if spec["type"] == "Exempt" { 0 } else { DEFAULT_SHARES };
        Self {
            nominal: number("nominalConcurrencyShares").unwrap_or(default),
            lendable_percent: number("lendablePercent").unwrap_or(0).min(100),
            borrowing_percent: number("borrowingLimitPercent"),
        }
    }
}

/// The limits of each level, and the seats of all together: `total` up to rounding.
pub(super) fn limits(total: u32, levels: &[Shares]) -> (Vec<Limits>, u32) {
    let sum: u64 = levels.iter().map(|level| u64::from(level.nominal)).sum();
    let nominal = |level: &Shares| {
        let seats = (u64::from(total) * u64::from(level.nominal)).div_ceil(sum.max(1));
        u32::try_from(seats).unwrap_or(u32::MAX)
    };
    let pool = levels.iter().map(nominal).fold(0_u32, u32::saturating_add);
    let limits = levels.iter().map(|level| {
        let nominal = nominal(level);
        let borrowed = level.borrowing_percent.map_or(pool, |percent| share(nominal, percent));
        let guaranteed = nominal - share(nominal, level.lendable_percent).min(nominal);
        Limits { nominal, guaranteed, most: nominal.saturating_add(borrowed).min(pool) }
    });
    (limits.collect(), pool)
}

fn share(seats: u32, percent: u32) -> u32 {
    let rounded = (u64::from(seats) * u64::from(percent) + 50) / 100;
    u32::try_from(rounded).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Limits, Shares, limits};

    #[test]
    fn seats_follow_shares() {
        let level = |shares: u32, lendable: u32, borrowing: Option<u32>| {
            Shares::read(&json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares,
                "lendablePercent": lendable, "borrowingLimitPercent": borrowing}}))
        };
        let (found, pool) =
            limits(100, &[level(30, 33, Some(0)), level(60, 50, None), level(9, 0, Some(150))]);
        assert_eq!(pool, 102);
        let expected = [(31, 21, 31), (61, 30, 102), (10, 10, 25)];
        assert_eq!(found, expected.map(|(nominal, guaranteed, most)| Limits { nominal, guaranteed, most }));
        let (none, _) = limits(100, &[level(0, 0, Some(0)), level(5, 0, None)]);
        assert_eq!(none[0], Limits::default());
    }
}

//! Ranges against a plain set.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::Ranges;

fn check(text: &str, expected: Expect) {
    let shown = match text.parse::<Ranges>() {
        Ok(ranges) => format!("{ranges} ({})", ranges.len()),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&shown);
}

#[test]
fn texts() {
    check("", expect![[" (0)"]]);
    check("7", expect![["7 (1)"]]);
    check("43,0-41", expect![["0-41,43 (43)"]]);
    check("0-3,2-9,10", expect![["0-10 (11)"]]);
    check("0-4294967295", expect![["0-4294967295 (4294967296)"]]);
    check("4-2", expect![["`4-2` is no index or range of indexes: write for example 0-41,43"]]);
    check("1,x", expect![["`x` is no index or range of indexes: write for example 0-41,43"]]);
    check("-1", expect![["`-1` is no index or range of indexes: write for example 0-41,43"]]);
}

proptest! {
    #[test]
    fn behaves_as_a_set(indexes in prop::collection::vec(0u32..60, 0..80), end in 0u32..70) {
        let mut ranges = Ranges::new();
        let mut set = BTreeSet::new();
        for index in indexes {
            prop_assert_eq!(ranges.insert(index), set.insert(index));
        }
        prop_assert_eq!(ranges.len(), set.len() as u64);
        for index in 0..70 {
            prop_assert_eq!(ranges.contains(index), set.contains(&index));
            prop_assert_eq!(ranges.first_gap(index), (index..).find(|at| !set.contains(at)));
        }
        prop_assert_eq!(&ranges.to_string().parse::<Ranges>().unwrap(), &ranges);
        let mut below = Ranges::new();
        below.extend_below(&ranges, end);
        prop_assert_eq!(below.len(), set.range(..end).count() as u64);
        let mut all = below.clone();
        all.extend_below(&ranges, u32::MAX);
        prop_assert_eq!(all, ranges);
    }
}

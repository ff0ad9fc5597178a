//! Shuffle sharding: which few of many queues a flow may use. Two flows rarely share all of theirs, so that one which
//! fills its own leaves nearly every other flow a queue that is empty.

/// As many queues as a flow is ever dealt.
const MAX_HAND: usize = 16;

/// `hand` different numbers below `deck`, the same ones for the same hash.
pub(super) fn deal(hash: u64, deck: usize, hand: usize) -> impl Iterator<Item = usize> {
    let hand = hand.clamp(1, MAX_HAND).min(deck);
    let mut dealt = [0; MAX_HAND];
    let mut rest = hash;
    for index in 0..hand {
        let left = (deck - index) as u64;
        // The remainder is below `left`, which came from a usize.
        let mut card = usize::try_from(rest % left).unwrap_or(0);
        rest /= left;
        // The card-th of those that are still in the deck.
        let mut taken = dealt;
        taken[..index].sort_unstable();
        for gone in &taken[..index] {
            card += usize::from(card >= *gone);
        }
        dealt[index] = card;
    }
    dealt.into_iter().take(hand)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::deal;

    proptest! {
        #[test]
        fn a_hand_holds_different_cards_of_the_deck(hash in any::<u64>(), deck in 1..200_usize, hand in 1..12_usize) {
            let cards: BTreeSet<usize> = deal(hash, deck, hand).collect();
            prop_assert_eq!(cards.len(), hand.min(deck));
            prop_assert!(cards.iter().all(|card| *card < deck));
        }
    }

    #[test]
    fn every_queue_is_dealt_about_as_often_as_any_other() {
        let mut counts = [0_u32; 64];
        for number in 0..64_000_u64 {
            // A fixed mixing step, as hashes are well mixed and counters are not.
            let hash = number
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(31)
                .wrapping_mul(0xbf58_476d_1ce4_e5b9);
            deal(hash, 64, 8).for_each(|queue| counts[queue] += 1);
        }
        assert!(counts.iter().all(|count| (7_000..9_000).contains(count)), "{counts:?}");
    }
}

//! The search finds what a walk over all finds.

use model::{Bytes, MilliCpu};
use proptest::prelude::*;

use super::Rooms;
use crate::grants::resources::Resources;

fn amounts((cpu, gib, gpus): (u64, u64, u64)) -> Resources {
    Resources { cpu: MilliCpu(cpu * 100), memory: Bytes(gib << 29), workers: 1, extended: [gpus, 0, 0, 0, 0] }
}

proptest! {
    #[test]
    fn finds_room_exactly_where_there_is_some(
        rooms in prop::collection::vec((0usize..20, (0u64..40, 0u64..40, 0u64..2)), 1..60),
        shapes in prop::collection::vec((0u64..40, 0u64..40, 0u64..2), 1..20),
    ) {
        let mut tournament = Rooms::default();
        let mut plain = vec![Resources::NOTHING; 20];
        for (player, room) in rooms {
            plain[player] = amounts(room);
            tournament.set(player, plain[player].into());
        }
        for shape in shapes.into_iter().map(amounts) {
            let found = tournament.find(&shape.into());
            prop_assert_eq!(found.is_some(), plain.iter().any(|room| shape.fits_in(*room)));
            prop_assert!(found.is_none_or(|player| shape.fits_in(plain[player])));
        }
    }
}

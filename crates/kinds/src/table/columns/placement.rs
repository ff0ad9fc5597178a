//! Columns of our own kinds about placement.

use super::{AGE, Column, NAME, own};
use crate::Kind;

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.kind {
        "PodGroup" => POD_GROUPS,
        _ => return None,
    })
}

const POD_GROUPS: &[Column] = &[
    NAME,
    own("Phase", "How the group stands."),
    own("Min", "How many pods of the group are placed at once, or none.").integer(),
    own("Members", "How many pods of the group are there.").integer(),
    own("Scheduled", "How many of them have a node.").integer(),
    AGE,
];

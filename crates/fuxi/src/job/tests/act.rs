//! What may happen to a job, at random.

use model::dagjob::DesiredState;
use proptest::prelude::*;

/// One thing that may happen; numbers pick among the workers there are.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Create(usize),
    /// The next message to a worker arrives.
    ToWorker(usize),
    /// The next message of a worker arrives, perhaps twice.
    ToMaster(usize, bool),
    /// One of what a worker holds ends: the oldest, or another one as well where a program takes many at once.
    Finish {
        worker: usize,
        which: usize,
        ok: bool,
    },
    Disconnect(usize),
    Connect(usize),
    Kill(usize),
    Drain(usize),
    Store,
    /// The master is killed; perhaps just after its last status became durable and before it knew.
    Restart(bool),
    Want(DesiredState),
    /// Machines come or leave.
    Machines(u32),
    Wait,
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => any::<usize>().prop_map(Act::Create),
        8 => any::<usize>().prop_map(Act::ToWorker),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(worker, twice)| Act::ToMaster(worker, twice)),
        8 => (any::<usize>(), 0_usize..3, prop::bool::weighted(0.85))
            .prop_map(|(worker, which, ok)| Act::Finish { worker, which, ok }),
        1 => any::<usize>().prop_map(Act::Disconnect),
        4 => any::<usize>().prop_map(Act::Connect),
        1 => any::<usize>().prop_map(Act::Kill),
        1 => any::<usize>().prop_map(Act::Drain),
        4 => Just(Act::Store),
        1 => any::<bool>().prop_map(Act::Restart),
        1 => prop_oneof![Just(DesiredState::Running), Just(DesiredState::Paused)].prop_map(Act::Want),
        1 => (1_u32..5).prop_map(Act::Machines),
        1 => Just(Act::Wait),
    ]
}

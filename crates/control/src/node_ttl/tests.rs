//! The stairs up and down.

use super::decide::Step;

#[test]
fn more_nodes_may_keep_longer_and_steps_overlap() {
    let mut step = Step::default();
    let mut seconds = |n_nodes| {
        step = step.of(n_nodes);
        step.seconds()
    };
    assert_eq!(seconds(1), 0);
    assert_eq!(seconds(100), 0);
    assert_eq!(seconds(101), 15);
    assert_eq!(seconds(95), 15);
    assert_eq!(seconds(89), 0);
    assert_eq!(seconds(5000), 300);
    assert_eq!(seconds(usize::MAX), 600);
    assert_eq!(seconds(0), 0);
}

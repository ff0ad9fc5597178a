//! Arithmetic at its edges, and the table of names.

use super::{EXTENDED, ResourceNames, Resources};
use model::{Bytes, MilliCpu};

fn amounts(cpu: u64, memory: u64, gpus: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), memory: Bytes(memory), workers: 1, extended: [gpus, 0, 0, 0, 0] }
}

#[test]
fn every_lane_decides_whether_it_fits() {
    let room = amounts(1000, 2000, 1);
    assert!(amounts(1000, 2000, 1).fits_in(room));
    for larger in [amounts(1001, 0, 0), amounts(0, 2001, 0), amounts(0, 0, 2)] {
        assert!(!larger.fits_in(room), "{larger:?}");
    }
    assert!(!Resources { workers: 2, ..Resources::default() }.fits_in(room));
}

#[test]
fn sums_stop_at_the_edges() {
    let all = Resources::UNLIMITED;
    assert_eq!(all.plus(amounts(1, 1, 1)), all);
    assert_eq!(amounts(1, 1, 1).minus(all), Resources::default());
    assert_eq!(all.as_shape(), all.as_capacity().most(all.as_shape()));
    assert_eq!(Resources::default().as_shape().workers, 1);
    assert!(all.as_capacity().plus(all.as_capacity()).minus(all.as_capacity()) == all.as_capacity());
}

#[test]
fn names_keep_their_places_and_are_few() {
    let mut names = ResourceNames::default();
    assert_eq!(names.intern("nvidia.com/gpu"), Ok(0));
    assert_eq!(names.intern("rdma/hca"), Ok(1));
    assert_eq!(names.intern("nvidia.com/gpu"), Ok(0));
    let shown: Vec<_> = names.named(amounts(1, 2, 3)).collect();
    assert_eq!(shown, [("cpu", 1), ("memory", 2), ("workers", 1), ("nvidia.com/gpu", 3), ("rdma/hca", 0)]);
    (2..EXTENDED).for_each(|n| assert!(names.intern(&format!("example.com/r{n}")).is_ok()));
    let refused = names.intern("example.com/late").unwrap_err().to_string();
    assert!(refused.starts_with("cannot count `example.com/late`: batch counts nvidia.com/gpu, rdma/hca, "));
    assert_eq!(names.place("example.com/late"), None);
}

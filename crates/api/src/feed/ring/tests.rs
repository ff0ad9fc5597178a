use bytes::Bytes;
use store::{Change, Entry, Revision};

use super::{BATCH, Ended, MAX_CHANGES, Ring, Seen};

fn change(at: u64, size: usize) -> Seen {
    let value = Bytes::from(vec![b'x'; size]);
    let entry = Entry { key: "/k".into(), value, created: Revision(1), modified: Revision(at) };
    Seen::new(Change::Put { entry, previous: None })
}

fn revisions(ring: &Ring, after: u64) -> Result<Vec<u64>, Ended> {
    Ok(ring.after(Revision(after))?.iter().map(|change| change.revision().0).collect())
}

#[test]
fn a_reader_gets_what_came_after_it() {
    let mut ring = Ring::new(Revision(5));
    ring.push(change(7, 1));
    ring.push(change(9, 1));
    assert_eq!(revisions(&ring, 5), Ok(vec![7, 9]));
    assert_eq!(revisions(&ring, 7), Ok(vec![9]));
    assert_eq!(revisions(&ring, 20), Ok(vec![]));
    assert_eq!(revisions(&ring, 4), Err(Ended::Expired));
}

#[test]
fn the_ring_is_bounded_by_number_and_by_size() {
    let mut ring = Ring::new(Revision(0));
    for at in 1..=(MAX_CHANGES as u64 + 10) {
        ring.push(change(at, 1));
    }
    assert_eq!(revisions(&ring, 9), Err(Ended::Expired));
    assert_eq!(revisions(&ring, 10).unwrap().len(), BATCH);
    ring.push(change(10_000, 9 << 20));
    assert_eq!(revisions(&ring, 4_000), Err(Ended::Expired));
    let before_the_last = MAX_CHANGES as u64 + 10;
    assert_eq!(revisions(&ring, before_the_last), Ok(vec![10_000]));
}

#[test]
fn a_closed_ring_says_so() {
    let mut ring = Ring::new(Revision(0));
    ring.close();
    assert_eq!(revisions(&ring, 0), Err(Ended::Closed));
}

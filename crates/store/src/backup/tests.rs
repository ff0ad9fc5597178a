use proptest::prelude::*;

use super::{BackupError, Reader, chunks};
use crate::{Entry, Page, Revision};

fn page(count: u64, size: usize) -> Page {
    let entry = |number: u64| Entry {
        key: format!("key/{number:05}").into(),
        value: vec![b'v'; size].into(),
        created: Revision(number + 2),
        modified: Revision(number + 3),
    };
    Page { entries: (0..count).map(entry).collect(), revision: Revision(count + 9), remaining: 0 }
}

fn written(page: &Page) -> Vec<u8> {
    chunks(page.clone()).collect::<Vec<_>>().concat()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, BackupError> {
    let mut reader = Reader::open(bytes)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}

#[test]
fn what_is_written_is_read() {
    for (count, size) in [(0, 0), (1, 0), (3, 10), (2000, 1000)] {
        let page = page(count, size);
        let bytes = written(&page);
        assert_eq!(Reader::open(&*bytes).unwrap().head().revision, page.revision);
        assert_eq!(read(&bytes).unwrap(), page.entries);
    }
}

#[test]
fn other_files_and_newer_formats_are_told_apart() {
    assert!(matches!(read(b""), Err(BackupError::Foreign)));
    assert!(matches!(read(b"this is no backup at all"), Err(BackupError::Foreign)));
    let mut bytes = written(&page(1, 1));
    bytes[12] = 9;
    assert!(matches!(read(&bytes), Err(BackupError::Newer { found: 9 })));
}

proptest! {
    #[test]
    fn every_damage_is_noticed(place in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut bytes = written(&page(20, 30));
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_part_is_no_backup(length in any::<prop::sample::Index>()) {
        let bytes = written(&page(20, 30));
        prop_assert!(read(&bytes[..length.index(bytes.len())]).is_err());
    }
}

//! How one change stands in the log: a fixed head, then the key, then the value.
//!
//! ```text
//!   kind u8 │ created u64 │ previous u64 │ key length u32 │ key │ value     (little endian)
//! ```
//! The record's own revision is its key in the log table. `previous` is the revision of the record that this
//! one supersedes, 0 if there was no object: by it a watcher is told what stood before, a read of the past
//! undoes the change, and compaction finds what to forget, all without an index by key in the file.

use crate::Revision;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const HEAD: usize = 1 + 8 + 8 + 4;

/// A change as stored, borrowed from the page that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// When the object came to be; 0 in a deletion.
    pub(super) created: Revision,
    pub(super) previous: Option<Revision>,
    pub(super) key: &'a str,
    /// `None` for a deletion.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let value = self.value.unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEAD + self.key.len() + value.len());
        bytes.push(if self.value.is_some() { PUT } else { DELETE });
        bytes.extend_from_slice(&self.created.0.to_le_bytes());
        bytes.extend_from_slice(&self.previous.unwrap_or_default().0.to_le_bytes());
        let key_length = u32::try_from(self.key.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&key_length.to_le_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    /// The record in `bytes`, or `None` if they are no record.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (created, rest) = number(rest)?;
        let (previous, rest) = number(rest)?;
        let (key_length, rest) = rest.split_first_chunk::<4>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
        let value = match *kind {
            PUT => Some(value),
            DELETE if value.is_empty() => None,
            _ => return None,
        };
        Some(Self {
            created: Revision(created),
            previous: (previous != 0).then_some(Revision(previous)),
            key: std::str::from_utf8(key).ok()?,
            value,
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Record;
    use crate::Revision;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            key in ".*", value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64)),
            created in any::<u64>(), previous in proptest::option::of(1..u64::MAX),
        ) {
            let record = Record {
                created: Revision(created),
                previous: previous.map(Revision),
                key: &key,
                value: value.as_deref(),
            };
            let bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _record = Record::decode(&bytes);
        }
    }
}

//! A document that does not change as long as what it tells of does not.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha512};

/// Bytes with a hash of them for `ETag`s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub bytes: Arc<[u8]>,
    /// Upper-case hexadecimal SHA-512 of the bytes, without quotes.
    pub hash: String,
}

impl Document {
    /// The value as JSON; only its bytes are kept.
    pub fn of(value: &Value) -> Self {
        Self::of_bytes(value.to_string().into_bytes())
    }

    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        let hash = hex::encode_upper(Sha512::digest(&bytes));
        Self { bytes: bytes.into(), hash }
    }
}

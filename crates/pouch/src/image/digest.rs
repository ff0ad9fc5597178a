//! Content is named by its sha256; this is the name, and a reader that computes it on the way.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lower-case hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    hex: String,
}

#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a digest: expected sha256: and 64 lower-case hex digits")]
pub struct DigestError {
    pub text: String,
}

impl Digest {
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").filter(|hex| {
            hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        match hex {
            Some(hex) => Ok(Self { hex: hex.to_owned() }),
            None => Err(DigestError { text: text.to_owned() }),
        }
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { hex: hex::encode(Sha256::digest(bytes)) }
    }

    pub(crate) fn from_hash(hash: [u8; 32]) -> Self {
        Self { hex: hex::encode(hash) }
    }

    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The id of a stack of layers: what its own content and everything below it hash to.
    pub fn chain(below: Option<&Self>, diff: &Self) -> Self {
        match below {
            Some(below) => Self::of(format!("{below} {diff}").as_bytes()),
            None => diff.clone(),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Hashes and counts what is read through it.
#[derive(Debug)]
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    n_bytes: u64,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), n_bytes: 0 }
    }

    /// The digest and the length of everything read so far.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (Digest { hex: hex::encode(self.hasher.finalize()) }, self.n_bytes)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_read]);
        self.n_bytes += n_read as u64;
        Ok(n_read)
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn only_whole_sha256_digests_parse() {
        let good = Digest::of(b"");
        assert_eq!(
            good.to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::parse(&good.to_string()).unwrap(), good);
        let upper = format!("sha256:{}", good.hex().to_uppercase());
        for bad in ["", "sha256:", "sha256:abc", "md5:abc", "sha256:../../../../etc/passwd", &upper] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_lowest_layer_is_its_own_chain() {
        let diff = Digest::of(b"a");
        assert_eq!(Digest::chain(None, &diff), diff);
        assert_ne!(Digest::chain(Some(&diff), &diff), diff);
    }
}

//! A store in which some objects lie encrypted: AES-256-GCM, each with a nonce of its own, bound to its key.
//!
//! ```text
//!   "k8s:enc:aesgcm:v1:" nonce (12 bytes) ciphertext tag (16 bytes)
//! ```
//! What lies there in plain, from before, is read as it is, and encrypted when it is next written; see
//! [`Encrypted::rewrite`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use store::{
    Change, Entry, Expect, Page, Range, ReadError, Revision, Store, Watch, WatchError, WatchEvent, WriteError,
};

const MARK: &[u8] = b"k8s:enc:aesgcm:v1:";

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    #[error("cannot read the encryption key `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` does not hold 32 bytes in hexadecimal")]
    Key { path: PathBuf },
    #[error("cannot encrypt what lies in the store in plain")]
    Rewrite { source: WriteError },
    #[error("cannot look for what lies in the store in plain")]
    Look { source: ReadError },
}

#[derive(Debug, thiserror::Error)]
#[error("`{key}` cannot be decrypted with this key")]
struct Undecipherable {
    key: String,
}

/// A store whose objects under `prefix` are encrypted.
#[derive(Debug)]
pub(crate) struct Encrypted {
    inner: Arc<dyn Store>,
    cipher: Arc<Cipher>,
}

#[derive(Debug)]
struct Cipher {
    key: LessSafeKey,
    prefix: String,
}

impl Cipher {
    fn seal(&self, key: &str, value: Bytes) -> Bytes {
        if !key.starts_with(&self.prefix) {
            return value;
        }
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = value.to_vec();
        let aad = Aad::from(key.as_bytes());
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_value, aad, &mut sealed)
            .expect("an object is far smaller than what AES-GCM can encrypt");
        [MARK, &nonce, &sealed].concat().into()
    }

    fn open(&self, key: &str, value: Bytes) -> Result<Bytes, Undecipherable> {
        let Some(rest) = value.strip_prefix(MARK).filter(|_| key.starts_with(&self.prefix)) else {
            return Ok(value);
        };
        let failed = || Undecipherable { key: key.to_owned() };
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut sealed = sealed.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(key.as_bytes()), &mut sealed);
        let length = opened.map_err(|_| failed())?.len();
        sealed.truncate(length);
        Ok(sealed.into())
    }

    fn open_entry(&self, mut entry: Entry) -> Result<Entry, Undecipherable> {
        entry.value = self.open(&entry.key, entry.value)?;
        Ok(entry)
    }

    fn open_change(&self, change: Change) -> Result<Change, Undecipherable> {
        Ok(match change {
            Change::Put { entry, previous } => Change::Put {
                entry: self.open_entry(entry)?,
                previous: previous.map(|previous| self.open_entry(previous)).transpose()?,
            },
            Change::Delete { revision, previous } => {
                Change::Delete { revision, previous: self.open_entry(previous)? }
            }
        })
    }
}

impl Encrypted {
    /// Encrypts what stands under `prefix` with the key in the file at `path`.
    pub(crate) fn build(inner: Arc<dyn Store>, prefix: &str, path: &Path) -> Result<Self, EncryptionError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| EncryptionError::Read { path: path.to_owned(), source })?;
        let unusable = || EncryptionError::Key { path: path.to_owned() };
        let bytes = hex::decode(text.trim()).map_err(|_| unusable())?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| unusable())?;
        let cipher = Cipher { key: LessSafeKey::new(key), prefix: prefix.to_owned() };
        Ok(Self { inner, cipher: Arc::new(cipher) })
    }

    /// Encrypts what lies there in plain. One that another writes meanwhile is encrypted by that.
    pub(crate) async fn rewrite(&self) -> Result<(), EncryptionError> {
        let range = Range { prefix: self.cipher.prefix.clone(), ..Range::default() };
        let page = self.inner.range(range).await.map_err(|source| EncryptionError::Look { source })?;
        for entry in page.entries.into_iter().filter(|entry| !entry.value.starts_with(MARK)) {
            let value = self.cipher.seal(&entry.key, entry.value);
            match self.inner.put(&entry.key, value, Expect::At(entry.modified)).await {
                Ok(_) | Err(WriteError::Conflict { .. }) => {}
                Err(source) => return Err(EncryptionError::Rewrite { source }),
            }
        }
        Ok(())
    }
}

fn unreadable(error: Undecipherable) -> ReadError {
    ReadError::Unavailable { source: error.into() }
}

#[async_trait]
impl Store for Encrypted {
    async fn revision(&self) -> Result<Revision, ReadError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let found = self.inner.get(key).await?;
        found.map(|entry| self.cipher.open_entry(entry)).transpose().map_err(unreadable)
    }

    async fn range(&self, range: Range) -> Result<Page, ReadError> {
        let page = self.inner.range(range).await?;
        let entries: Result<Vec<Entry>, Undecipherable> =
            page.entries.into_iter().map(|entry| self.cipher.open_entry(entry)).collect();
        Ok(Page { entries: entries.map_err(unreadable)?, ..page })
    }

    async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Entry, WriteError> {
        let open = |entry| {
            self.cipher.open_entry(entry).map_err(|error| WriteError::Unavailable { source: error.into() })
        };
        match self.inner.put(key, self.cipher.seal(key, value), expect).await {
            Ok(entry) => open(entry),
            Err(WriteError::Conflict { key, current }) => {
                Err(WriteError::Conflict { key, current: current.map(open).transpose()? })
            }
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &str, expect: Revision) -> Result<Revision, WriteError> {
        self.inner.delete(key, expect).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        let cipher = Arc::clone(&self.cipher);
        let changes = self.inner.watch(prefix, after).await?;
        Ok(Box::pin(changes.map(move |event| match event? {
            WatchEvent::Change(change) => match cipher.open_change(change) {
                Ok(change) => Ok(WatchEvent::Change(change)),
                Err(error) => {
                    tracing::error!(error = %kit::Chain(&error), "Cannot read a change in the store");
                    Err(WatchError::Closed)
                }
            },
            progress @ WatchEvent::Progress(_) => Ok(progress),
        })))
    }

    async fn snapshot(&self) -> Result<Page, ReadError> {
        self.inner.snapshot().await
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn compact(&self, upto: Revision) -> Result<(), WriteError> {
        self.inner.compact(upto).await
    }
}

#[cfg(test)]
mod tests;

//! The one file: a log of changes by revision, and a few facts about it.
//!
//! ```text
//!   log    revision ─► record        every live object, and all history since the last compaction
//!   facts  "format" "compacted" "revision" ─► number
//! ```
//! There is no table of current objects: the log's records that nothing supersedes *are* the current objects,
//! and they are indexed in memory when the file is opened. So a change costs one append.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::record::Record;
use super::state::Stored;
use crate::{Change, Entry, Revision};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const FORMAT: &str = "format";
const COMPACTED: &str = "compacted";
const REVISION: &str = "revision";

/// The layout written by this version.
const KNOWN_FORMAT: u64 = 1;
/// The revision of a store that nothing was ever written to.
pub(super) const FIRST: Revision = Revision(1);

/// Why the store's file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create the store `{path}`")]
    Create { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot open the store `{path}`")]
    Open { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the store `{path}` is in use by another process")]
    InUse { path: PathBuf },
    #[error(
        "the store `{path}` is damaged or no store; restore it from a copy, or move it away to begin anew"
    )]
    Corrupt { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the store `{path}` has format {found}, but this version knows formats up to {known}; use a newer version"
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error("cannot start the store's writer thread")]
    Thread { source: io::Error },
}

/// Why the open file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("the storage engine failed")]
    Engine { source: redb::Error },
    #[error("the record of revision {revision} cannot be understood")]
    Malformed { revision: u64 },
    #[error("the record of revision {revision} is missing")]
    Missing { revision: u64 },
    #[error("the file is closed after an earlier failure")]
    Closed,
    #[error("cannot go on after an earlier failure")]
    Reopen { source: Box<OpenError> },
}

impl FileError {
    /// Whether more room on the disk would have helped.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Engine { source: redb::Error::Io(error) } => is_full(error),
            Self::Reopen { source } => match &**source {
                OpenError::Open { source, .. } => matches!(
                    source.downcast_ref(),
                    Some(DatabaseError::Storage(StorageError::Io(error))) if is_full(error)
                ),
                _ => false,
            },
            _ => false,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Whatever the storage engine and the file system may complain of.
pub(super) type Problem = Box<dyn std::error::Error + Send + Sync>;

fn engine(error: impl Into<redb::Error>) -> FileError {
    FileError::Engine { source: error.into() }
}

/// Everything that a store knows when it starts.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) index: BTreeMap<Arc<str>, Stored>,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

/// What history to forget.
#[derive(Debug)]
pub(super) struct Compaction {
    pub(super) from: Revision,
    pub(super) upto: Revision,
    /// The records that the changes in between made superfluous, if that is known; otherwise they are read.
    pub(super) superfluous: Option<Vec<Revision>>,
}

/// The open file. Opening locks it against other processes.
#[derive(Debug)]
pub(super) struct File {
    database: Database,
}

impl File {
    /// Opens the file, creating it if there is none.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        if !path.exists() {
            create(path, cache_bytes)
                .map_err(|source| OpenError::Create { path: path.to_owned(), source })?;
        }
        Self::open_existing(path, cache_bytes)
    }

    /// Opens the file again after a failure: by then a missing file is an error, not a new store.
    pub(super) fn open_existing(path: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        let database = Database::builder()
            .set_cache_size(cache_bytes)
            // Without it a damaged page is met in the middle of some later read.
            .set_check_integrity_on_open(true)
            .open(path)
            .map_err(|error| refusal(path, error))?;
        let file = Self { database };
        file.check_format(path)?;
        Ok(file)
    }

    fn check_format(&self, path: &Path) -> Result<(), OpenError> {
        let corrupt = |source| OpenError::Corrupt { path: path.to_owned(), source };
        let found = self.fact(FORMAT).map_err(|error| corrupt(error.into()))?;
        match found {
            None => Err(corrupt("the file holds other data than a store's".into())),
            Some(found) if found > KNOWN_FORMAT => {
                Err(OpenError::Newer { path: path.to_owned(), found, known: KNOWN_FORMAT })
            }
            Some(_) => Ok(()),
        }
    }

    fn fact(&self, name: &str) -> Result<Option<u64>, FileError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let facts = transaction.open_table(FACTS).map_err(engine)?;
        Ok(facts.get(name).map_err(engine)?.map(|value| value.value()))
    }

    /// Reads the whole log into an index of the objects that are there now.
    pub(super) fn load(&self) -> Result<Loaded, FileError> {
        let view = self.view()?;
        let mut index = BTreeMap::<Arc<str>, Stored>::new();
        let mut revision = self.fact(REVISION)?.map_or(FIRST, Revision);
        for item in view.log.iter().map_err(engine)? {
            let (number, bytes) = item.map_err(engine)?;
            let at = number.value();
            let record = Record::decode(bytes.value()).ok_or(FileError::Malformed { revision: at })?;
            revision = revision.max(Revision(at));
            match record.value {
                Some(value) => {
                    let stored = Stored {
                        value: Bytes::copy_from_slice(value),
                        created: record.created,
                        modified: Revision(at),
                    };
                    // Only a new key needs its text: a key that is there already keeps the one it has.
                    match index.get_mut(record.key) {
                        Some(place) => *place = stored,
                        None => _ = index.insert(record.key.into(), stored),
                    }
                }
                None => _ = index.remove(record.key),
            }
        }
        Ok(Loaded { index, revision, compacted: view.compacted })
    }

    /// Makes `changes` durable, and in the same step forgets history up to `compact`.
    pub(super) fn append(&self, changes: &[Change], compact: Option<&Compaction>) -> Result<(), FileError> {
        let transaction = self.database.begin_write().map_err(engine)?;
        {
            let mut log = transaction.open_table(LOG).map_err(engine)?;
            for change in changes {
                let bytes = encode(change);
                log.insert(change.revision().0, bytes.as_slice()).map_err(engine)?;
            }
            if let Some(compaction) = compact {
                let upto = compaction.upto;
                forget(&mut log, compaction)?;
                let mut facts = transaction.open_table(FACTS).map_err(engine)?;
                facts.insert(COMPACTED, upto.0).map_err(engine)?;
                // The latest record may be a deletion that was just forgotten; its number must not come again.
                let latest = changes.last().map_or(upto, Change::revision);
                let known = facts.get(REVISION).map_err(engine)?.map_or(0, |value| value.value());
                facts.insert(REVISION, known.max(latest.0)).map_err(engine)?;
            }
        }
        transaction.commit().map_err(engine)
    }

    /// Removes records later than `revision`: a batch that was reported as failed, yet reached the disk.
    pub(super) fn cut(&self, revision: Revision) -> Result<(), FileError> {
        let has_more = {
            let view = self.view()?;
            view.log.last().map_err(engine)?.is_some_and(|(number, _)| number.value() > revision.0)
        };
        if !has_more {
            return Ok(());
        }
        let transaction = self.database.begin_write().map_err(engine)?;
        {
            let mut log = transaction.open_table(LOG).map_err(engine)?;
            log.retain_in(revision.0 + 1.., |_, _| false).map_err(engine)?;
        }
        transaction.commit().map_err(engine)
    }

    /// Adds objects as they stood when they were last changed, and says that the store is at `revision` with no
    /// history before it.
    pub(super) fn seed(&self, entries: &[Entry], revision: Revision) -> Result<(), FileError> {
        let transaction = self.database.begin_write().map_err(engine)?;
        {
            let mut log = transaction.open_table(LOG).map_err(engine)?;
            for entry in entries {
                let change = Change::Put { entry: entry.clone(), previous: None };
                log.insert(entry.modified.0, encode(&change).as_slice()).map_err(engine)?;
            }
            let mut facts = transaction.open_table(FACTS).map_err(engine)?;
            facts.insert(COMPACTED, revision.0).map_err(engine)?;
            facts.insert(REVISION, revision.0).map_err(engine)?;
        }
        transaction.commit().map_err(engine)
    }

    /// A snapshot of the file as last committed.
    pub(super) fn view(&self) -> Result<View, FileError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let facts = transaction.open_table(FACTS).map_err(engine)?;
        let compacted = facts.get(COMPACTED).map_err(engine)?.map_or(FIRST, |value| Revision(value.value()));
        let log = transaction.open_table(LOG).map_err(engine)?;
        Ok(View { log, compacted })
    }
}

/// A snapshot of the log. It outlives the transaction that it came from.
#[derive(Debug)]
pub(super) struct View {
    log: redb::ReadOnlyTable<u64, &'static [u8]>,
    pub(super) compacted: Revision,
}

impl View {
    /// The changes under `prefix` with revisions in `(after, upto]`, in order.
    pub(super) fn changes(
        &self,
        prefix: &str,
        after: Revision,
        upto: Revision,
    ) -> Result<Vec<Change>, FileError> {
        let mut changes = Vec::new();
        for item in self.log.range(after.0 + 1..=upto.0).map_err(engine)? {
            let (number, bytes) = item.map_err(engine)?;
            let at = number.value();
            let record = Record::decode(bytes.value()).ok_or(FileError::Malformed { revision: at })?;
            if record.key.starts_with(prefix) {
                changes.push(self.change(at, &record)?);
            }
        }
        Ok(changes)
    }

    /// Reads every record, and that what stood before each change is still there where it must be. Tells how many
    /// changes there are.
    pub(super) fn verify(&self) -> Result<u64, FileError> {
        let mut count = 0;
        for item in self.log.iter().map_err(engine)? {
            let (number, bytes) = item.map_err(engine)?;
            let at = number.value();
            let record = Record::decode(bytes.value()).ok_or(FileError::Malformed { revision: at })?;
            if at > self.compacted.0 {
                self.change(at, &record)?;
            }
            count += 1;
        }
        Ok(count)
    }

    fn change(&self, at: u64, record: &Record<'_>) -> Result<Change, FileError> {
        let key: Arc<str> = record.key.into();
        let previous = match record.previous {
            Some(revision) => Some(self.entry(&key, revision)?),
            None => None,
        };
        match (record.value, previous) {
            (Some(value), previous) => {
                let value = Bytes::copy_from_slice(value);
                let entry = Entry { key, value, created: record.created, modified: Revision(at) };
                Ok(Change::Put { entry, previous })
            }
            (None, Some(previous)) => Ok(Change::Delete { revision: Revision(at), previous }),
            (None, None) => Err(FileError::Malformed { revision: at }),
        }
    }

    fn entry(&self, key: &Arc<str>, at: Revision) -> Result<Entry, FileError> {
        let bytes = self.log.get(at.0).map_err(engine)?.ok_or(FileError::Missing { revision: at.0 })?;
        let malformed = FileError::Malformed { revision: at.0 };
        let record = Record::decode(bytes.value()).filter(|record| record.key == &**key);
        let Some(Record { created, value: Some(value), .. }) = record else { return Err(malformed) };
        Ok(Entry { key: key.clone(), value: Bytes::copy_from_slice(value), created, modified: at })
    }
}

fn encode(change: &Change) -> Vec<u8> {
    match change {
        Change::Put { entry, previous } => Record {
            created: entry.created,
            previous: previous.as_ref().map(|entry| entry.modified),
            key: &entry.key,
            value: Some(&entry.value),
        }
        .encode(),
        Change::Delete { previous, .. } => Record {
            created: Revision(0),
            previous: Some(previous.modified),
            key: &previous.key,
            value: None,
        }
        .encode(),
    }
}

/// Removes what is superseded within `(from, upto]`. A record that `upto` still shows stays, however old.
fn forget(log: &mut redb::Table<'_, u64, &[u8]>, compaction: &Compaction) -> Result<(), FileError> {
    let read;
    let superfluous = match &compaction.superfluous {
        Some(known) => known,
        None => {
            read = superfluous(log, compaction)?;
            &read
        }
    };
    for revision in superfluous {
        log.remove(revision.0).map_err(engine)?;
    }
    Ok(())
}

fn superfluous(
    log: &redb::Table<'_, u64, &[u8]>,
    compaction: &Compaction,
) -> Result<Vec<Revision>, FileError> {
    let mut superfluous = Vec::new();
    for item in log.range(compaction.from.0 + 1..=compaction.upto.0).map_err(engine)? {
        let (number, bytes) = item.map_err(engine)?;
        let at = number.value();
        let record = Record::decode(bytes.value()).ok_or(FileError::Malformed { revision: at })?;
        superfluous.extend(record.previous);
        if record.value.is_none() {
            superfluous.push(Revision(at));
        }
    }
    Ok(superfluous)
}

/// Makes a new file under another name and gives it its own in one step, so that a crash leaves either a whole
/// store or none. A link, not a rename: if another process was faster, its file stays and is opened.
fn create(path: &Path, cache_bytes: usize) -> Result<(), Problem> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let outcome = fill(&draft, cache_bytes).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    });
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return outcome.and(Err(error.into())),
        Ok(()) | Err(_) => outcome?,
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok(fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?)
}

fn fill(draft: &Path, cache_bytes: usize) -> Result<(), Problem> {
    begin(draft, cache_bytes).map(drop)
}

/// A new file with the tables of a store, and nothing in them.
pub(super) fn begin(draft: &Path, cache_bytes: usize) -> Result<File, Problem> {
    let database = Database::builder().set_cache_size(cache_bytes).create(draft)?;
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(FACTS)?.insert(FORMAT, KNOWN_FORMAT)?;
    transaction.commit()?;
    Ok(File { database })
}

fn refusal(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    let is_damage = match &error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            return OpenError::InUse { path };
        }
        DatabaseError::UpgradeRequired(_) | DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    };
    let source = error.into();
    if is_damage { OpenError::Corrupt { path, source } } else { OpenError::Open { path, source } }
}

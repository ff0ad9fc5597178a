//! The kernel's files that are read again and again, kept open: to open one costs several times what it costs to read it.
//!
//! ```text
//!   read ──kept──► pread ──ENODEV: its group is gone──► open anew: another group may have its name, or there is none
//!     └──not kept──► open ──► pread ──► kept, while there is room, until nobody reads it for a while
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use parking_lot::Mutex;

use super::GroupError;

/// Who has not been read for so long is closed.
const IDLE: Duration = Duration::from_secs(15);
/// How often such are looked for.
const SWEEP: Duration = Duration::from_secs(5);
/// Most files are told in one read of this size.
const BLOCK: usize = 4096;
/// No line of the files that come in several reads is longer.
const LINE: usize = 64;

/// The files of all groups.
#[derive(Debug)]
pub(super) struct Files {
    /// So many are kept.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    files: HashMap<PathBuf, Open>,
    swept: Instant,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    read_at: Instant,
}

impl Files {
    /// Keeps no more than a quarter of what the process may have open.
    pub(super) fn new() -> Self {
        let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft / 4);
        Self::of(usize::try_from(allowed).unwrap_or(usize::MAX))
    }

    fn of(most: usize) -> Self {
        Self { most, kept: Mutex::new(Kept { files: HashMap::new(), swept: kit::clock::monotonic() }) }
    }

    /// What `parse` makes of the text; that the file does not say what it should, where that is nothing.
    pub(super) fn read<T>(
        &self,
        path: PathBuf,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, GroupError> {
        let parsed = self.read_at(&path, kit::clock::monotonic(), parse);
        match parsed {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(GroupError::Garbled { path }),
            Err(source) => Err(GroupError::Read { path, source }),
        }
    }

    /// A file that is a number.
    pub(super) fn number(&self, path: PathBuf) -> Result<u64, GroupError> {
        self.read(path, |text| text.trim().parse().ok())
    }

    fn read_at<T>(&self, path: &Path, now: Instant, parse: impl FnOnce(&str) -> T) -> io::Result<T> {
        if let Some(file) = self.find(path, now) {
            match with_text(&file, parse) {
                Err(Failure::Gone(parse)) => {
                    self.kept.lock().files.remove(path);
                    return self.open(path, now, parse);
                }
                Err(Failure::Other(error)) => return Err(error),
                Ok(value) => return Ok(value),
            }
        }
        self.open(path, now, parse)
    }

    fn find(&self, path: &Path, now: Instant) -> Option<Arc<File>> {
        let mut kept = self.kept.lock();
        if now.saturating_duration_since(kept.swept) >= SWEEP {
            kept.swept = now;
            kept.files.retain(|_, open| now.saturating_duration_since(open.read_at) < IDLE);
        }
        let open = kept.files.get_mut(path)?;
        open.read_at = now;
        Some(open.file.clone())
    }

    fn open<T>(&self, path: &Path, now: Instant, parse: impl FnOnce(&str) -> T) -> io::Result<T> {
        let file = File::open(path)?;
        let value = with_text(&file, parse).map_err(|failure| match failure {
            Failure::Gone(_) => Errno::ENODEV.into(),
            Failure::Other(error) => error,
        })?;
        let mut kept = self.kept.lock();
        if kept.files.len() < self.most {
            kept.files.insert(path.to_owned(), Open { file: Arc::new(file), read_at: now });
        }
        Ok(value)
    }
}

/// A file could not be read.
enum Failure<P> {
    /// Its group is no more. What was to be made of its text is given back.
    Gone(P),
    Other(io::Error),
}

fn with_text<T, P: FnOnce(&str) -> T>(file: &File, parse: P) -> Result<T, Failure<P>> {
    let mut block = [0; BLOCK];
    let mut length = match file.read_at(&mut block, 0) {
        Ok(length) => length,
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return Err(Failure::Gone(parse)),
        Err(error) => return Err(Failure::Other(error)),
    };
    if length < BLOCK - LINE {
        return Ok(parse(&String::from_utf8_lossy(&block[..length])));
    }
    let mut text = block[..length].to_vec();
    while length > 0 {
        length = file.read_at(&mut block, text.len() as u64).map_err(Failure::Other)?;
        text.extend_from_slice(&block[..length]);
    }
    Ok(parse(&String::from_utf8_lossy(&text)))
}

#[cfg(test)]
mod tests {
    use super::super::{Backend, Mounts, backend};
    use super::*;

    /// A group of the real kernel; gone without a trace afterwards.
    struct Group(Arc<dyn Backend>, String);

    impl Group {
        fn new(name: &str) -> Self {
            let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
            Self(backend(&mounts), format!("crest-test-files-{name}-{}", std::process::id()))
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            self.0.remove(&self.1).unwrap();
        }
    }

    /// Needs root.
    #[test]
    fn a_group_that_is_gone_is_told_apart_from_another_of_its_name() {
        let Group(backend, name) = &Group::new("gone");
        let look = || (backend.cpu_time(name), backend.memory(name), backend.exists(name));
        for _ in 0..2 {
            backend.create(name).unwrap();
            for _ in 0..2 {
                assert!(matches!(look(), (Ok(Duration::ZERO), Ok(_), true)), "{:?}", look());
            }
            backend.remove(name).unwrap();
            let (Err(cpu_time), Err(memory), false) = look() else { panic!("{:?}", look()) };
            assert!(cpu_time.is_gone() && memory.is_gone(), "{cpu_time:?} {memory:?}");
        }
    }

    #[test]
    fn so_many_are_kept_and_no_longer_than_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: usize| folder.path().join(name.to_string());
        let files = Files::of(3);
        let begun = kit::clock::monotonic();
        let read = |name: usize, second: u64| {
            let text = files.read_at(&path(name), begun + Duration::from_secs(second), str::to_owned);
            text.ok()
        };
        let kept = || files.kept.lock().files.len();
        for name in 0..5 {
            assert_eq!(read(name, 0), None);
            std::fs::write(path(name), name.to_string()).unwrap();
            assert_eq!(read(name, 0), Some(name.to_string()));
        }
        assert_eq!(kept(), 3);
        std::fs::write(path(0), "new").unwrap();
        std::fs::write(path(4), "new").unwrap();
        assert_eq!((read(0, 14), read(4, 14)), (Some("new".to_owned()), Some("new".to_owned())));
        // Two of them were not read since.
        read(0, 20);
        assert_eq!(kept(), 1);
        read(4, 20);
        assert_eq!(kept(), 2);
    }

    #[test]
    fn long_files_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        for length in [0, 1, BLOCK - LINE - 1, BLOCK - LINE, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
            let path = folder.path().join(length.to_string());
            std::fs::write(&path, "x".repeat(length)).unwrap();
            let files = Files::of(1);
            for _ in 0..2 {
                assert_eq!(files.read(path.clone(), |text| Some(text.len())).unwrap(), length);
            }
        }
    }
}

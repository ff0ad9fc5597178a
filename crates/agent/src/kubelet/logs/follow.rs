//! Reads a log file to its end and beyond: woken by the kernel when it grows, and past its rotation.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::line::{Filter, Options};
use crate::pods::log_files;
use crate::pods::registry::Live;

const CHUNK: usize = 64 * 1024;

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log `{path}`")]
pub(super) struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// Tells whether more may come.
#[derive(Debug)]
pub(super) struct Alive {
    pub(super) live: watch::Receiver<Live>,
    pub(super) container: String,
    pub(super) attempt: u32,
}

impl Alive {
    fn is_running(&mut self) -> bool {
        // A closed channel means that the Pod is gone.
        let closed = self.live.has_changed().is_err();
        let live = self.live.borrow_and_update();
        !closed && live.running(&self.container).is_some_and(|running| running.attempt == self.attempt)
    }
}

/// A reader of one run's log.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    file: File,
    filter: Filter,
    /// The beginning of a line whose end has not been written yet.
    rest: Vec<u8>,
}

impl Follower {
    pub(super) fn open(dir: &Path, attempt: u32, options: Options) -> Result<Self, LogError> {
        let path = log_files::path(dir, attempt);
        let failed = |source| LogError { path: path.clone(), source };
        let mut file = File::open(&path).map_err(failed)?;
        if let Some(lines) = options.tail_lines {
            let start = tail_start(&mut file, lines).map_err(failed)?;
            file.seek(SeekFrom::Start(start)).map_err(failed)?;
        }
        Ok(Self { path, file, filter: Filter::new(options), rest: Vec::new() })
    }

    /// Sends what there is, then what comes while the container lives; ends early when the reader goes away.
    pub(super) async fn run(mut self, alive: Option<Alive>, sender: mpsc::Sender<Result<Bytes, io::Error>>) {
        let result = match alive {
            None => self.drain(&sender).await.map(drop),
            Some(alive) => self.follow(alive, &sender).await,
        };
        if let Err(error) = result {
            // The reader may be gone, and then needs no word of it.
            let _gone = sender.send(Err(error)).await;
        }
    }

    async fn follow(
        &mut self,
        mut alive: Alive,
        sender: &mpsc::Sender<Result<Bytes, io::Error>>,
    ) -> io::Result<()> {
        // Watched before read: what is written in between wakes us.
        let changes = watch_directory(self.path.parent().unwrap_or(Path::new("/")))?;
        loop {
            let running = alive.is_running();
            if !self.drain(sender).await? {
                return Ok(());
            }
            if self.is_rotated()? {
                // What was written to the old file before the new one was there comes first.
                if !self.drain(sender).await? {
                    return Ok(());
                }
                self.file = File::open(&self.path)?;
                continue;
            }
            self.rewind_if_cut()?;
            if !running {
                return Ok(());
            }
            tokio::select! {
                () = sender.closed() => return Ok(()),
                _ = alive.live.changed() => {}
                ready = changes.readable() => {
                    let mut ready = ready?;
                    drain_events(&changes);
                    ready.clear_ready();
                }
            }
        }
    }

    /// Sends all up to the end of the file. False when the reader has had enough or is gone.
    async fn drain(&mut self, sender: &mpsc::Sender<Result<Bytes, io::Error>>) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.file.read(&mut chunk)?;
            if read == 0 {
                return Ok(!self.filter.is_satisfied());
            }
            let out = self.lines(&chunk[..read]);
            if !out.is_empty() && sender.send(Ok(out.into())).await.is_err() {
                return Ok(false);
            }
            if self.filter.is_satisfied() {
                return Ok(false);
            }
        }
    }

    fn lines(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len());
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.last() == Some(&b'\n') {
                self.rest.pop();
                self.filter.push(&self.rest, &mut out);
                self.rest.clear();
            }
        }
        out
    }

    /// Whether the log goes on in a new file.
    fn is_rotated(&self) -> io::Result<bool> {
        let new = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            metadata => metadata?,
        };
        let old = self.file.metadata()?;
        Ok((new.ino(), new.dev()) != (old.ino(), old.dev()))
    }

    /// Of a file that was cut off in place, all that is in it is new.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

fn watch_directory(dir: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let changes = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, dir, changes)?;
    crate::sys::await_readable(fd)
}

/// What exactly changed does not matter: the file is read again either way.
fn drain_events(changes: &AsyncFd<OwnedFd>) {
    let mut buffer = [0; 4096];
    while rustix::io::read(changes.get_ref(), &mut buffer).is_ok_and(|read| read > 0) {}
}

/// Where the last `lines` lines begin.
fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut end = length;
    let mut found = 0;
    let mut block = vec![0; CHUNK];
    while end > 0 {
        let size = end.min(CHUNK as u64);
        let start = end - size;
        file.seek(SeekFrom::Start(start))?;
        let block = &mut block[..usize::try_from(size).unwrap_or(CHUNK)];
        file.read_exact(block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The end of the last line is not the beginning of another.
            if after < length || lines == 0 {
                found += 1;
            }
            if found >= lines.max(1) {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(0)
}

//! The file of the audit log. Its lines are written by a task of their own: a request waits for no disk, and when the disk
//! cannot keep up lines are lost, with a warning, rather than requests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

/// Lines that wait to be written.
const QUEUE: usize = 16_384;
/// Lines are written together, so many at most, and a moment later than they came: each write costs more than its lines.
const LINES_AT_ONCE: usize = 4096;
const PAUSE: Duration = Duration::from_millis(20);
/// A log that has grown to this is put aside, and the one put aside before is deleted.
const MAX_BYTES: u64 = 100 << 20;

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log `{path}`")]
pub struct LogError {
    path: PathBuf,
    source: std::io::Error,
}

/// Where lines go.
#[derive(Debug)]
pub(super) struct Log {
    lines: mpsc::Sender<Line>,
}

/// One request, as it is written.
pub(super) type Line = Vec<u8>;

impl Log {
    /// Opens the file, which only its owner can read, and starts the task that writes it.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let mut file = File::open(path).map_err(|source| LogError { path: path.to_owned(), source })?;
        let (lines, mut queue) = mpsc::channel::<Line>(QUEUE);
        kit::task::spawn("audit log", async move {
            let mut waiting = Vec::new();
            while queue.recv_many(&mut waiting, LINES_AT_ONCE).await > 0 {
                let batch = std::mem::take(&mut waiting);
                let written = tokio::task::spawn_blocking(move || {
                    let outcome = file.write(&batch);
                    (file, outcome)
                });
                let Ok((returned, outcome)) = written.await else { return };
                file = returned;
                if let Err(error) = outcome {
                    tracing::error!(error = %kit::Chain(&error), "Cannot write the audit log");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(Self { lines })
    }

    pub(super) fn write(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            tracing::warn!("The audit log cannot keep up; a line is lost");
        }
    }
}

struct File {
    path: PathBuf,
    file: std::fs::File,
    length: u64,
}

impl File {
    fn open(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length })
    }

    fn write(&mut self, lines: &[Line]) -> std::io::Result<()> {
        if self.length > MAX_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        let bytes = lines.concat();
        self.length += bytes.len() as u64;
        self.file.write_all(&bytes)
    }
}

//! What long work on images is doing, for people who wait.

use tokio::sync::mpsc;

/// One step that takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading a blob from a registry or an archive.
    Fetch,
    /// Unpacking a layer.
    Unpack,
}

/// Is told how work on each item goes; several items are under way at once. `()` ignores it all.
pub trait Progress: Send + Sync {
    /// Work on `item` (a digest) begins; `total` bytes where known.
    fn begin(&self, _stage: Stage, _item: &str, _total: Option<u64>) {}
    /// So many further bytes are done.
    fn advance(&self, _stage: Stage, _item: &str, _bytes: u64) {}
    fn finish(&self, _stage: Stage, _item: &str) {}
}

impl Progress for () {}

/// A report on its way from a blocking thread to the task that holds the real `Progress`.
#[derive(Debug)]
pub(crate) enum Report {
    Begin(Stage, String, Option<u64>),
    Advance(Stage, String, u64),
    Finish(Stage, String),
}

impl Report {
    pub(crate) fn tell(self, progress: &dyn Progress) {
        match self {
            Self::Begin(stage, item, total) => progress.begin(stage, &item, total),
            Self::Advance(stage, item, bytes) => progress.advance(stage, &item, bytes),
            Self::Finish(stage, item) => progress.finish(stage, &item),
        }
    }
}

/// Sends reports over a channel; whoever listens may have gone, which harms nothing.
#[derive(Debug)]
pub(crate) struct Forward(pub(crate) mpsc::UnboundedSender<Report>);

impl Forward {
    fn send(&self, report: Report) {
        drop(self.0.send(report));
    }
}

impl Progress for Forward {
    fn begin(&self, stage: Stage, item: &str, total: Option<u64>) {
        self.send(Report::Begin(stage, item.to_owned(), total));
    }

    fn advance(&self, stage: Stage, item: &str, bytes: u64) {
        self.send(Report::Advance(stage, item.to_owned(), bytes));
    }

    fn finish(&self, stage: Stage, item: &str) {
        self.send(Report::Finish(stage, item.to_owned()));
    }
}

//! The runtime of the processes that serve.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// After how many pieces of work a thread looks for new requests; tokio's own figure is 61. A piece may take
/// milliseconds here (a list of ten thousand objects), and whoever asks for little must not wait for dozens of them.
const EVENT_INTERVAL: u32 = 4;

/// Threads for work that blocks end after this time without any; tokio's own figure is ten seconds. Work goes to the one that
/// has waited longest: a piece of it each second would keep ten threads for ever, each with memory of its own.
const KEEP_ALIVE: Duration = Duration::from_millis(1500);

/// A runtime of so many threads.
pub(crate) fn serving(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).event_interval(EVENT_INTERVAL).thread_keep_alive(KEEP_ALIVE);
    builder.enable_all().build()
}

/// As many threads as cores: at least two, so that one long piece of work stops nobody.
pub(crate) fn of_all_cores() -> std::io::Result<Runtime> {
    serving(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
}

//! The runtime of the processes that serve.

use tokio::runtime::{Builder, Runtime};

/// After how many pieces of work a thread looks for new requests; tokio's own figure is 61. A piece may take
/// milliseconds here (a list of ten thousand objects), and whoever asks for little must not wait for dozens of them.
const EVENT_INTERVAL: u32 = 4;

/// A runtime of so many threads.
pub(crate) fn serving(threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).event_interval(EVENT_INTERVAL).enable_all().build()
}

/// As many threads as cores: at least two, so that one long piece of work stops nobody.
pub(crate) fn of_all_cores() -> std::io::Result<Runtime> {
    serving(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
}

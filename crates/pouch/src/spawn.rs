//! Threads for work that must not run on the pool: it changes the thread that it runs on.

/// Runs `work` on a thread of its own, and waits for it.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

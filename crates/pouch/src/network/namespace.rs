//! Work inside another network namespace, on a thread of its own that ends there.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::sched::CloneFlags;

use super::NetworkError;
use super::links::LinkError;

pub(super) fn open(path: &Path) -> Result<File, NetworkError> {
    File::open(path).map_err(|source| NetworkError::Namespace { path: path.to_owned(), source })
}

/// Runs `work` in the namespace at `path`.
pub(super) async fn run_in<T, F>(path: &Path, work: F) -> Result<T, NetworkError>
where
    T: Send + 'static,
    F: AsyncFnOnce() -> Result<T, LinkError> + Send + 'static,
{
    let failed = |source| NetworkError::Namespace { path: path.to_owned(), source };
    let namespace = open(path)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let enter = move || -> io::Result<Result<T, LinkError>> {
        nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        // Sockets belong to the namespace in which their thread was when it made them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    };
    let run = move || {
        // Nobody listens any more if the caller was cancelled.
        drop(sender.send(enter()));
    };
    std::thread::Builder::new().name("netns".to_owned()).spawn(run).map_err(failed)?;
    let lost = |_| io::Error::other("the thread in the namespace panicked");
    Ok(receiver.await.map_err(lost).and_then(|done| done).map_err(failed)??)
}

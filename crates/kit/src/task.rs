//! Named background tasks: each logs how it ended when that is not as planned.

use std::fmt::Display;
use std::future::Future;

use tokio::task::JoinHandle;
use tracing::{Instrument, error_span};

/// Runs `future` in the background in a span of its name. A panic in it is logged and ends this task only.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(
        async move {
            let guard = PanicReport;
            future.await;
            std::mem::forget(guard);
        }
        .instrument(error_span!("task", name)),
    )
}

/// As [`spawn`] for work that can fail: the failure is logged with its causes.
pub fn spawn_fallible<F, E>(name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error + Send + 'static,
{
    spawn(name, async move {
        if let Err(error) = future.await {
            tracing::error!(error = %Shown(&error), "Task failed");
        }
    })
}

struct Shown<'a>(&'a (dyn std::error::Error + 'static));

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::Chain(self.0).fmt(f)
    }
}

/// Dropped only by unwinding or by cancellation; tells the two apart.
struct PanicReport;

impl Drop for PanicReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("Task panicked");
        }
    }
}

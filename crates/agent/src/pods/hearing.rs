//! Listens to the engine, so that it need not be asked again and again how its containers are.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

/// How long after an engine fell silent, or told that it tells nothing of itself, it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What was heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Whether the engine would tell of a change.
    pub(super) is_open: bool,
    pub(super) n_changes: u64,
}

/// Listens until `token` is cancelled. To have begun to listen counts as a change: what was before was not heard.
pub(super) async fn listen(engine: Engine, heard: watch::Sender<Heard>, token: CancellationToken) {
    let work = async {
        loop {
            if let Ok(mut events) = engine.events().await {
                heard.send_modify(|heard| {
                    *heard = Heard { is_open: true, n_changes: heard.n_changes + 1 };
                });
                while let Ok(Some(_)) = events.message().await {
                    heard.send_modify(|heard| heard.n_changes += 1);
                }
                heard.send_modify(|heard| heard.is_open = false);
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let _cancelled: Option<()> = token.run_until_cancelled(work).await;
}

//! What watches of the embedded store read from: live changes from the state, history out of the file.

use std::sync::Arc;

use async_trait::async_trait;

use super::Shared;
use crate::watch::{Joined, Origin, Watcher};
use crate::{Change, Revision, WatchError};

/// How many revisions of history are read at once.
const CHUNK: u64 = 512;

#[async_trait]
impl Origin for Shared {
    fn join(&self, watcher: Watcher) -> Result<Joined, WatchError> {
        let mut state = self.state.write();
        let after = watcher.told();
        if state.is_closed {
            return Err(WatchError::Closed);
        }
        if after < state.compacted {
            return Err(WatchError::Compacted { asked: after, oldest: state.compacted });
        }
        let current = state.revision;
        if after < current {
            return Ok(Joined::Behind(current));
        }
        state.watchers.add(watcher);
        Ok(Joined::Live(current))
    }

    async fn history(
        &self,
        prefix: &Arc<str>,
        after: Revision,
        upto: Revision,
    ) -> Result<(Vec<Change>, Revision), WatchError> {
        let upto = upto.min(Revision(after.0 + CHUNK));
        let view = self.view().map_err(|_unreadable| WatchError::Closed)?;
        let prefix = prefix.clone();
        let changes = tokio::task::spawn_blocking(move || {
            if after < view.compacted {
                return Err(WatchError::Compacted { asked: after, oldest: view.compacted });
            }
            view.changes(&prefix, after, upto)
                .map_err(|error| WatchError::Unavailable { source: error.into() })
        });
        let changes = changes.await.map_err(|_runtime_ended| WatchError::Closed)??;
        Ok((changes, upto))
    }
}

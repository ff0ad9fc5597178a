//! Why a pod is where it is, for whoever asks a server: a scheduler that acts on nothing is told of the cluster. Where the
//! controllers of this process work, it is told what they have heard of; else the cluster is listed. So any server can
//! answer, whether its controllers are those that lead or not.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::snapshot::{ListError, Snapshot};
use super::{Config, PodExplanation, load};
use crate::key::ObjectKey;
use crate::sigma::rehearsal::Rehearsal;
use crate::world::World;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error("the explanation of the pod was broken off")]
    Ended(#[source] tokio::task::JoinError),
}

/// What the controllers of this process have heard of, while they work.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<Option<World>>>);

impl Known {
    /// Lends `world` out from when all is known until `token` is cancelled.
    pub(crate) async fn lend(self, world: World, token: CancellationToken) {
        if token.run_until_cancelled(world.knows_what_placement_needs()).await.is_some() {
            *self.0.lock() = Some(world);
            token.cancelled().await;
            *self.0.lock() = None;
        }
    }

    /// The world, if it has heard of the pod: one that was made just now may be news to it.
    fn with_pod(&self, key: &ObjectKey) -> Option<World> {
        self.0.lock().clone().filter(|world| world.pods.get(key).is_some())
    }
}

/// What a scheduler of `config` has to say of a pod; `None` when there is no such pod.
pub async fn explain(
    (client, known): (&Client, &Known),
    config: Config,
    (namespace, name): (String, String),
    now: Timestamp,
) -> Result<Option<PodExplanation>, ExplainError> {
    let (with_usage, instant) = (config.load.is_some(), kit::clock::monotonic());
    let Some(world) = known.with_pod(&ObjectKey::new(&namespace, &name)) else {
        let snapshot = Snapshot::list(client, now, with_usage).await?;
        let unread = snapshot.unread.clone();
        let rehearse = move || Rehearsal::new(snapshot, &config, instant);
        return told(rehearse, (namespace, name), unread).await;
    };
    let mut unread = Vec::new();
    let figures = if with_usage { load::figures(client, now).await } else { Ok(Vec::new()) };
    let usage = figures.unwrap_or_else(|_| {
        unread.push(load::WHAT.to_owned());
        Vec::new()
    });
    let rehearse = move || Rehearsal::of_world(&world, usage, &config, (now, instant));
    told(rehearse, (namespace, name), unread).await
}

/// A moment's work for every node: not on a thread that answers others.
async fn told(
    rehearse: impl FnOnce() -> Rehearsal + Send + 'static,
    (namespace, name): (String, String),
    unread: Vec<String>,
) -> Result<Option<PodExplanation>, ExplainError> {
    let work = move || rehearse().explain(&namespace, &name).map(|told| told.without(&unread));
    tokio::task::spawn_blocking(work).await.map_err(ExplainError::Ended)
}

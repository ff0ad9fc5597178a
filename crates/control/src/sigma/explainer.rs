//! Why a pod is where it is, for whoever asks a server: the cluster is listed, and a scheduler that acts on nothing told of
//! it. Any server can answer, whether its scheduler is the one that leads or not.

use jiff::Timestamp;
use kube::Client;

use super::snapshot::{ListError, Snapshot};
use super::{Config, PodExplanation};
use crate::sigma::rehearsal::Rehearsal;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error("the explanation of the pod was broken off")]
    Ended(#[source] tokio::task::JoinError),
}

/// What a scheduler of `config` has to say of a pod; `None` when there is no such pod.
pub async fn explain(
    client: &Client,
    config: Config,
    (namespace, name): (String, String),
    now: Timestamp,
) -> Result<Option<PodExplanation>, ExplainError> {
    let snapshot = Snapshot::list(client, now, config.load.is_some()).await?;
    let unread = snapshot.unread.clone();
    // A moment's work for every node: not on a thread that answers others.
    let work = move || {
        let mut rehearsal = Rehearsal::new(snapshot, &config, kit::clock::monotonic());
        rehearsal.explain(&namespace, &name).map(|told| told.without(&unread))
    };
    tokio::task::spawn_blocking(work).await.map_err(ExplainError::Ended)
}

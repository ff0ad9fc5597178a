//! `/containerLogs`: a container's log file, from where the reader wants it, for as long as the reader wants it.

mod follow;
mod line;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use follow::{Alive, Follower};
use line::{Options, Stream};

use super::{Refusal, Server, stream};
use crate::pods::log_files;
use crate::pods::order::PodId;
use crate::pods::registry::Entry;

pub(super) async fn logs(
    State(server): State<Arc<Server>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = asked(request.uri().query().unwrap_or_default(), kit::clock::wall())?;
    let entry = server.context.registry.find(&namespace, &pod);
    let entry =
        entry.ok_or_else(|| Refusal::not_found(format!("pod \"{namespace}/{pod}\" is not on this node")))?;
    let known = entry.pod();
    if spec_lacks(&known, &container) {
        return Err(Refusal::not_found(format!("container {container} is not valid for pod {pod}")));
    }
    let dir = server.context.pod_logs.join(PodId::of(&known).log_dir_name()).join(&container);
    let attempts = log_files::attempts(&dir);
    let runs = entry.live.borrow().running(&container).is_some();
    let attempt = if asked.previous {
        previous(&attempts, shown(&known, &container), runs)
    } else {
        attempts.last().copied()
    };
    let attempt = attempt.ok_or_else(|| absent(&known, &container, asked.previous))?;
    let follower = Follower::open(&dir, attempt, asked.options).map_err(|error| Refusal::internal(&error))?;
    let (sender, receiver) = mpsc::channel::<Result<Bytes, io::Error>>(8);
    let alive = asked.follow.then(|| Alive { live: entry_live(&entry), container, attempt });
    kit::task::spawn("logs", follower.run(alive, sender));
    let response = Response::builder()
        .header("content-type", "text/plain")
        .body(Body::from_stream(ReceiverStream::new(receiver)));
    response.map_err(|error| Refusal::internal(&error))
}

fn entry_live(entry: &Entry) -> tokio::sync::watch::Receiver<crate::pods::registry::Live> {
    entry.live.clone()
}

fn spec_lacks(pod: &Pod, container: &str) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let lasting = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut names = lasting
        .map(|container| &container.name)
        .chain(spec.ephemeral_containers.iter().flatten().map(|container| &container.name));
    !names.any(|name| name == container)
}

#[derive(Debug)]
struct Asked {
    follow: bool,
    previous: bool,
    options: Options,
}

fn asked(query: &str, now: Timestamp) -> Result<Asked, Refusal> {
    let mut asked = Asked { follow: false, previous: false, options: Options::default() };
    for (key, value) in stream::pairs(query) {
        let wrong = || Refusal::bad_request(format!("{key}: `{value}` is not valid"));
        let flag = || matches!(value.as_str(), "1" | "true");
        let number = || value.parse::<u64>().map_err(|_| wrong());
        match key.as_str() {
            "follow" => asked.follow = flag(),
            "previous" => asked.previous = flag(),
            "timestamps" => asked.options.timestamps = flag(),
            "tailLines" => asked.options.tail_lines = Some(number()?),
            "limitBytes" => asked.options.limit_bytes = Some(number()?),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).map_err(|_| wrong())?;
                asked.options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
            }
            "stream" => {
                asked.options.stream = match value.as_str() {
                    "Stdout" => Some(Stream::Stdout),
                    "Stderr" => Some(Stream::Stderr),
                    _ => None,
                }
            }
            "sinceTime" => asked.options.since = Some(value.parse().map_err(|_| wrong())?),
            _ => {}
        }
    }
    Ok(asked)
}

/// What users see of `container`.
fn shown<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses);
    let mut all = all.chain(&status.ephemeral_container_statuses).flatten();
    all.find(|status| status.name == container)
}

/// The run before the one that users see: of a container that waits to be restarted, that is the last.
fn previous(attempts: &BTreeSet<u32>, shown: Option<&ContainerStatus>, runs: bool) -> Option<u32> {
    let waits = shown.and_then(|status| status.state.as_ref()).is_some_and(|state| state.waiting.is_some());
    let has_ended = shown.is_some_and(|status| status.last_state.is_some());
    let n_after = if waits && has_ended && !runs { 0 } else { 1 };
    attempts.iter().rev().nth(n_after).copied()
}

/// Why there is no log, in the words of kubelets.
fn absent(pod: &Pod, container: &str, previous: bool) -> Refusal {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if previous {
        return Refusal::bad_request(format!(
            "previous terminated container \"{container}\" in pod \"{name}\" not found"
        ));
    }
    let waiting = shown(pod, container).and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let why = match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => "ContainerCreating",
    };
    Refusal::bad_request(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"))
}

#[cfg(test)]
mod tests;

//! `/containerLogs`: a container's log file, from where the reader wants it, for as long as the reader wants it.

mod follow;
mod line;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use follow::{Alive, Follower};
use line::Options;

use super::{Refusal, Server, stream};
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
    let attempts = attempts(&dir);
    let attempt = if asked.previous { attempts.iter().rev().nth(1) } else { attempts.last() };
    let Some(&attempt) = attempt else {
        let what = if asked.previous { "previous terminated container" } else { "container" };
        return Err(Refusal::bad_request(format!("{what} \"{container}\" in pod \"{pod}\" has no log yet")));
    };
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

fn spec_lacks(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> bool {
    let mut names = pod.spec.iter().flat_map(|spec| {
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|container| &container.name)
    });
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
            "sinceTime" => asked.options.since = Some(value.parse().map_err(|_| wrong())?),
            _ => {}
        }
    }
    Ok(asked)
}

/// The restarts that have a log, lowest first.
fn attempts(dir: &FsPath) -> BTreeSet<u32> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect()
}

fn log_path(dir: &FsPath, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.log"))
}

#[cfg(test)]
mod tests;

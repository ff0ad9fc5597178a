//! Workers of other hosts: their node's agent is asked for the next of them, again and again, and each answer is a
//! connection like one that was accepted here.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fuxi::protocol::remote;
use http::header::UPGRADE;
use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::Node;
use kit::tls::{PairPaths, TlsError};
use kit::tunnel::Upstream;
use kit::tunnel::switch::{Answer, ask};
use model::names;
use tokio_util::sync::DropGuard;

use super::server::{Entrance, Origin};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An agent says within 20 seconds that nobody came. One that says nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(40);

/// By which the master is known to the agents of nodes: as the API server is.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub pair: PairPaths,
    pub authority: PathBuf,
}

/// The nodes whose agents are asked.
pub(super) struct Tunnels {
    entrance: Entrance,
    /// `None` asks nobody.
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    /// Another for each start, so that agents end what they hold for the one before.
    master: String,
    asked: BTreeMap<String, (String, u16, DropGuard)>,
}

impl Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("asked", &self.asked.keys()).finish_non_exhaustive()
    }
}

impl Tunnels {
    pub(super) fn build(entrance: Entrance, credentials: Option<&Credentials>) -> Result<Self, TlsError> {
        let tls = credentials.map(|each| kit::tls::client(Some(&each.pair), &each.authority)).transpose()?;
        Ok(Self { entrance, tls, master: format!("{:032x}", rand::random::<u128>()), asked: BTreeMap::new() })
    }

    /// Asks the agent of a node if its workers are to be had there, and no other.
    pub(super) fn follow(&mut self, name: &str, node: Option<&Node>) {
        let upstream = node.filter(|node| folder(node).is_some()).and_then(|node| self.upstream(node));
        let Some(upstream) = upstream else {
            self.asked.remove(name);
            return;
        };
        let known = self.asked.get(name);
        if known.is_some_and(|(host, port, _)| *host == upstream.host && *port == upstream.port) {
            return;
        }
        let token = self.entrance.token.child_token();
        let (host, port) = (upstream.host.clone(), upstream.port);
        let asker = Asker {
            entrance: self.entrance.clone(),
            upstream,
            master: self.master.clone(),
            node: name.to_owned(),
        };
        let until = token.clone();
        kit::task::spawn("worker-tunnel", async move {
            until.run_until_cancelled(asker.run()).await;
        });
        self.asked.insert(name.to_owned(), (host, port, token.drop_guard()));
    }

    fn upstream(&self, node: &Node) -> Option<Upstream> {
        let tls = self.tls.clone()?;
        let status = node.status.as_ref()?;
        let address = status.addresses.iter().flatten().find(|address| address.type_ == "InternalIP")?;
        let endpoint = status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref()?;
        let port = u16::try_from(endpoint.port).ok().filter(|port| *port != 0)?;
        Some(Upstream { host: address.address.clone(), port, tls: Some(tls) })
    }
}

/// Where a node says that its workers find their program and their socket.
pub(super) fn folder(node: &Node) -> Option<PathBuf> {
    let folder = Path::new(node.metadata.annotations.as_ref()?.get(names::WORKER_FOLDER)?);
    let is_plain = folder.is_absolute() && folder.components().all(|part| part.as_os_str() != "..");
    is_plain.then(|| folder.to_owned())
}

/// Asks one agent.
struct Asker {
    entrance: Entrance,
    upstream: Upstream,
    master: String,
    node: String,
}

impl Asker {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match tokio::time::timeout(SILENCE, self.ask()).await {
                Ok(Some(Answer::Switched(stream))) => {
                    self.entrance.admit(stream, &Origin::Node(self.node.clone()));
                    pause = FIRST_PAUSE;
                }
                Ok(Some(Answer::Other(response))) if response.status() == StatusCode::NO_CONTENT => {
                    pause = FIRST_PAUSE;
                }
                Ok(Some(Answer::Other(response))) => {
                    tracing::debug!(node = self.node, status = %response.status(), "Agent gives no workers");
                    self.wait(&mut pause).await;
                }
                Ok(None) | Err(_) => self.wait(&mut pause).await,
            }
        }
    }

    async fn wait(&self, pause: &mut Duration) {
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
    }

    async fn ask(&self) -> Option<Answer> {
        let request = Request::post(remote::PATH)
            .header(UPGRADE, remote::UPGRADE)
            .header(remote::MASTER_HEADER, &self.master)
            .body(http_body_util::Empty::new())
            .ok()?;
        let answer = ask(request, &self.upstream).await;
        answer
            .inspect_err(|error| {
                tracing::debug!(node = self.node, error = %kit::Chain(error), "Agent not asked for workers");
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    /// What a node tells of itself becomes a path of Pods on it.
    #[test]
    fn folders_are_whole_plain_paths() {
        for (told, folder_of_it) in [
            (Some("/run/crest/worker"), Some("/run/crest/worker")),
            (Some("run/crest"), None),
            (Some("/run/../etc"), None),
            (Some(""), None),
            (None, None),
        ] {
            let annotations = told.map(|told| BTreeMap::from([(names::WORKER_FOLDER.into(), told.into())]));
            let node =
                Node { metadata: ObjectMeta { annotations, ..ObjectMeta::default() }, ..Node::default() };
            assert_eq!(folder(&node).as_deref(), folder_of_it.map(Path::new), "{told:?}");
        }
    }
}

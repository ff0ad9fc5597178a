//! Masters and workers at both ends of the tunnel, over real sockets.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::post;
use fuxi::protocol::remote;
use http::Request as Plain;
use http_body_util::Empty;
use kit::tunnel::Upstream;
use kit::tunnel::switch::{Answer, ask};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot::{self, Receiver};
use tokio_util::sync::DropGuard;

use super::*;

struct Scene {
    folder: TempDir,
    workers: Arc<Workers>,
    upstream: Upstream,
    _server: DropGuard,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workers = Arc::new(Workers::bind(folder.path()).unwrap());
        let served = Arc::clone(&workers);
        let handler = move |mut request: Request| {
            let workers = Arc::clone(&served);
            async move { Ok::<_, Infallible>(answer(&workers, &mut request).await.into_response()) }
        };
        let router = Router::new().route(remote::PATH, post(handler));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let token = CancellationToken::new();
        let server = kit::serve::serve(listener, router, kit::serve::Options::default(), token.clone());
        kit::task::spawn("agent", server);
        let upstream = Upstream { host: "127.0.0.1".to_owned(), port, tls: None };
        Self { folder, workers, upstream, _server: token.drop_guard() }
    }

    fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    async fn worker(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// A master's request, which stays open until it is dropped.
    fn asked(&self, master: &str) -> Receiver<Answer> {
        let upstream = self.upstream.clone();
        let request = request(master, remote::UPGRADE);
        let (mut sender, answer) = oneshot::channel();
        kit::task::spawn("master", async move {
            let answer = tokio::select! {
                answer = ask(request, &upstream) => answer.unwrap(),
                () = sender.closed() => return,
            };
            drop(sender.send(answer));
        });
        answer
    }

    /// Until a request of `master` waits, and another than the one with `before`.
    async fn waits(&self, master: &str, before: Option<&CancellationToken>) -> CancellationToken {
        loop {
            {
                let served = self.workers.served.lock();
                let is_another = before.is_none_or(CancellationToken::is_cancelled);
                if served.master == master && is_another {
                    return served.waiting.clone();
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join(SOCKET)
}

fn request(master: &str, protocol: &str) -> Plain<Empty<bytes::Bytes>> {
    let request = Plain::post(remote::PATH).header("upgrade", protocol);
    request.header(remote::MASTER_HEADER, master).body(Empty::new()).unwrap()
}

async fn switched(answer: Receiver<Answer>) -> impl AsyncRead + AsyncWrite + Unpin {
    match answer.await.unwrap() {
        Answer::Switched(stream) => stream,
        Answer::Other(response) => panic!("refused: {response:?}"),
    }
}

async fn status(answer: Receiver<Answer>) -> StatusCode {
    match answer.await.unwrap() {
        Answer::Other(response) => response.status(),
        Answer::Switched(_) => panic!("a worker came"),
    }
}

/// One line there and one back.
async fn talk(
    master: &mut (impl AsyncRead + AsyncWrite + Unpin),
    worker: &mut (impl AsyncRead + AsyncWrite + Unpin),
) {
    let mut heard = [0; 6];
    worker.write_all(b"hello\n").await.unwrap();
    master.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello\n");
    master.write_all(b"begin\n").await.unwrap();
    worker.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"begin\n");
}

async fn assert_ended(mut stream: impl AsyncRead + Unpin) {
    // A connection that is cut may end in an error as well.
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn workers_and_masters_hear_each_other_and_each_others_end() {
    let scene = Scene::new().await;
    // Whichever comes first waits for the other.
    let mut early = scene.worker().await;
    let mut first = switched(scene.asked("a")).await;
    talk(&mut first, &mut early).await;
    let asked = scene.asked("a");
    let mut late = scene.worker().await;
    let mut second = switched(asked).await;
    talk(&mut second, &mut late).await;
    talk(&mut first, &mut early).await;
    drop(early);
    assert_ended(first).await;
    drop(second);
    assert_ended(late).await;
}

#[tokio::test]
async fn who_asked_last_is_served() {
    let scene = Scene::new().await;
    let earlier = scene.asked("a");
    let waiting = scene.waits("a", None).await;
    let later = scene.asked("a");
    scene.waits("a", Some(&waiting)).await;
    assert_eq!(status(earlier).await, StatusCode::CONFLICT);
    let mut worker = scene.worker().await;
    talk(&mut switched(later).await, &mut worker).await;
}

#[tokio::test]
async fn another_master_ends_what_the_one_before_holds() {
    let scene = Scene::new().await;
    let mut worker = scene.worker().await;
    let mut old = switched(scene.asked("a")).await;
    talk(&mut old, &mut worker).await;
    let waiting = scene.asked("a");
    scene.waits("a", None).await;
    let new = scene.asked("b");
    assert_ended(worker).await;
    assert_ended(old).await;
    assert_eq!(status(waiting).await, StatusCode::CONFLICT);
    let mut worker = scene.worker().await;
    talk(&mut switched(new).await, &mut worker).await;
}

#[tokio::test]
async fn a_master_that_went_away_while_it_waited_takes_no_worker_along() {
    let scene = Scene::new().await;
    let gone = scene.asked("a");
    let waiting = scene.waits("a", None).await;
    drop(gone);
    let next = scene.asked("a");
    scene.waits("a", Some(&waiting)).await;
    let mut worker = scene.worker().await;
    talk(&mut switched(next).await, &mut worker).await;
}

#[tokio::test]
async fn an_agent_that_ends_ends_its_connections() {
    let scene = Scene::new().await;
    let worker = scene.worker().await;
    let master = switched(scene.asked("a")).await;
    let waiting = scene.asked("a");
    scene.waits("a", None).await;
    scene.workers.close();
    assert_ended(worker).await;
    assert_ended(master).await;
    assert_eq!(status(waiting).await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let scene = Scene::new().await;
    for request in [
        request("a", "crest-workers/2"),
        Plain::post(remote::PATH).header("upgrade", remote::UPGRADE).body(Empty::new()).unwrap(),
    ] {
        let Answer::Other(response) = ask(request, &scene.upstream).await.unwrap() else {
            panic!("switched")
        };
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_master_is_told_that_nobody_came() {
    let folder = tempfile::tempdir().unwrap();
    let mut workers = Workers::bind(folder.path()).unwrap();
    workers.patience = Duration::from_millis(10);
    let refusal = workers.next("a").await.unwrap_err();
    assert_eq!(refusal.code, StatusCode::NO_CONTENT);
}

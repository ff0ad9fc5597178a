//! Whoever comes to the workers' socket, which every batch container can reach, and is no worker.

use std::path::Path;
use std::time::Duration;

use fuxi::protocol::{FromWorker, Hello, MAX_HELLO};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use model::dagjob::JobPhase;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::task;
use crate::cluster::Cluster;

/// What is answered to this until the connection is closed, which is to be before anybody has to be waited for.
async fn answer_to(socket: &Path, text: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // It may be closed before all is written.
    let _closed = stream.write_all(text).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    // Closed with something unread is an error, too.
    let _reset = read.expect("closed at once");
    String::from_utf8(answer).unwrap()
}

fn hello(worker: &str, token: &str) -> Vec<u8> {
    let hello = Hello {
        worker: worker.to_owned(),
        token: token.to_owned(),
        held: Vec::new(),
        ended: 60_000,
        full: false,
    };
    let mut line = serde_json::to_vec(&FromWorker::Hello(hello)).unwrap();
    line.push(b'\n');
    line
}

pub(crate) async fn whoever_is_no_worker_takes_next_to_nothing() {
    let cluster = Cluster::start().await;
    let script = "while ! [ -e $OUT/go ]; do sleep 0.05; done";
    cluster.create_job("calm", json!([task("only", 1, script, &[])])).await;
    cluster.wait_for("calm", |status| status.tasks.get("only").is_some_and(|task| task.running == 1)).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "default");
    let worker = format!("default/{}", pods.list(&ListParams::default()).await.unwrap().items[0].name_any());
    let socket = cluster.socket();

    // Of its results none is waited for.
    assert_eq!(answer_to(&socket, &hello(&worker, "wrong")).await, "");
    assert_eq!(answer_to(&socket, &hello("default/nobody", "wrong")).await, "{\"kind\":\"stop\"}\n");
    assert_eq!(answer_to(&socket, &vec![b'x'; MAX_HELLO + 100_000]).await, "");
    assert_eq!(answer_to(&socket, b"nonsense\n").await, "");

    // Of many that say nothing most are closed.
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(UnixStream::connect(&socket).await.unwrap());
    }
    let mut n_closed = 0;
    for stream in &mut silent {
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0])).await;
        n_closed += usize::from(read.is_ok());
    }
    assert_eq!(n_closed, 50 - 16);
    drop(silent);

    cluster.write("go", "");
    let status = cluster.wait_for("calm", |status| status.phase == JobPhase::Succeeded).await;
    assert_eq!(status.tasks["only"].failed_attempts, 0);
}

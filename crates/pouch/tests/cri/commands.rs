//! Commands in running containers.

use tonic::Code;

use crate::daemon::{Daemon, shell};

const FOREVER: &str = "while :; do sleep 1; done";

async fn runs_commands(runtime: &str) {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox_of(runtime, Default::default()).await;
    let mut config = shell("main", FOREVER);
    config.envs = vec![pouch::cri::KeyValue { key: "COLOUR".to_owned(), value: "blue".to_owned() }];
    let id = daemon.launch(&sandbox, config).await;
    let done = daemon.exec(&id, &["sh", "-c", "echo $COLOUR; echo bad >&2; exit 4"]).await;
    assert_eq!((done.stdout, done.stderr, done.exit_code), (b"blue\n".into(), b"bad\n".into(), 4));
    let refused = daemon.try_exec(&id, &["/no/such"], 20).await.unwrap_err();
    assert!(refused.message().contains("/no/such"), "{refused}");
}

#[tokio::test]
async fn linked_in_runtime() {
    runs_commands("").await;
}

#[tokio::test]
async fn runc() {
    runs_commands("runc").await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("main", FOREVER)).await;
    let refused = daemon.try_exec(&id, &["sleep", "777"], 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    let left = daemon.exec(&id, &["sh", "-c", "cat /proc/[0-9]*/cmdline"]).await;
    assert!(!String::from_utf8_lossy(&left.stdout).contains("777"));
}

#[tokio::test]
async fn a_child_that_holds_the_output_holds_nothing_up() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("main", FOREVER)).await;
    let done = daemon.exec(&id, &["sh", "-c", "sleep 100 & echo out"]).await;
    assert_eq!((done.stdout, done.exit_code), (b"out\n".into(), 0));
}

#[tokio::test]
async fn there_is_no_command_in_what_does_not_run() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.create(&sandbox, shell("main", FOREVER)).await;
    let refused = daemon.try_exec(&id, &["true"], 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused = daemon.try_exec("nothing", &["true"], 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

//! kill -9 on the engine, and on a shim.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pouch::cri::ContainerState;

use crate::daemon::{Daemon, shell};

#[tokio::test]
async fn containers_run_on_and_are_taken_over() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let runs = daemon
        .launch(&sandbox, shell("runs", "while [ ! -e /go ]; do sleep 0.05; done; echo bye; exit 5"))
        .await;
    let waits = daemon.create(&sandbox, shell("waits", "exit 6")).await;
    let ended = daemon.launch(&sandbox, shell("ended", "exit 4")).await;
    daemon.exited(&ended).await;
    let before = daemon.info(&runs).await["pid"].clone();
    let started_at = daemon.status(&runs).await.started_at;

    daemon.crash_and_restart().await;
    assert_eq!(daemon.info(&runs).await["pid"], before);
    let status = daemon.status(&runs).await;
    assert_eq!((status.state(), status.started_at), (ContainerState::ContainerRunning, started_at));
    assert_eq!(daemon.status(&waits).await.state(), ContainerState::ContainerCreated);
    assert_eq!(daemon.status(&ended).await.exit_code, 4);

    daemon.exec(&runs, &["sh", "-c", "echo > /go"]).await;
    assert_eq!(daemon.exited(&runs).await.exit_code, 5);
    assert_eq!(daemon.log("runs"), ["stdout F bye"]);
    let request = pouch::cri::StartContainerRequest { container_id: waits.clone() };
    daemon.client.start_container(request).await.unwrap();
    assert_eq!(daemon.exited(&waits).await.exit_code, 6);
}

#[tokio::test]
async fn an_end_while_nobody_watched_is_known() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("short", "echo up; sleep 0.2; exit 9")).await;
    daemon.logged("short", 1).await;
    daemon.crash_and_restart().await;
    assert_eq!(daemon.exited(&id).await.exit_code, 9);
}

#[tokio::test]
async fn a_container_does_not_outlive_its_shim() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("orphan", "while :; do sleep 1; done")).await;
    let info = daemon.info(&id).await;
    let pid = |name: &str| Pid::from_raw(info[name].as_i64().unwrap().try_into().unwrap());
    kill(pid("shimPid"), Signal::SIGKILL).unwrap();
    assert_eq!(daemon.exited(&id).await.exit_code, 137);
    assert!(daemon.is_gone(pid("pid")).await);
}

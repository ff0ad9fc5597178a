//! From sandbox to exit, with the linked-in runtime and with runc.

use pouch::cri;

use crate::daemon::{Daemon, shell};

async fn runs_logs_and_exits(runtime: &str) {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox_of(runtime, cri::LinuxPodSandboxConfig::default()).await;
    let script = "echo out; echo err >&2; hostname; cat /etc/hostname; printf end; exit 3";
    let id = daemon.launch(&sandbox, shell("one", script)).await;
    let status = daemon.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.created_at <= status.started_at && status.started_at <= status.finished_at);
    let mut log = daemon.log("one");
    log.sort();
    assert_eq!(
        log,
        ["stderr F err", "stdout F out", "stdout F pod-host", "stdout F pod-host", "stdout P end"]
    );
    daemon.remove_sandbox(&sandbox).await;
    assert_eq!(daemon.mounts(), Vec::<String>::new());
}

#[tokio::test]
async fn linked_in_runtime() {
    runs_logs_and_exits("").await;
}

#[tokio::test]
async fn runc() {
    runs_logs_and_exits("runc").await;
}

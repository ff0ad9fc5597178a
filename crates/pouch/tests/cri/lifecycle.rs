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

#[tokio::test]
async fn removing_and_stopping_what_is_gone_succeeds() {
    let mut daemon = Daemon::start().await;
    let nothing = "0".repeat(64);
    daemon.stop(&nothing, 0).await;
    daemon
        .client
        .remove_container(cri::RemoveContainerRequest { container_id: nothing.clone() })
        .await
        .unwrap();
    daemon
        .client
        .stop_pod_sandbox(cri::StopPodSandboxRequest { pod_sandbox_id: nothing.clone() })
        .await
        .unwrap();
    daemon.remove_sandbox(&nothing).await;
}

#[tokio::test]
async fn stop_asks_first_and_kills_later() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let polite = daemon
        .launch(&sandbox, shell("polite", "trap 'exit 7' TERM; echo up; while :; do sleep 1; done"))
        .await;
    let deaf =
        daemon.launch(&sandbox, shell("deaf", "trap '' TERM; echo up; while :; do sleep 1; done")).await;
    daemon.logged("polite", 1).await;
    daemon.logged("deaf", 1).await;
    daemon.stop(&polite, 20).await;
    daemon.stop(&deaf, 1).await;
    assert_eq!(daemon.status(&polite).await.exit_code, 7);
    assert_eq!(daemon.status(&deaf).await.exit_code, 137);
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_refused_and_leaves_nothing() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let before = daemon.mounts().len();
    let refused =
        daemon.try_create(&sandbox, crate::daemon::container("no", &["/no/such"])).await.unwrap_err();
    assert!(refused.message().contains("/no/such"), "{refused}");
    assert_eq!(daemon.mounts().len(), before);
    assert_eq!(daemon.cgroups().len(), 0);
}

#[tokio::test]
async fn memory_beyond_the_limit_ends_the_container() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let mut config = shell("hungry", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    config.linux = Some(cri::LinuxContainerConfig {
        resources: Some(cri::LinuxContainerResources {
            memory_limit_in_bytes: 16 << 20,
            memory_swap_limit_in_bytes: 16 << 20,
            cpu_shares: 512,
            ..Default::default()
        }),
        security_context: None,
    });
    let id = daemon.launch(&sandbox, config).await;
    let status = daemon.exited(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
}

#[tokio::test]
async fn limits_change_while_it_runs_and_use_is_told() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("busy", "while :; do :; done")).await;
    let linux = cri::LinuxContainerResources {
        cpu_quota: 10_000,
        cpu_period: 100_000,
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    let request = cri::UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(linux.clone()),
        ..Default::default()
    };
    daemon.client.update_container_resources(request).await.unwrap();
    assert_eq!(daemon.status(&id).await.resources.unwrap().linux.unwrap().cpu_quota, 10_000);
    let request = cri::ContainerStatsRequest { container_id: id };
    let stats = daemon.client.container_stats(request).await.unwrap().into_inner().stats.unwrap();
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    assert!(stats.memory.unwrap().working_set_bytes.unwrap().value > 0);
}

#[tokio::test]
async fn the_log_goes_on_in_a_new_file() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon
        .launch(&sandbox, shell("turn", "echo one; while [ ! -e /go ]; do sleep 0.05; done; echo two"))
        .await;
    daemon.logged("turn", 1).await;
    let logs = daemon.home.path().join("logs");
    std::fs::rename(logs.join("turn"), logs.join("turn.1")).unwrap();
    daemon
        .client
        .reopen_container_log(cri::ReopenContainerLogRequest { container_id: id.clone() })
        .await
        .unwrap();
    daemon.exec(&id, &["sh", "-c", "echo > /go"]).await;
    daemon.exited(&id).await;
    assert_eq!(daemon.log("turn"), ["stdout F two"]);
}

#[tokio::test]
async fn many_at_once() {
    let mut daemon = Daemon::start().await;
    let begin = kit::clock::monotonic();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let sandbox = daemon.sandbox().await;
        ids.push(daemon.launch(&sandbox, shell("many", "exit 0")).await);
    }
    let each = begin.elapsed() / 20;
    for id in &ids {
        assert_eq!(daemon.exited(id).await.exit_code, 0);
    }
    println!("sandbox, create and start take {each:?} each");
}

#[tokio::test]
async fn the_shim_is_small() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("idle", "while :; do sleep 1; done")).await;
    let shim = daemon.info(&id).await["shimPid"].clone();
    let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let private: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    println!("the shim has {private} KiB of its own");
    assert!(private < 4096, "{rollup}");
}

#[tokio::test]
async fn who_listens_is_told_of_each_change_until_the_engine_ends() {
    let mut daemon = Daemon::start().await;
    let events = daemon.client.get_container_events(cri::GetEventsRequest {}).await;
    let mut events = events.unwrap().into_inner();
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("one", "sleep 0.3; exit 3")).await;
    daemon.exited(&id).await;
    let gone = cri::RemoveContainerRequest { container_id: id.clone() };
    daemon.client.remove_container(gone).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let event = events.message().await.unwrap().unwrap();
        assert_eq!(event.container_id, id);
        assert_eq!(event.pod_sandbox_status.as_ref().unwrap().id, sandbox);
        kinds.push(event.container_event_type());
    }
    assert_eq!(
        kinds,
        [
            cri::ContainerEventType::ContainerCreatedEvent,
            cri::ContainerEventType::ContainerStartedEvent,
            cri::ContainerEventType::ContainerStoppedEvent,
            cri::ContainerEventType::ContainerDeletedEvent,
        ]
    );
    // Who listens holds nobody up.
    daemon.terminate().await;
    assert!(events.message().await.unwrap().is_none());
}

//! What a container may not do.

use pouch::cri;

use crate::daemon::{Daemon, shell};

async fn tells(context: cri::LinuxContainerSecurityContext, script: &str) -> Vec<String> {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let mut config = shell("one", script);
    config.linux = Some(cri::LinuxContainerConfig { security_context: Some(context), resources: None });
    let id = daemon.launch(&sandbox, config).await;
    daemon.exited(&id).await;
    daemon.log("one").iter().map(|line| line.replace("stdout F ", "")).collect()
}

#[tokio::test]
async fn defaults() {
    let script = "cat /proc/1/status | while read k v; do case $k in Seccomp:|CapEff:|NoNewPrivs:) echo $k $v;; esac; done; \
                  hostname other 2>/dev/null || echo no hostname; \
                  (echo x > /proc/sys/kernel/domainname) 2>/dev/null || echo no sysctl; \
                  cat /proc/keys; id";
    let told = tells(cri::LinuxContainerSecurityContext::default(), script).await;
    assert_eq!(
        told,
        [
            "CapEff: 00000000a80425fb",
            "NoNewPrivs: 0",
            "Seccomp: 2",
            "no hostname",
            "no sysctl",
            "uid=0(root) gid=0(root) groups=0(root)"
        ]
    );
}

#[tokio::test]
async fn a_user_by_name_on_a_read_only_root() {
    let context = cri::LinuxContainerSecurityContext {
        run_as_username: "web".to_owned(),
        readonly_rootfs: true,
        no_new_privs: true,
        supplemental_groups: vec![50],
        ..Default::default()
    };
    let told = tells(context, "id; (echo x > /tmp/x) 2>/dev/null || echo read-only").await;
    assert_eq!(told, ["uid=33(web) gid=33(web) groups=33(web),40(log),50", "read-only"]);
}

#[tokio::test]
async fn privileged_is_what_the_host_can_give() {
    let context = cri::LinuxContainerSecurityContext { privileged: true, ..Default::default() };
    let told =
        tells(context, "hostname other && hostname; (echo x > /proc/sys/kernel/domainname) && echo sysctl")
            .await;
    assert_eq!(told, ["other", "sysctl"]);
}

#[tokio::test]
async fn namespaces_of_the_host() {
    let node = i32::from(cri::NamespaceMode::Node);
    let options = cri::NamespaceOption { network: node, pid: node, ipc: node, ..Default::default() };
    let mut daemon = Daemon::start().await;
    let sandbox = cri::LinuxPodSandboxConfig {
        security_context: Some(cri::LinuxSandboxSecurityContext {
            namespace_options: Some(options.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let sandbox = daemon.sandbox_of("", sandbox).await;
    let mut config = shell(
        "host",
        "[ $$ != 1 ] && echo pid; [ -e /sys/class/net/pouchtest0 ] && echo net; [ -t 0 ] && echo tty",
    );
    config.tty = true;
    config.linux = Some(cri::LinuxContainerConfig {
        security_context: Some(cri::LinuxContainerSecurityContext {
            namespace_options: Some(options),
            ..Default::default()
        }),
        resources: None,
    });
    let id = daemon.launch(&sandbox, config).await;
    daemon.exited(&id).await;
    assert_eq!(daemon.log("host"), ["stdout F pid", "stdout F net", "stdout F tty"]);
}

use expect_test::{Expect, expect};

use super::*;

fn check(config: &ContainerConfig, show: impl Fn(&Built) -> String, expect: &Expect) {
    let rootfs = tempfile::tempdir().unwrap();
    let image: ImageConfiguration = serde_json::from_value(json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Entrypoint": ["/entry"], "Cmd": ["run"], "Env": ["A=image", "B=image"], "WorkingDir": "/srv"},
    }))
    .unwrap();
    let namespaces = BTreeMap::from([("network".to_owned(), PathBuf::from("/run/net"))]);
    let host = Host { capabilities: ["CAP_KILL".to_owned()].into(), least_oom_score_adj: 0 };
    let inputs = Inputs {
        config,
        image: &image,
        rootfs: rootfs.path(),
        cgroup: "/crest/online/pod/c",
        sandbox: Shared {
            namespaces: &namespaces,
            hostname: "web",
            files: Path::new("/files"),
            shm: Path::new("/shm"),
        },
        host: &host,
        target_pid: None,
    };
    let line = match build(&inputs) {
        Ok(built) => show(&built),
        Err(error) => kit::Chain(&error).to_string(),
    };
    expect.assert_eq(&line);
}

fn words(built: &Built) -> String {
    built.spec["process"]["args"].to_string()
}

#[test]
fn the_command() {
    let own = |command: &[&str], args: &[&str]| ContainerConfig {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        args: args.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    };
    check(&own(&[], &[]), words, &expect![[r#"["/entry","run"]"#]]);
    check(&own(&[], &["stop"]), words, &expect![[r#"["/entry","stop"]"#]]);
    check(&own(&["/own"], &[]), words, &expect![[r#"["/own"]"#]]);
    check(&own(&["/own"], &["now"]), words, &expect![[r#"["/own","now"]"#]]);
}

#[test]
fn the_last_word_on_a_variable_holds() {
    let config = ContainerConfig {
        envs: vec![cri::KeyValue { key: "B".to_owned(), value: "own=1".to_owned() }],
        ..Default::default()
    };
    check(
        &config,
        |built| built.spec["process"]["env"].to_string(),
        &expect![[
            r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=web","A=image","B=own=1"]"#
        ]],
    );
}

#[test]
fn what_the_host_cannot_give_is_told() {
    let config = ContainerConfig {
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(cri::LinuxContainerResources { oom_score_adj: -997, ..Default::default() }),
            security_context: Some(cri::LinuxContainerSecurityContext {
                capabilities: Some(cri::Capability {
                    add_capabilities: vec!["SYS_TIME".to_owned()],
                    drop_capabilities: vec!["ALL".to_owned()],
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    check(
        &config,
        |built| built.adjustments.join("\n"),
        &expect![[r#"
            CAP_SYS_TIME is not given: this host's root does not have it
            oom_score_adj is 0 instead of -997: this host allows no other"#]],
    );
}

#[test]
fn refusals() {
    let config = |change: &dyn Fn(&mut ContainerConfig)| {
        let mut config = ContainerConfig::default();
        change(&mut config);
        config
    };
    check(
        &config(&|config| "srv".clone_into(&mut config.working_dir)),
        words,
        &expect!["the working directory `srv` is not absolute"],
    );
    check(
        &config(&|config| {
            config.mounts = vec![cri::Mount { container_path: "/a/../b".to_owned(), ..Default::default() }];
        }),
        words,
        &expect!["cannot set the container's mounts: `/a/../b` is no absolute path in the container"],
    );
    check(
        &config(&|config| {
            config.linux = Some(cri::LinuxContainerConfig {
                security_context: Some(cri::LinuxContainerSecurityContext {
                    namespace_options: Some(cri::NamespaceOption::default()),
                    ..Default::default()
                }),
                ..Default::default()
            });
        }),
        words,
        &expect!["a process namespace shared by the pod is not supported: choose CONTAINER, NODE or TARGET"],
    );
}

#[test]
fn limits_that_are_not_given_are_not_set() {
    let limits = resource_limits(&cri::LinuxContainerResources {
        cpu_shares: 512,
        memory_limit_in_bytes: 1 << 20,
        ..Default::default()
    });
    assert_eq!(limits, json!({"cpu": {"shares": 512}, "memory": {"limit": 1 << 20}}));
}

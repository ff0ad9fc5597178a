//! Logs in real files.

use std::fs::{OpenOptions, rename, write};
use std::io::Write;
use std::path::Path as FsPath;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::pods::observed::{Instance, State};
use crate::pods::registry::Live;

const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n2026-01-01T00:00:02Z stderr P two\n\
    2026-01-01T00:00:03Z stdout F and a half\n2026-01-01T00:00:04Z stdout F\nbroken\n2026-01-01T00:00:05Z stdout F last\n";

async fn read(dir: &FsPath, options: Options) -> String {
    let (sender, mut receiver) = mpsc::channel(8);
    Follower::open(dir, 0, options).unwrap().run(None, sender).await;
    let mut text = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        text.extend_from_slice(&chunk.unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn check(options: Options, expected: Expect) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("0.log"), LOG).unwrap();
    expected.assert_eq(&read(dir.path(), options).await);
}

#[tokio::test]
async fn all_some_and_part() {
    check(
        Options::default(),
        expect![[r#"
        one
        twoand a half

        last
    "#]],
    )
    .await;
    check(
        Options { tail_lines: Some(1), ..Options::default() },
        expect![[r#"
        last
    "#]],
    )
    .await;
    check(Options { tail_lines: Some(0), ..Options::default() }, expect![""]).await;
    check(
        Options { tail_lines: Some(99), limit_bytes: Some(6), ..Options::default() },
        expect![[r#"
        one
        tw"#]],
    )
    .await;
    let since = "2026-01-01T00:00:04Z".parse().ok();
    check(
        Options { since, timestamps: true, ..Options::default() },
        expect![[r#"
        2026-01-01T00:00:04Z 
        2026-01-01T00:00:05Z last
    "#]],
    )
    .await;
}

fn running(state: State) -> Live {
    let instance = Instance {
        id: "i".into(),
        sandbox: "s".into(),
        name: "c".into(),
        attempt: 0,
        image: String::new(),
        image_ref: String::new(),
        state,
    };
    Live { sandbox: None, containers: vec![instance] }
}

#[tokio::test]
async fn followers_see_what_comes_past_a_rotation_until_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    write(&path, "t stdout F one\n").unwrap();
    let (live, receiver) = watch::channel(running(State::Running { since: Timestamp::UNIX_EPOCH }));
    let alive = Alive { live: receiver, container: "c".into(), attempt: 0 };
    let (sender, mut lines) = mpsc::channel(8);
    let follower = Follower::open(dir.path(), 0, Options::default()).unwrap();
    kit::task::spawn("follow", follower.run(Some(alive), sender));
    assert_eq!(lines.recv().await.unwrap().unwrap(), "one\n");
    let mut old = OpenOptions::new().append(true).open(&path).unwrap();
    old.write_all(b"t stdout F two\n").unwrap();
    assert_eq!(lines.recv().await.unwrap().unwrap(), "two\n");
    rename(&path, dir.path().join("0.log.old")).unwrap();
    old.write_all(b"t stdout F late\n").unwrap();
    assert_eq!(lines.recv().await.unwrap().unwrap(), "late\n");
    write(&path, "t stdout F fresh\n").unwrap();
    assert_eq!(lines.recv().await.unwrap().unwrap(), "fresh\n");
    live.send_replace(running(State::Created));
    assert!(lines.recv().await.is_none());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let error = asked("tailLines=-1", Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.message, "tailLines: `-1` is not valid");
}

#[test]
fn the_previous_run_is_the_one_before_the_one_that_users_see() {
    let check = |status: Value, runs: bool, expected: Option<u32>| {
        let status: ContainerStatus = serde_json::from_value(status).unwrap();
        assert_eq!(previous(&BTreeSet::from([3, 4]), Some(&status), runs), expected);
    };
    let ended = json!({ "terminated": { "exitCode": 1 } });
    let waiting = json!({ "name": "c", "state": { "waiting": {} }, "lastState": ended });
    check(waiting.clone(), false, Some(4));
    // The status lags behind a restart.
    check(waiting, true, Some(3));
    check(json!({ "name": "c", "state": { "running": {} }, "lastState": ended }), true, Some(3));
    check(json!({ "name": "c", "state": ended }), false, Some(3));
    assert_eq!(previous(&BTreeSet::from([0]), None, true), None);
}

#[test]
fn what_has_no_log_says_why() {
    let pod = |waiting: &Value| {
        let status = json!({ "containerStatuses": [{ "name": "c", "state": { "waiting": waiting } }] });
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
    };
    let check = |waiting: Value, previous: bool, expected: Expect| {
        expected.assert_eq(&absent(&pod(&waiting), "c", previous).message);
    };
    check(
        json!({ "reason": "ImagePullBackOff" }),
        false,
        expect![[r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#]],
    );
    check(
        json!({ "reason": "PodInitializing" }),
        false,
        expect![[r#"container "c" in pod "p" is waiting to start: PodInitializing"#]],
    );
    check(json!({}), true, expect![[r#"previous terminated container "c" in pod "p" not found"#]]);
}

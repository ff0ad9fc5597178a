//! Programs that take instances as a stream: good ones, and ones that do everything wrong.

use std::collections::BTreeMap;
use std::process::Command;

use fuxi::protocol::{AttemptResult, Exit, FromMaster, FromWorker, Program};
use model::dagjob::Mode;

use super::is_alive;
use super::scene::{Scene, program};

/// Begins a loop over instances; `$i` is the index, `$dir` the scene's folder.
const LOOP: &str = "dir=$1; echo '{\"ready\":true}'; while read -r line; do i=${line#*:}; i=${i%%,*};";
const DONE: &str = "echo \"{\\\"index\\\":$i}\"";

/// A scene with a shell script as its program.
fn serve(script: &str, timeout_seconds: Option<u32>) -> Scene {
    serve_with(script, timeout_seconds, BTreeMap::new())
}

fn serve_with(script: &str, timeout_seconds: Option<u32>, parameters: BTreeMap<String, String>) -> Scene {
    let (mut scene, _) = Scene::open();
    let folder = scene.folder.path().to_str().unwrap().to_owned();
    let program = program(Mode::Stream, &["/bin/sh", "-c", script, "sh", &folder], timeout_seconds);
    scene.send(&FromMaster::Program(Program { parameters, ..program }));
    scene
}

/// `count` results by index, none of which may come twice.
fn results(scene: &mut Scene, count: u32) -> BTreeMap<u32, AttemptResult> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let result = scene.result();
        assert!(found.insert(result.attempt.index, result).is_none());
    }
    found
}

fn message(exit: &Exit) -> &str {
    let Exit::Failed { message } = exit else { panic!("expected a failure, got {exit:?}") };
    message
}

pub(crate) fn one_program_takes_all() {
    let script =
        format!("echo $$ >> $1/pids; {LOOP} echo $line >> $dir/lines; {DONE}; done; echo bye > $dir/end");
    let parameters = BTreeMap::from([("DAY".to_owned(), "monday".to_owned())]);
    let mut scene = serve_with(&script, None, parameters);
    scene.give(0, 399);
    let results = results(&mut scene, 400);
    assert!(results.values().all(|result| result.exit == Exit::Code(0)));
    assert_eq!(scene.read("pids").lines().count(), 1);
    let lines = scene.read("lines");
    let line = r#"{"index":7,"attempt":1,"count":9,"parameters":{"DAY":"monday"}}"#;
    assert_eq!((lines.lines().count(), lines.lines().nth(7)), (400, Some(line)));
    // The end of its input is the polite end.
    scene.send(&FromMaster::Stop);
    assert_eq!(scene.wait_for_exit(), Some(0));
    assert_eq!(scene.read("end"), "bye\n");
}

pub(crate) fn what_one_alone_used_is_told() {
    // A child of the program works for instance 1; instance 2 needs memory, and 3 nothing.
    let work = "case $i in 1) (n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done);; \
                2) head -c 40000000 /dev/zero | tail -c 40000000 > $dir/zeros;; esac; sleep 0.05";
    let mut scene = serve(&format!("{LOOP} {work}; {DONE}; done"), None);
    scene.give(0, 3);
    let used: Vec<_> = results(&mut scene, 4).into_values().map(|result| result.usage.unwrap()).collect();
    assert!(used[1].cpu_micros >= 50_000, "{used:?}");
    assert!(used[1].cpu_micros > used[3].cpu_micros * 2, "{used:?}");
    assert!(used.iter().all(|usage| usage.memory_kib > 100), "{used:?}");
    // Of those that answer too fast to be alone nothing is said.
    let mut scene = serve(&format!("{LOOP} {DONE}; done"), None);
    scene.give(0, 399);
    let known = results(&mut scene, 400).into_values().filter(|result| result.usage.is_some()).count();
    assert!((1..100).contains(&known), "{known}");
}

pub(crate) fn nonsense_is_told() {
    let cases = [
        ("echo hello; sleep 100", "its program began with `hello`"),
        (&format!("{LOOP} echo working on it; sleep 100; done"), "wrote `working on it` to standard output"),
        (
            &format!("{LOOP} echo '{{\"index\":77}}'; sleep 100; done"),
            "answered instance 77, which it did not hold",
        ),
        (&format!("{LOOP} head -c 70000 /dev/zero; sleep 100; done"), "without an end of line"),
        (&format!("{LOOP} echo no room >&2; exit 3; done"), "ended before it answered: exit code 3"),
        ("echo no room >&2; exit 3", "ended before it was ready: exit code 3"),
    ];
    for (script, expected) in cases {
        let mut scene = serve(script, None);
        scene.give(0, 0);
        let result = scene.result();
        assert!(message(&result.exit).contains(expected), "{result:?}");
        assert!(!script.contains("no room") || result.tail == "no room\n", "{result:?}");
    }
    // An answer that comes twice counts once, and its program is not trusted any more.
    let mut scene = serve(
        &format!("echo $$ >> $1/pids; {LOOP} printf '{{\"index\":%s}}\\n{{\"index\":%s}}\\n' $i $i; done"),
        None,
    );
    scene.give(0, 1);
    let results = results(&mut scene, 2);
    assert!(results.values().all(|result| result.exit == Exit::Code(0)), "{results:?}");
    assert_eq!(scene.read("pids").lines().count(), 2);
    assert!(scene.read("stderr").contains("answered instance 0, which it did not hold"));
}

pub(crate) fn only_the_culprit_fails() {
    let script = format!(
        "{LOOP} [ $i != 150 ] || exit 1; [ $i != 7 ] && {DONE} || echo '{{\"index\":7,\"error\":\"odd\"}}'; done"
    );
    let mut scene = serve(&script, None);
    scene.give(0, 299);
    let results = results(&mut scene, 300);
    let failed: Vec<&AttemptResult> = results.values().filter(|result| !result.exit.is_success()).collect();
    assert_eq!(failed.iter().map(|result| result.attempt.index).collect::<Vec<_>>(), [7, 150]);
    assert_eq!(message(&failed[0].exit), "odd", "its own words");
    assert!(message(&failed[1].exit).contains("exit code 1"));
}

pub(crate) fn the_examples_work() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/stream/worker.py");
    let this = std::env::current_exe().unwrap().display().to_string();
    let mut commands = vec![vec![this, "example".to_owned()]];
    match Command::new("python3").arg("--version").output() {
        Ok(_) => commands.push(vec!["python3".to_owned(), script.to_owned()]),
        Err(_) => println!("there is no python3: its example is not tried"),
    }
    for command in commands {
        let (mut scene, _) = Scene::open();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        scene.send(&FromMaster::Program(program(Mode::Stream, &command, Some(60))));
        scene.give(0, 999);
        let results = results(&mut scene, 1000);
        let failed: Vec<u32> = results
            .into_values()
            .filter(|result| !result.exit.is_success())
            .map(|r| r.attempt.index)
            .collect();
        assert_eq!(failed, if command[0] == "python3" { Vec::new() } else { vec![13] });
        scene.send(&FromMaster::Stop);
        assert_eq!(scene.wait_for_exit(), Some(0));
    }
}

pub(crate) fn a_full_pipe_stops_nobody() {
    let parameters = BTreeMap::from([("LONG".to_owned(), "x".repeat(300_000))]);
    let script = "echo '{\"ready\":true}'; echo > $1/up; exec sleep 100";
    let mut scene = serve_with(script, Some(1), parameters);
    scene.make_fifo("up");
    scene.give(0, 3);
    scene.read("up");
    scene.send(&FromMaster::Ping);
    assert_eq!(scene.receive(), FromWorker::Pong);
    assert_eq!(scene.result().exit, Exit::TimedOut(1));
    scene.send(&FromMaster::Recall);
    assert!(matches!(scene.receive(), FromWorker::Returned { attempts } if attempts.len() >= 2));
}

pub(crate) fn a_late_instance_is_killed() {
    let sleeper = "setsid sh -c 'trap \"\" TERM HUP; echo $$ > $0/pid; while :; do sleep 1; done' $dir";
    let script = format!("{LOOP} [ $i != 2 ] || {sleeper}; {DONE}; done");
    let mut scene = serve(&script, Some(1));
    scene.give(0, 5);
    let results = results(&mut scene, 6);
    let exits: Vec<Exit> = results.into_values().map(|result| result.exit).collect();
    assert_eq!(exits[2], Exit::TimedOut(1));
    assert_eq!(exits.iter().filter(|exit| exit.is_success()).count(), 5);
    assert!(!is_alive(&scene.read("pid")));
}

pub(crate) fn programs_that_do_not_serve() {
    let cases = [
        (format!("{LOOP} exec >&-; sleep 100; done"), "closed its standard input or output"),
        // closed before it is ready: what is written to a pipe that closes later is lost without an error
        ("exec <&-; echo '{\"ready\":true}'; sleep 100".to_owned(), "closed its standard input or output"),
    ];
    for (script, expected) in cases {
        let mut scene = serve(&script, None);
        scene.give(0, 0);
        let result = scene.result();
        assert!(message(&result.exit).contains(expected), "{result:?}");
    }
    let (mut scene, _) = Scene::open();
    scene.send(&FromMaster::Program(program(Mode::Stream, &["frobnicate"], None)));
    scene.give(0, 1);
    for _ in 0..2 {
        assert!(matches!(scene.result().exit, Exit::NotStarted { code: 127, .. }));
    }
}

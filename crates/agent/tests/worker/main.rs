//! The worker as a real process with real children; the test plays its master on a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

#[path = "../../../../examples/stream/worker.rs"]
mod example;
mod input;
mod objects;
mod output;
mod s3;
mod scene;
mod stream;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fuxi::protocol::{Attempt, Exit, FromMaster, FromWorker, Span};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use scene::Scene;

const TESTS: &[(&str, fn())] = &[
    ("instances_run_one_after_another_with_their_own_environment", instances_run_one_after_another),
    ("results_are_kept_until_they_are_acknowledged", results_are_kept),
    ("a_running_instance_outlives_its_master", a_running_instance_outlives_its_master),
    ("a_command_that_cannot_run_is_told_precisely", a_command_that_cannot_run),
    ("an_instance_that_ignores_sigterm_is_killed_at_its_limit", a_stubborn_instance_is_killed),
    ("nothing_outlives_its_instance", nothing_outlives_its_instance),
    ("standard_error_passes_unchanged_and_its_end_is_told", standard_error_passes),
    ("stop_and_sigterm_end_the_worker_and_what_it_runs", stop_and_sigterm),
    ("nonsense_and_mistakes_of_the_master_do_no_harm", nonsense_does_no_harm),
    ("hundreds_of_instances_per_second", hundreds_per_second),
    ("what_is_not_begun_is_given_back", what_is_not_begun_is_given_back),
    ("a_list_of_files_is_taken_once_and_kept", input::a_list_is_taken_and_kept),
    ("instances_know_their_input_and_miss_what_has_vanished", input::instances_know_their_input),
    ("a_program_gets_its_input_line_by_line_after_the_list", input::a_stream_gets_its_input_after_the_list),
    ("outputs_are_moved_to_their_place_as_a_whole", output::outputs_are_collected),
    ("who_is_asked_to_end_takes_no_output_s_place", output::who_is_ended_takes_no_place),
    ("a_killed_worker_leaves_no_half_output", output::a_killed_worker_leaves_no_half_output),
    ("objects_are_listed_fetched_and_put", objects::objects_are_listed_fetched_and_put),
    ("objects_that_do_not_match_cost_no_memory", objects::what_does_not_match_costs_no_memory),
    ("what_is_wrong_with_objects_is_told_without_secrets", objects::what_is_wrong_is_told),
    ("folders_become_objects_that_count_together", objects::folders_count_together),
    ("a_killed_worker_leaves_no_half_objects", objects::a_killed_worker_leaves_no_half_objects),
    ("a_mounted_folder_stands_for_a_store", objects::a_folder_stands_for_a_store),
    ("one_program_takes_all_instances", stream::one_program_takes_all),
    ("what_an_instance_alone_with_its_program_used_is_told", stream::what_one_alone_used_is_told),
    ("a_program_that_speaks_nonsense_is_replaced_and_told_why", stream::nonsense_is_told),
    ("whoever_breaks_the_program_costs_nobody_else_an_attempt", stream::only_the_culprit_fails),
    ("the_examples_do_as_their_documentation_says", stream::the_examples_work),
    ("a_program_that_stops_reading_stops_nobody", stream::a_full_pipe_stops_nobody),
    ("an_instance_beyond_its_limit_ends_with_all_of_its_program", stream::a_late_instance_is_killed),
    ("programs_that_close_their_pipes_or_never_start_are_told_precisely", stream::programs_that_do_not_serve),
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|argument| argument == "worker").is_some() {
        return agent::worker::main(args);
    }
    if args.next_if(|argument| argument == "example").is_some() {
        example::main().unwrap();
        return ExitCode::SUCCESS;
    }
    let wanted =
        args.next().and_then(|argument| argument.into_string().ok()).filter(|word| !word.starts_with('-'));
    for (name, test) in TESTS {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted.as_str())) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn is_alive(pid: &str) -> bool {
    kill(Pid::from_raw(pid.trim().parse().unwrap()), None).is_ok()
}

fn instances_run_one_after_another() {
    let (mut scene, hello) = Scene::open();
    assert_eq!((hello.worker.as_str(), hello.token.as_str()), ("default/count-1", "secret"));
    assert_eq!((hello.held, hello.ended), (Vec::new(), 0));
    for index in 0..3 {
        let script = "echo $OWN $CREST_JOB $CREST_TASK $CREST_INSTANCE_INDEX $CREST_INSTANCE_COUNT \
                      $CREST_INSTANCE_ATTEMPT [$CREST_WORKER_TOKEN] >> $1/out; exit $CREST_INSTANCE_INDEX";
        scene.assign_script(index, script, None);
        assert_eq!(scene.result().exit, Exit::Code(i32::try_from(index).unwrap()));
    }
    let lines = "of the task words count 0 9 1 []\nof the task words count 1 9 1 []\nof the task words count 2 9 1 []\n";
    assert_eq!(scene.read("out"), lines);
}

fn results_are_kept() {
    let (mut scene, _) = Scene::open();
    for index in 0..2 {
        scene.assign(index, &["true"], None);
        scene.result();
    }
    scene.replace_master();
    assert_eq!(scene.told_with_hello(), [0, 1]);
    scene.send(&FromMaster::Ack { attempts: vec![Span { first: 0, last: 0, number: 1 }] });
    // Assigned again, a result that is still held is told again and not run again.
    scene.assign_script(1, "echo again > $1/again", None);
    assert_eq!(scene.result().attempt.index, 1);
    assert!(!scene.folder.path().join("again").exists());
    scene.replace_master();
    assert_eq!(scene.told_with_hello(), [1]);
}

fn a_running_instance_outlives_its_master() {
    let (mut scene, _) = Scene::open();
    scene.make_fifo("gate");
    scene.assign_script(4, "echo start >> $1/log; cat $1/gate >> $1/log", None);
    // The socket itself goes and comes back, as when the master's host process is replaced.
    let socket = scene.folder.path().join("fuxi.sock");
    std::fs::remove_file(&socket).unwrap();
    scene.listener = UnixListener::bind(&socket).unwrap();
    let hello = scene.replace_master();
    assert_eq!(hello.held, [Attempt { index: 4, number: 1 }]);
    // What is given to it now waits its turn, also when it is given twice.
    scene.assign(5, &["true"], None);
    scene.give(4, 5);
    assert_eq!(scene.replace_master().held.len(), 2);
    std::fs::write(scene.folder.path().join("gate"), "end\n").unwrap();
    assert_eq!((scene.result().attempt.index, scene.result().attempt.index), (4, 5));
    assert_eq!(scene.read("log"), "start\nend\n");
}

fn a_command_that_cannot_run() {
    let (mut scene, _) = Scene::open();
    let cases: [(&[&str], i32, &str); 3] = [
        (&["frobnicate", "x"], 127, "cannot run `frobnicate`: No such file or directory (os error 2)"),
        (&["/etc/passwd"], 126, "cannot run `/etc/passwd`: Permission denied (os error 13)"),
        (&[], 127, "the command is empty"),
    ];
    for (index, (command, code, message)) in (0u32..).zip(cases) {
        scene.assign(index, command, None);
        assert_eq!(scene.result().exit, Exit::NotStarted { code, message: message.to_owned() });
    }
}

fn a_stubborn_instance_is_killed() {
    let (mut scene, _) = Scene::open();
    scene.assign_script(0, "trap '' TERM; while :; do sleep 1; done", Some(1));
    let result = scene.result();
    assert_eq!(result.exit, Exit::TimedOut(1));
    assert!((1000..10_000).contains(&result.duration_ms), "{}", result.duration_ms);
    // One that ends when asked is over at once.
    scene.assign_script(1, "sleep 100", Some(1));
    let result = scene.result();
    assert_eq!(result.exit, Exit::TimedOut(1));
    assert!((1000..2500).contains(&result.duration_ms), "{}", result.duration_ms);
    // And may put its things in order first.
    scene.assign_script(2, "trap 'echo tidy > $1/tidy; exit' TERM; while :; do sleep 0.1; done", Some(1));
    assert_eq!(scene.result().exit, Exit::TimedOut(1));
    assert_eq!(scene.read("tidy"), "tidy\n");
}

fn nothing_outlives_its_instance() {
    let (mut scene, _) = Scene::open();
    scene.make_fifo("ready");
    // A grandchild in a session of its own, deaf to polite signals, that holds the standard error open.
    let script = "setsid sh -c 'trap \"\" TERM HUP; echo $$ > $0/pid; echo > $0/ready; while :; do sleep 1; done' $1 & \
                  cat $1/ready; exit 3";
    scene.assign_script(0, script, None);
    assert_eq!(scene.result().exit, Exit::Code(3));
    assert!(!is_alive(&scene.read("pid")));
    scene.assign(1, &["true"], None);
    assert_eq!(scene.result().exit, Exit::Code(0));
}

fn standard_error_passes() {
    let (mut scene, _) = Scene::open();
    scene.assign_script(
        0,
        "head -c 300000 /dev/zero | tr '\\0' x >&2; printf 'the \\377 end' >&2; exit 9",
        None,
    );
    let result = scene.result();
    assert_eq!(result.exit, Exit::Code(9));
    assert!(result.tail.ends_with("xxxthe \u{fffd} end") && result.tail.len() < 3000, "{}", result.tail);
    scene.assign_script(1, "echo fine >&2", None);
    assert_eq!(scene.result().tail, "");
    scene.send(&FromMaster::Stop);
    assert_eq!(scene.wait_for_exit(), Some(0));
    let log = std::fs::read(scene.folder.path().join("stderr")).unwrap();
    assert_eq!(log.len(), 300_000 + 9 + 5);
    assert!(log.ends_with(b"xthe \xff endfine\n"));
}

fn stop_and_sigterm() {
    for by_signal in [false, true] {
        let (mut scene, _) = Scene::open();
        scene.make_fifo("ready");
        scene.assign_script(
            0,
            "trap '' TERM; echo $$ > $1/pid; echo > $1/ready; while :; do sleep 1; done",
            None,
        );
        scene.read("ready");
        if by_signal {
            kill(Pid::from_raw(i32::try_from(scene.worker.id()).unwrap()), Signal::SIGTERM).unwrap();
        } else {
            scene.send(&FromMaster::Stop);
        }
        assert_eq!(scene.wait_for_exit(), Some(if by_signal { 143 } else { 0 }));
        assert!(!is_alive(&scene.read("pid")));
    }
}

fn nonsense_does_no_harm() {
    let (mut scene, _) = Scene::open();
    scene.line.get_mut().write_all(b"\xff\xfe not json\n").unwrap();
    scene.accept_again();
    scene.assign(0, &["true"], None);
    assert_eq!(scene.result().exit, Exit::Code(0));
    scene.send(&FromMaster::Ping);
    assert_eq!(scene.receive(), FromWorker::Pong);
}

fn hundreds_per_second() {
    let (mut scene, _) = Scene::open();
    let start = kit::clock::monotonic();
    for index in 0..500 {
        scene.assign(index, &["/bin/true"], None);
        assert_eq!(scene.result().attempt.index, index);
        scene.send(&FromMaster::Ack { attempts: vec![Span { first: index, last: index, number: 1 }] });
    }
    let spent: Duration = Instant::elapsed(&start);
    println!("500 instances of /bin/true in {spent:?}: {:.0} per second", 500.0 / spent.as_secs_f64());
    assert!(spent < Duration::from_secs(10));
}

fn what_is_not_begun_is_given_back() {
    let (mut scene, _) = Scene::open();
    scene.make_fifo("ready");
    scene.make_fifo("gate");
    scene.assign_script(0, "echo > $1/ready; cat $1/gate; echo ran >> $1/log", None);
    scene.give(1, 5);
    scene.read("ready");
    scene.send(&FromMaster::Recall);
    let returned = (1..=5).map(|index| Attempt { index, number: 1 }).collect();
    assert_eq!(scene.receive(), FromWorker::Returned { attempts: returned });
    std::fs::write(scene.folder.path().join("gate"), "").unwrap();
    assert_eq!(scene.result().exit, Exit::Code(0));
    assert_eq!(scene.replace_master().held, []);
    assert_eq!(scene.read("log"), "ran\n");
}

//! The worker as a real process with real children; the test plays its master on a real socket.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program with a main of its own"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fuxi::protocol::{Attempt, AttemptResult, Exit, FromMaster, FromWorker, Hello, Program, Span, env};
use model::dagjob::Mode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const TESTS: [(&str, fn()); 11] = [
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
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|argument| argument == "worker").is_some() {
        return agent::worker::main(args);
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

fn program(mode: Mode, command: &[&str], timeout_seconds: Option<u32>) -> Program {
    Program {
        job: "words".to_owned(),
        task: "count".to_owned(),
        count: 9,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        mode,
        timeout_seconds,
        ..Program::default()
    }
}

/// A worker process, and its master: this test.
struct Scene {
    folder: TempDir,
    listener: UnixListener,
    worker: Child,
    line: BufReader<UnixStream>,
    /// Results that came together with others that were asked for.
    told: VecDeque<AttemptResult>,
}

impl Scene {
    /// Starts a worker and reads its first hello.
    fn open() -> (Self, Hello) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("fuxi.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let worker = Command::new(std::env::current_exe().unwrap())
            .args(["worker".as_ref(), "--socket".as_ref(), socket.as_os_str()])
            .env(env::NAME, "default/count-1")
            .env(env::TOKEN, "secret")
            .env("OWN", "of the task")
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let line = BufReader::new(listener.accept().unwrap().0);
        let mut scene = Self { folder, listener, worker, line, told: VecDeque::new() };
        let hello = scene.hello();
        (scene, hello)
    }

    /// The master dies and another one takes over.
    fn replace_master(&mut self) -> Hello {
        self.line.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
        self.accept_again()
    }

    fn accept_again(&mut self) -> Hello {
        self.line = BufReader::new(self.listener.accept().unwrap().0);
        self.hello()
    }

    fn hello(&mut self) -> Hello {
        let FromWorker::Hello(hello) = self.receive() else { panic!("expected a hello") };
        self.told.clear();
        while self.told.len() < usize::try_from(hello.ended).unwrap() {
            let FromWorker::Results { results } = self.receive() else { panic!("expected results") };
            self.told.extend(results);
        }
        hello
    }

    /// The instances whose results came with the last hello.
    fn told_with_hello(&mut self) -> Vec<u32> {
        self.told.drain(..).map(|result| result.attempt.index).collect()
    }

    fn receive(&mut self) -> FromWorker {
        self.line.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut line = String::new();
        self.line.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn result(&mut self) -> AttemptResult {
        loop {
            if let Some(result) = self.told.pop_front() {
                return result;
            }
            match self.receive() {
                FromWorker::Results { results } => self.told.extend(results),
                other => panic!("expected results, got {other:?}"),
            }
        }
    }

    fn send(&mut self, message: &FromMaster) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.line.get_mut().write_all(&line).unwrap();
    }

    fn assign(&mut self, index: u32, command: &[&str], timeout_seconds: Option<u32>) {
        self.send(&FromMaster::Program(program(Mode::Exec, command, timeout_seconds)));
        self.give(index, index);
    }

    fn give(&mut self, first: u32, last: u32) {
        self.send(&FromMaster::Assign { attempts: vec![Span { first, last, number: 1 }] });
    }

    /// `script` with `$1` for this scene's folder.
    fn assign_script(&mut self, index: u32, script: &str, timeout_seconds: Option<u32>) {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        self.assign(index, &["/bin/sh", "-c", script, "sh", &folder], timeout_seconds);
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap()).into_owned()
    }

    /// A pipe in the file system: opening it waits for the other side.
    fn make_fifo(&self, name: &str) {
        nix::unistd::mkfifo(&self.folder.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    fn wait_for_exit(&mut self) -> Option<i32> {
        self.worker.wait().unwrap().code()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Politely, so that the worker ends what it runs.
        let _gone = kill(Pid::from_raw(i32::try_from(self.worker.id()).unwrap()), Signal::SIGTERM);
        let _reaped = self.worker.wait();
    }
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

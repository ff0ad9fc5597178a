//! A worker process on a real socket, with the test as its master.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fuxi::protocol::{AttemptResult, FromMaster, FromWorker, Hello, Program, Span, env};
use model::dagjob::Mode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) fn program(mode: Mode, command: &[&str], timeout_seconds: Option<u32>) -> Program {
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
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) listener: UnixListener,
    pub(crate) worker: Child,
    pub(crate) line: BufReader<UnixStream>,
    /// Results that came together with others that were asked for.
    told: VecDeque<AttemptResult>,
    /// Which commands it said to have begun, and to have ended.
    pub(crate) commands: Vec<(u32, bool)>,
}

impl Scene {
    /// Starts a worker and reads its first hello.
    pub(crate) fn open() -> (Self, Hello) {
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
        let mut scene = Self { folder, listener, worker, line, told: VecDeque::new(), commands: Vec::new() };
        let hello = scene.hello();
        (scene, hello)
    }

    /// The master dies and another one takes over.
    pub(crate) fn replace_master(&mut self) -> Hello {
        self.line.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
        self.accept_again()
    }

    pub(crate) fn accept_again(&mut self) -> Hello {
        self.line = BufReader::new(self.listener.accept().unwrap().0);
        self.hello()
    }

    pub(crate) fn hello(&mut self) -> Hello {
        let FromWorker::Hello(hello) = self.receive() else { panic!("expected a hello") };
        self.told.clear();
        while self.told.len() < usize::try_from(hello.ended).unwrap() {
            let FromWorker::Results { results } = self.receive() else { panic!("expected results") };
            self.told.extend(results);
        }
        hello
    }

    /// The instances whose results came with the last hello.
    pub(crate) fn told_with_hello(&mut self) -> Vec<u32> {
        self.told.drain(..).map(|result| result.attempt.index).collect()
    }

    pub(crate) fn receive(&mut self) -> FromWorker {
        loop {
            match self.receive_any() {
                FromWorker::Command { attempt, runs } => self.commands.push((attempt.index, runs)),
                other => return other,
            }
        }
    }

    pub(crate) fn receive_any(&mut self) -> FromWorker {
        self.line.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut line = String::new();
        self.line.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn result(&mut self) -> AttemptResult {
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

    pub(crate) fn send(&mut self, message: &FromMaster) {
        let mut line = serde_json::to_vec(message).unwrap();
        line.push(b'\n');
        self.line.get_mut().write_all(&line).unwrap();
    }

    pub(crate) fn assign(&mut self, index: u32, command: &[&str], timeout_seconds: Option<u32>) {
        self.send(&FromMaster::Program(program(Mode::Exec, command, timeout_seconds)));
        self.give(index, index);
    }

    pub(crate) fn give(&mut self, first: u32, last: u32) {
        self.give_with(first, last, Vec::new());
    }

    /// Instances with what they work on.
    pub(crate) fn give_with(&mut self, first: u32, last: u32, inputs: Vec<String>) {
        self.send(&FromMaster::Assign { attempts: vec![Span { first, last, number: 1 }], inputs });
    }

    /// `script` with `$1` for this scene's folder.
    pub(crate) fn assign_script(&mut self, index: u32, script: &str, timeout_seconds: Option<u32>) {
        let folder = self.folder.path().to_str().unwrap().to_owned();
        self.assign(index, &["/bin/sh", "-c", script, "sh", &folder], timeout_seconds);
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join(name)).unwrap()).into_owned()
    }

    /// A pipe in the file system: opening it waits for the other side.
    pub(crate) fn make_fifo(&self, name: &str) {
        nix::unistd::mkfifo(&self.folder.path().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
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

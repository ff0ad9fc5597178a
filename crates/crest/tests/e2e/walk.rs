//! Written walks: commands of the shell with what is expected of each, in a file that reads like a transcript.
//!
//! ```text
//! $ command      must succeed          ! command      must fail
//! ? command      is tried again until it succeeds and says what is expected, for a minute
//! ~ text         the output has it     !~ text        the output has it not
//! @1.30          the next command needs this version or a newer one
//! @later         the next command does not work yet, and is left out
//! ```
//! `$T` is a folder of the walk's own. Lines that begin with two blanks belong to the command above.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Said, run};

/// How long an expectation may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Badly,
    /// Well, sooner or later.
    AtLast,
}

/// One command of the walk with what is expected of it.
#[derive(Debug)]
struct Step<'a> {
    line: usize,
    end: End,
    /// The oldest version that knows it, as its second number.
    since: u32,
    command: String,
    has: Vec<&'a str>,
    has_not: Vec<&'a str>,
}

fn steps(walk: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut since = 0;
    for (index, line) in walk.lines().enumerate() {
        let last = steps.last_mut();
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (mark, last) {
            ("" | "#", _) if !line.starts_with("  ") => {}
            ("$" | "!" | "?", _) => {
                let end = match mark {
                    "$" => End::Well,
                    "!" => End::Badly,
                    _ => End::AtLast,
                };
                let command = rest.to_owned();
                let (has, has_not) = (Vec::new(), Vec::new());
                steps.push(Step { line: index + 1, end, since, command, has, has_not });
                since = 0;
            }
            ("~", Some(step)) => step.has.push(rest),
            ("!~", Some(step)) => step.has_not.push(rest),
            ("", Some(step)) => writeln!(step.command, "\n{}", &line[2..]).unwrap(),
            ("@later", _) => since = u32::MAX,
            _ => since = mark.strip_prefix("@1.").and_then(|minor| minor.parse().ok()).expect("a version"),
        }
    }
    steps
}

/// Takes the walk with these programs, of version 1.`minor`; tells all that went wrong at its end.
pub(crate) fn take(cluster: &Cluster, programs: &[(&str, &Path)], walk: &str, minor: u32) {
    let bin = cluster.state_dir().join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, program) in programs {
        std::os::unix::fs::symlink(program, bin.join(name)).unwrap();
    }
    let mut wrong = String::new();
    for step in steps(walk).iter().filter(|step| step.since <= minor) {
        if let Some(why) = why_wrong(cluster, &bin, step) {
            writeln!(wrong, "line {}: {}\n    {why}", step.line, step.command).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{programs:?}:\n{wrong}\n{}", cluster.log());
}

/// Why the step went wrong, if it did.
fn why_wrong(cluster: &Cluster, bin: &Path, step: &Step<'_>) -> Option<String> {
    let start = Instant::now();
    loop {
        let fault = fault(step, &shell(cluster, bin, &step.command))?;
        if step.end != End::AtLast || start.elapsed() > PATIENCE {
            return Some(fault);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn fault(step: &Step<'_>, said: &Said) -> Option<String> {
    let both = format!("{}{}", said.stdout, said.stderr);
    let ended = (said.code == 0) == (step.end != End::Badly);
    let missing = step.has.iter().find(|text| !both.contains(**text));
    let surplus = step.has_not.iter().find(|text| both.contains(**text));
    if ended && missing.is_none() && surplus.is_none() {
        return None;
    }
    let short: String = both.chars().take(2000).collect();
    Some(format!("ended with {}; missing {missing:?}; surplus {surplus:?}; said {short}", said.code))
}

fn shell(cluster: &Cluster, bin: &Path, command: &str) -> Said {
    let path = std::env::var("PATH").unwrap_or_default();
    let home = cluster.state_dir().join("home");
    let folder = cluster.state_dir().join("walk");
    fs::create_dir_all(&folder).unwrap();
    let mut shell = Command::new("timeout");
    shell.args(["90", "sh", "-c", command]).current_dir(&folder);
    shell.env("PATH", format!("{}:{path}", bin.display())).env("HOME", home).env("T", &folder);
    shell.env("KUBECONFIG", cluster.state_dir().join("kubeconfig"));
    run(&mut shell, "")
}

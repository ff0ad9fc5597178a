//! The log files of a Pod's containers: `<container>/<restart>.log`, kept from growing without end.
//!
//! ```text
//!   3.log ──over 10 MiB──► 3.log.<time>, engine begins 3.log anew ──over 5 files──► the oldest goes
//!   run 4 begins ──► logs of runs before the last two dead ones go
//! ```

use std::collections::BTreeSet;
use std::fs::{metadata, read_dir, remove_file, rename};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Context;
use super::observed::State;
use super::order::PodId;

/// A log that has grown to this size is continued in a new file.
const LARGEST: u64 = 10 * 1024 * 1024;
/// Files of one run, the current one among them.
const FILES: usize = 5;
/// Ended runs of a container whose logs are kept.
const DEAD: u32 = 2;

/// The log of run `attempt` in `dir`, the directory of its container.
pub fn path(dir: &Path, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.log"))
}

/// The runs that have a log, lowest first.
pub fn attempts(dir: &Path) -> BTreeSet<u32> {
    names(dir).iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes logs in `dir` of runs that no one asks for once run `newest` is there.
pub(super) fn trim(dir: &Path, newest: u32) {
    for name in names(dir) {
        let attempt = name.split_once(".log").and_then(|(attempt, _)| attempt.parse::<u32>().ok());
        if attempt.is_some_and(|attempt| attempt.saturating_add(DEAD) < newest) {
            let _gone = remove_file(dir.join(name));
        }
    }
}

/// Moves logs that have become too large out of the way of the containers that write them.
pub(super) async fn rotate(context: &Context) {
    for entry in context.registry.entries() {
        let pod_dir = context.pod_logs.join(PodId::of(&entry.pod()).log_dir_name());
        let running: Vec<_> = {
            let live = entry.live.borrow();
            let running = live.containers.iter().filter(|run| matches!(run.state, State::Running { .. }));
            running.map(|run| (run.id.clone(), run.name.clone(), run.attempt)).collect()
        };
        for (id, name, attempt) in running {
            let dir = pod_dir.join(name);
            let Some(moved) = move_if_large(&dir, attempt, kit::clock::wall()) else { continue };
            if let Err(error) = context.engine.reopen_log(&id).await {
                tracing::warn!(container = %id, error = %kit::Chain(&error), "Log not rotated; trying again");
                // The engine still writes the moved file; readers are to find it. A new file means it does not.
                if !path(&dir, attempt).exists() {
                    let _back = rename(&moved, path(&dir, attempt));
                }
            }
        }
    }
}

/// The new place of the log, if it was moved.
fn move_if_large(dir: &Path, attempt: u32, now: Timestamp) -> Option<PathBuf> {
    let current = path(dir, attempt);
    if metadata(&current).ok()?.len() < LARGEST {
        return None;
    }
    let prefix = format!("{attempt}.log.");
    // Times of one width sort by age.
    let mut old: Vec<String> = names(dir).into_iter().filter(|name| name.starts_with(&prefix)).collect();
    old.sort();
    // One more is about to come.
    let n_surplus = old.len().saturating_sub(FILES - 2);
    for name in old.iter().take(n_surplus) {
        let _gone = remove_file(dir.join(name));
    }
    let moved = dir.join(format!("{prefix}{}", now.strftime("%Y%m%d-%H%M%S")));
    rename(&current, &moved).ok()?;
    Some(moved)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, write};

    use super::*;

    fn shown(dir: &Path) -> String {
        let mut names = names(dir);
        names.sort();
        names.join(" ")
    }

    #[test]
    fn a_large_log_is_moved_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        for second in 0..6 {
            let log = File::create(path(dir.path(), 7)).unwrap();
            log.set_len(LARGEST - 1).unwrap();
            let now = Timestamp::from_second(second).unwrap();
            assert_eq!(move_if_large(dir.path(), 7, now), None);
            log.set_len(LARGEST).unwrap();
            assert!(move_if_large(dir.path(), 7, now).is_some());
        }
        let left = "7.log.19700101-000002 7.log.19700101-000003 7.log.19700101-000004 7.log.19700101-000005";
        assert_eq!(shown(dir.path()), left);
        assert_eq!(move_if_large(dir.path(), 7, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn logs_of_the_last_two_dead_runs_stay() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0.log", "1.log", "1.log.19700101-000002", "2.log", "3.log", "10.log", "x.log"] {
            write(dir.path().join(name), "").unwrap();
        }
        trim(dir.path(), 4);
        assert_eq!(shown(dir.path()), "10.log 2.log 3.log x.log");
        assert_eq!(attempts(dir.path()), BTreeSet::from([2, 3, 10]));
    }
}

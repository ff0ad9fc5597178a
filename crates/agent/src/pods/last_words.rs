//! What an ended container says of its end: the file at its `terminationMessagePath`, or the end of its log.

use std::fs::{File, Permissions, create_dir_all, remove_file, set_permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use pouch::cri;

use super::hooks;
use super::log_files;
use super::observed::{Observed, State};

/// What a status has room for.
const LONGEST: u64 = 4096;
/// What is taken of a log instead.
const LONGEST_OF_LOG: u64 = 2048;
const LINES_OF_LOG: usize = 80;

/// Makes the file for the last words of run `attempt` below `pod_dir`, and tells where the container finds it.
pub(super) fn mount(pod_dir: &Path, container: &Container, attempt: u32) -> io::Result<Option<cri::Mount>> {
    let Some(target) = container.termination_message_path.clone().filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let file = file(pod_dir, &container.name, attempt);
    if let Some(parent) = file.parent() {
        create_dir_all(parent)?;
    }
    if let Some(old) = attempt.checked_sub(3) {
        let _gone = remove_file(self::file(pod_dir, &container.name, old));
    }
    File::create(&file)?;
    // The container may run as anyone.
    set_permissions(&file, Permissions::from_mode(0o666))?;
    let host_path = file.display().to_string();
    Ok(Some(cri::Mount { container_path: target, host_path, ..cri::Mount::default() }))
}

fn file(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("last-words").join(container).join(attempt.to_string())
}

/// Completes what the engine says of ended containers with their own words.
pub(super) fn hear(pod: &Pod, observed: &mut Observed, pod_dir: &Path, log_dir: &Path) {
    for run in &mut observed.containers {
        let State::Exited(exit) = &mut run.state else { continue };
        let Some(container) = hooks::find(pod, &run.name) else { continue };
        if !exit.message.is_empty() {
            continue;
        }
        exit.message = tail(&file(pod_dir, &run.name, run.attempt), LONGEST).unwrap_or_default();
        let falls_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if exit.message.is_empty() && falls_back && exit.code != 0 {
            let log = log_files::path(&log_dir.join(&run.name), run.attempt);
            exit.message = tail(&log, 4 * LONGEST_OF_LOG).map(|raw| of_log(&raw)).unwrap_or_default();
        }
    }
}

/// The last `length` bytes of a file. It may be a device or a link by now, put there by the container: only what is
/// a plain file is read.
fn tail(path: &Path, length: u64) -> io::Result<String> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(String::new());
    }
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The texts of the last lines of a log in CRI's format.
fn of_log(raw: &str) -> String {
    let texts: Vec<String> = raw
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(4, ' ');
            let _time = parts.next()?.parse::<jiff::Timestamp>().ok()?;
            let _stream = parts.next()?;
            let end = if parts.next()?.starts_with('P') { "" } else { "\n" };
            Some(format!("{}{end}", parts.next().unwrap_or_default()))
        })
        .collect();
    let text = texts[texts.len().saturating_sub(LINES_OF_LOG)..].concat();
    let longest = usize::try_from(LONGEST_OF_LOG).unwrap_or(usize::MAX);
    let mut start = text.len().saturating_sub(longest);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::write;

    use serde_json::json;

    use super::super::observed::{Exit, Instance};
    use super::*;

    fn check(policy: &str, said: &str, code: i32, expected: &str) {
        let home = tempfile::tempdir().unwrap();
        let container = json!({ "name": "c", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": policy });
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [container] } })).unwrap();
        let container = hooks::find(&pod, "c").unwrap();
        let mount = mount(home.path(), &container, 3).unwrap().unwrap();
        assert_eq!(mount.container_path, "/dev/termination-log");
        write(&mount.host_path, said).unwrap();
        create_dir_all(home.path().join("c")).unwrap();
        let log = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr P tw\n2026-01-01T00:00:02Z stderr F o\n";
        write(log_files::path(&home.path().join("c"), 3), log).unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let exit = Exit { code, reason: String::new(), message: String::new(), started: now, finished: now };
        let run = Instance {
            id: "i".into(),
            sandbox: "s".into(),
            name: "c".into(),
            attempt: 3,
            image: String::new(),
            image_ref: String::new(),
            state: State::Exited(exit),
        };
        let mut observed = Observed { sandboxes: Vec::new(), containers: vec![run] };
        hear(&pod, &mut observed, home.path(), home.path());
        assert_eq!(observed.containers[0].exit().unwrap().message, expected);
    }

    #[test]
    fn last_words_or_the_end_of_the_log() {
        check("File", "farewell", 0, "farewell");
        check("File", "", 1, "");
        check("FallbackToLogsOnError", "farewell", 1, "farewell");
        check("FallbackToLogsOnError", "", 0, "");
        check("FallbackToLogsOnError", "", 1, "one\ntwo\n");
        let long = "x".repeat(5000);
        check("File", &long, 1, &long[..4096]);
    }
}

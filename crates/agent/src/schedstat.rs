//! How long a thread ran, and how long it waited for a CPU while it could have run, as the kernel counts.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Time on a CPU and time waiting for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scheduled {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

/// Why a host has none of this, if so.
pub(crate) fn lack() -> Option<String> {
    let lack =
        "/proc/PID/schedstat is missing (CONFIG_SCHED_INFO): how long containers wait for a CPU is not told";
    (!Path::new("/proc/self/schedstat").exists()).then(|| lack.to_owned())
}

/// The file of a thread, which may be read again and again: to open it costs more than that.
pub(crate) fn open(thread: u32) -> Option<File> {
    File::open(format!("/proc/{thread}/schedstat")).ok()
}

/// `1000085767 235044 8`: nanoseconds of both, and how often it ran. `None` of a thread that has ended.
pub(crate) fn read(file: &File) -> Option<Scheduled> {
    let mut text = [0; 64];
    let length = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let mut times = text.split_whitespace().map_while(|word| word.parse().ok()).map(Duration::from_nanos);
    Some(Scheduled { ran: times.next()?, waited: times.next()? })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_thread_is_read_through_one_file_until_it_ends() {
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let file = open(child.id()).unwrap();
        let before = read(&file).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let after = read(&file).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let passed = after.ran + after.waited - before.ran - before.waited;
        assert!(passed > Duration::from_millis(50), "{passed:?}");
        assert_eq!(read(&file), None);
    }
}

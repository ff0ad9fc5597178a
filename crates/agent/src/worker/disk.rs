//! How much of the machine's disk the worker's own files take: what was written into the container since it began, the
//! folders that are only its own, and files that have no name any more but are open.
//!
//! ```text
//!   idle ──a second, and the disk has become fuller──► walking, some entries at a time ──► idle
//!                                                         └── more than the limit ──► full: what runs is killed
//! ```
//! Quotas of projects would be exact, but few machines have them switched on. Nothing is walked as long as the disk as a whole
//! has not become fuller by half of what is left, and a walk stops at the limit: so that whoever writes little costs little.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, ReadDir};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use fuxi::protocol::DiskLimit;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Somebody else may free what is written here: after so many looks it is walked in any case.
const LOOKS: u32 = 30;
/// How many entries are looked at before others have their turn.
const AT_ONCE: usize = 2000;
/// Between two turns of a walk.
const TURN: Duration = Duration::from_millis(20);
/// How far the kernel's stamps may be behind.
const CLOCK: Duration = Duration::from_millis(10);
/// How far beyond the last look files may be stamped.
const MARGIN: Duration = Duration::from_secs(60);
/// The least that a file or folder counts for: millions of empty ones fill a disk, too.
const LEAST: u64 = 4096;

#[derive(Debug)]
pub(super) struct Disk {
    lived: Lived,
    state: State,
    /// What was found by the last walk, and the most of the disk that was free since then.
    used: u64,
    free: u64,
    looks: u32,
}

#[derive(Debug)]
enum State {
    Idle { next: Option<Instant> },
    Walking { walk: Box<Walk>, next: Instant },
    Full { limit: u64 },
}

impl Disk {
    /// Whatever was changed after this moment was written here.
    pub(super) fn new(since: SystemTime) -> Self {
        Self {
            lived: Lived(vec![(since, since)]),
            state: State::Idle { next: None },
            used: 0,
            free: 0,
            looks: 0,
        }
    }

    /// The limit that was exceeded, if it was; the worker is of no more use then.
    pub(super) fn exceeded(&self) -> Option<u64> {
        if let State::Full { limit } = self.state { Some(limit) } else { None }
    }

    /// When to look, while something runs.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Idle { next } => next,
            State::Walking { next, .. } => Some(next),
            State::Full { .. } => None,
        }
    }

    /// Takes note of what is free before anything runs.
    pub(super) fn begin(&mut self, disk: &DiskLimit, now: Instant) {
        if let State::Idle { next: next @ None } = &mut self.state {
            *next = Some(now + INTERVAL);
            self.free = free(disk);
        }
    }

    /// Looks while something runs, if it is time to; true if it was just found to be full.
    pub(super) fn advance(&mut self, disk: &DiskLimit, (now, wall): (Instant, SystemTime)) -> bool {
        if let State::Idle { next } = &mut self.state {
            if next.is_none_or(|next| now < next) {
                return false;
            }
            *next = Some(now + INTERVAL);
            self.lived.go_on(wall);
            let free = free(disk);
            self.free = self.free.max(free);
            self.looks += 1;
            let left = disk.limit.saturating_sub(self.used);
            if self.free - free < left / 2 && self.looks < LOOKS {
                return false;
            }
            self.state = State::Walking { walk: Box::new(Walk::new(disk, self.lived.clone())), next: now };
        }
        let State::Walking { walk, next } = &mut self.state else { return false };
        if now < *next {
            return false;
        }
        let is_done = walk.step(AT_ONCE);
        *next = now + TURN;
        let sum = walk.sum;
        if sum > disk.limit {
            self.state = State::Full { limit: disk.limit };
            return true;
        }
        if is_done {
            (self.used, self.free, self.looks) = (sum, free(disk), 0);
            self.state = State::Idle { next: Some(now + INTERVAL) };
        }
        false
    }
}

/// When the worker has lived, by the clock that files are stamped with: from when to when, and again each time that it was
/// set back to before all of that.
#[derive(Clone, Debug)]
struct Lived(Vec<(SystemTime, SystemTime)>);

impl Lived {
    /// It lives at `wall`. What was written since it was last asked may be a little older.
    fn go_on(&mut self, wall: SystemTime) {
        // Set to the right time again, it goes on where it was.
        let begun = self.0.iter_mut().filter(|(from, _)| *from <= wall);
        match begun.max_by_key(|(from, _)| *from) {
            Some((_, to)) => *to = wall.max(*to),
            None => self.0.push((wall.checked_sub(2 * INTERVAL).unwrap_or(wall), wall)),
        }
    }

    /// Whether something of this moment is of its time.
    fn has(&self, moment: SystemTime) -> bool {
        // The kernel's stamps are up to some milliseconds behind; and what is written while we look is of its time, too.
        self.0.iter().any(|(from, to)| moment + CLOCK >= *from && moment <= *to + MARGIN)
    }
}

/// How much is free on the disk of the first folder, files that could be made included for what they count.
fn free(disk: &DiskLimit) -> u64 {
    let folder = disk.folders.first().map_or(std::path::Path::new("/"), PathBuf::as_path);
    nix::sys::statvfs::statvfs(folder).map_or(0, |stat| {
        let (bytes, files) = (stat.blocks_free().saturating_mul(stat.fragment_size()), stat.files_free());
        bytes.saturating_add(files.saturating_mul(LEAST))
    })
}

/// A walk through all that is the worker's own.
#[derive(Debug)]
struct Walk {
    lived: Lived,
    sum: u64,
    /// Folders to be read, each with the device that it must be on, and whether all that is in it counts.
    open: Vec<(PathBuf, u64, bool)>,
    current: Option<(ReadDir, u64, bool)>,
    /// Files with several names count once.
    linked: BTreeSet<(u64, u64)>,
}

impl Walk {
    fn new(disk: &DiskLimit, lived: Lived) -> Self {
        let mut walk = Self { lived, sum: 0, open: Vec::new(), current: None, linked: BTreeSet::new() };
        // Only in a container of its own is the root its own.
        if std::process::id() == 1 {
            walk.enter(PathBuf::from("/"), false);
        }
        for folder in &disk.folders {
            walk.enter(folder.clone(), true);
        }
        walk
    }

    fn enter(&mut self, folder: PathBuf, counts_all: bool) {
        if let Ok(data) = fs::symlink_metadata(&folder) {
            self.open.push((folder, data.dev(), counts_all));
        }
    }

    /// Looks at so many entries; true at the end.
    fn step(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if let Some((entries, device, counts_all)) = &mut self.current {
                let (device, counts_all) = (*device, *counts_all);
                match entries.next() {
                    Some(Ok(entry)) => {
                        if let Ok(data) = entry.metadata() {
                            self.look_at(entry.path(), &data, (device, counts_all));
                        }
                    }
                    // What cannot be read now is on its way out.
                    Some(Err(_)) | None => self.current = None,
                }
            } else if let Some((folder, device, counts_all)) = self.open.pop() {
                self.current = fs::read_dir(folder).ok().map(|entries| (entries, device, counts_all));
            } else {
                self.look_at_nameless();
                return true;
            }
        }
        false
    }

    fn look_at(&mut self, path: PathBuf, data: &Metadata, (device, counts_all): (u64, bool)) {
        if data.is_dir() {
            // What is mounted in it has a device of its own, and is not the container's.
            if data.dev() != device {
                return;
            }
            self.open.push((path, device, counts_all));
        }
        if counts_all || self.is_new(data) {
            let is_first = data.nlink() < 2 || data.is_dir() || self.linked.insert((data.dev(), data.ino()));
            self.sum += if is_first { (data.blocks() * 512).max(LEAST) } else { 0 };
        }
    }

    /// Whether a file of the container was changed here, and not just brought along by the image.
    fn is_new(&self, data: &Metadata) -> bool {
        let (seconds, nanos) = (u64::try_from(data.ctime()), u32::try_from(data.ctime_nsec()));
        let changed = seconds.map(|seconds| Duration::new(seconds, nanos.unwrap_or(0)));
        changed.is_ok_and(|changed| self.lived.has(SystemTime::UNIX_EPOCH + changed))
    }

    /// Files without a name that somebody here holds open.
    fn look_at_nameless(&mut self) {
        if std::process::id() != 1 {
            return;
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        for file in
            numbers.flat_map(|entry| fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten())
        {
            let Ok(data) = fs::metadata(file.path()) else { continue };
            let is_nameless = data.is_file() && data.nlink() == 0;
            // These are in memory, which has its own limit.
            let is_in_memory = || {
                let name = fs::read_link(file.path()).unwrap_or_default();
                name.starts_with("/dev/shm") || name.to_string_lossy().starts_with("/memfd:")
            };
            if is_nameless && !is_in_memory() && self.linked.insert((data.dev(), data.ino())) {
                self.sum += data.blocks() * 512;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use fuxi::protocol::DiskLimit;

    use super::{Disk, INTERVAL, LEAST, LOOKS, Lived, TURN, Walk};

    fn walked(disk: &DiskLimit) -> u64 {
        let mut walk = Walk::new(disk, Lived(Vec::new()));
        while !walk.step(3) {}
        walk.sum
    }

    #[test]
    fn what_is_in_the_folders_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskLimit { limit: 1 << 20, folders: vec![folder.path().to_owned()] };
        assert_eq!(walked(&disk), 0);
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), vec![1; 300_000]).unwrap();
        let sum = walked(&disk);
        assert!((300_000..330_000).contains(&sum), "{sum}");
        fs::hard_link(folder.path().join("a/b/file"), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("away")).unwrap();
        assert_eq!(walked(&disk), sum + LEAST);
        for number in 0..100 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(walked(&disk), sum + 101 * LEAST);
    }

    /// What was written after the clock was set back counts, and what the image brought along does not.
    #[test]
    fn a_clock_that_is_set_back_hides_nothing() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut lived = Lived(vec![(at(10_000), at(10_000))]);
        let check = |lived: &Lived, moment: u64, expected: bool| {
            assert_eq!(lived.has(at(moment)), expected, "{moment} in {lived:?}");
        };
        lived.go_on(at(10_500));
        for (moment, expected) in [(9_000, false), (9_999, false), (10_000, true), (10_501, true)] {
            check(&lived, moment, expected);
        }
        // Back by an hour, and a little further each second.
        for wall in [6_900, 6_901, 6_902, 7_400] {
            lived.go_on(at(wall));
        }
        let expected = [(6_000, false), (6_899, true), (7_400, true), (9_000, false), (10_300, true)];
        for (moment, expected) in expected {
            check(&lived, moment, expected);
        }
        // And to the right time again.
        lived.go_on(at(12_000));
        for (moment, expected) in [(11_999, true), (10_600, true), (9_000, false), (7_000, true)] {
            check(&lived, moment, expected);
        }
    }

    #[test]
    fn the_limit_is_found_and_little_is_walked_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskLimit { limit: 1 << 40, folders: vec![folder.path().to_owned()] };
        let (mut watch, mut now) = (Disk::new(SystemTime::UNIX_EPOCH), kit::clock::monotonic());
        watch.begin(&disk, now);
        for _ in 0..LOOKS {
            assert!(!watch.advance(&disk, (now, SystemTime::UNIX_EPOCH)));
            assert!(watch.due().unwrap() <= now + INTERVAL);
            now += INTERVAL;
        }
        let small = DiskLimit { limit: 100_000, ..disk };
        let mut watch = Disk::new(SystemTime::UNIX_EPOCH);
        watch.begin(&small, now);
        fs::write(folder.path().join("file"), vec![1; 200_000]).unwrap();
        let mut waited = Duration::ZERO;
        while !watch.advance(&small, (now, SystemTime::UNIX_EPOCH)) {
            now += TURN;
            waited += TURN;
            assert!(waited < INTERVAL * (LOOKS + 2), "never found");
        }
        assert_eq!(watch.exceeded(), Some(100_000));
    }
}

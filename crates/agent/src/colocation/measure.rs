//! What classes use and how long online waits, as differences of the kernel's counters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::time::Duration;

use model::QosClass;

use super::strays::Strays;
use crate::cgroup::Groups;
use crate::schedstat::{self, Scheduled};

/// Use between two measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Milli-cores.
    pub(super) online: f64,
    pub(super) batch: f64,
    pub(super) system: f64,
    pub(super) online_delay: Option<f64>,
    /// Of online, by those that stand in the group of batch.
    pub(super) guests: f64,
}

/// CPU time of those who stand on the other side's ground.
struct Strayed {
    services: Duration,
    batch: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Counters {
    at: Duration,
    host: Duration,
    online: Duration,
    batch: Duration,
    pressure: Option<Duration>,
}

/// CPU time of groups that count on the other side, one by one, since they come and go.
type Times = HashMap<String, Duration>;

/// A thread that was looked at.
#[derive(Debug)]
struct Thread {
    scheduled: Scheduled,
    /// Kept open where there are few: to open it costs more than to read it.
    file: Option<File>,
}

/// Groups are searched for threads this often: that costs more than all else of a look.
const LISTED_EVERY: Duration = Duration::from_secs(1);
/// So many threads are looked at in one go, so that a look on a host of thousands is as short; they take turns.
const LOOKED_AT: usize = 200;

/// Remembers the last counters.
#[derive(Debug)]
pub(super) struct Meter {
    groups: Groups,
    last: Option<Counters>,
    threads: HashMap<u32, Thread>,
    /// Those that are looked at, in turns; searched for at `listed_at`.
    list: VecDeque<u32>,
    listed_at: Option<Duration>,
    strays: Times,
}

impl Meter {
    pub(super) fn new(groups: Groups) -> Self {
        Self {
            groups,
            last: None,
            threads: HashMap::new(),
            list: VecDeque::new(),
            listed_at: None,
            strays: Times::new(),
        }
    }

    /// The next measurement starts anew.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.threads.clear();
        self.listed_at = None;
        self.strays.clear();
    }

    /// Use since the last call; `None` at the first, and when counters cannot be read or went back.
    pub(super) fn measure(&mut self, now: Duration, with_delay: bool, strays: &Strays) -> Option<Usage> {
        let backend = self.groups.backend();
        let online_group = self.groups.class(QosClass::Online);
        let counters = Counters {
            at: now,
            // The root group counts the whole host, to the nanosecond, where `/proc/stat` counts in hundredths.
            host: backend.cpu_time("").ok()?,
            online: backend.cpu_time(&online_group).unwrap_or_default(),
            batch: backend.cpu_time(&self.groups.class(QosClass::Batch)).unwrap_or_default(),
            // Where batch is among services, its waiting is in the group's pressure.
            pressure: backend
                .cpu_pressure(&online_group)
                .filter(|_| with_delay && !self.groups.are_foreign()),
        };
        let threads = (with_delay && counters.pressure.is_none()).then(|| self.waited(strays, now));
        let strayed = self.strayed(strays);
        let last = self.last.replace(counters)?;
        let elapsed = now.saturating_sub(last.at).as_secs_f64();
        if elapsed < 0.01 {
            return None;
        }
        let milli_of = |time: Duration| time.as_secs_f64() / elapsed * 1000.0;
        let milli = |new: Duration, old| Some(milli_of(new.checked_sub(old)?));
        let guests = milli_of(strayed.services);
        let batch = (milli(counters.batch, last.batch)? - guests + milli_of(strayed.batch)).max(0.0);
        let among_online = if self.groups.are_foreign() { batch } else { 0.0 };
        let online = (milli(counters.online, last.online)? - among_online).max(0.0);
        let online_delay = match (counters.pressure, last.pressure, threads) {
            (Some(new), Some(old), _) => Some(new.saturating_sub(old).as_secs_f64() / elapsed),
            (_, _, Some(scheduled)) => Some(delay(scheduled, elapsed)),
            _ => None,
        };
        let system = (milli(counters.host, last.host)? - online - batch).max(0.0);
        Some(Usage { online, batch, system, online_delay, guests })
    }

    /// CPU time of strays since the last look; what is seen for the first time is only remembered.
    fn strayed(&mut self, strays: &Strays) -> Strayed {
        let before = std::mem::take(&mut self.strays);
        let mut since = |groups: &[String]| {
            let mut sum = Duration::ZERO;
            for group in groups {
                let Ok(time) = self.groups.backend().cpu_time(group) else { continue };
                sum += before.get(group).and_then(|before| time.checked_sub(*before)).unwrap_or_default();
                self.strays.insert(group.clone(), time);
            }
            sum
        };
        Strayed { services: since(&strays.services), batch: since(&strays.batch) }
    }

    /// How long those of online's threads whose turn it is ran and waited since they were looked at last, together.
    fn waited(&mut self, strays: &Strays, now: Duration) -> Scheduled {
        if self.listed_at.is_none_or(|at| now.saturating_sub(at) >= LISTED_EVERY) {
            self.list_threads(strays);
            self.listed_at = Some(now);
        }
        let keeps_files = self.list.len() <= LOOKED_AT;
        let mut sum = Scheduled::default();
        for _ in 0..self.list.len().min(LOOKED_AT) {
            let Some(number) = self.list.pop_front() else { break };
            let (before, file) = self
                .threads
                .remove(&number)
                .map_or((None, None), |known| (Some(known.scheduled), known.file));
            // One that is gone is forgotten: another may have its number when groups are searched next.
            let Some(file) = file.or_else(|| schedstat::open(number)) else { continue };
            let Some(scheduled) = schedstat::read(&file) else { continue };
            self.list.push_back(number);
            self.threads.insert(number, Thread { scheduled, file: keeps_files.then_some(file) });
            // A thread seen for the first time is only remembered: its past is not this interval's.
            if let Some(before) = before {
                sum.ran += scheduled.ran.saturating_sub(before.ran);
                sum.waited += scheduled.waited.saturating_sub(before.waited);
            }
        }
        sum
    }

    /// Threads that stay keep their turn.
    fn list_threads(&mut self, strays: &Strays) {
        let present = strays.threads_of_services(&self.groups);
        self.list.retain(|thread| present.contains(thread));
        self.threads.retain(|thread, _| present.contains(thread));
        let known: HashSet<u32> = self.list.iter().copied().collect();
        self.list.extend(present.difference(&known));
    }
}

/// Waiting over waiting plus running. A tenth of the interval counts as running on top, so that a service that
/// hardly runs at all does not raise an alarm over a millisecond.
fn delay(scheduled: Scheduled, elapsed: f64) -> f64 {
    let (ran, waited) = (scheduled.ran.as_secs_f64(), scheduled.waited.as_secs_f64());
    waited / (waited + ran + 0.1 * elapsed)
}

//! What classes use and how long online waits, as differences of the kernel's counters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::time::Duration;

use model::QosClass;

use super::own_limits::OwnLimits;
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

/// The threads of a Pod, and what it had used before they were listed. As long as that stays, none of them has run, and so
/// none has begun or ended.
#[derive(Debug)]
struct Listed {
    cpu_time: Option<Duration>,
    threads: Vec<u32>,
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
    limits: OwnLimits,
    /// By the Pod's group, in a tree of our own.
    listed: HashMap<String, Listed>,
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
            limits: OwnLimits::default(),
            listed: HashMap::new(),
            strays: Times::new(),
        }
    }

    /// These services may run into limits of their own.
    pub(super) fn follow(&mut self, limited: &[String]) {
        self.limits.follow(limited);
    }

    /// The next measurement starts anew.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.threads.clear();
        self.listed_at = None;
        self.listed.clear();
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
        let threads = with_delay.then(|| match self.last {
            // What a thread has waited is told when it runs, and none has.
            Some(last)
                if last.online == counters.online
                    && counters.pressure.is_none()
                    && !self.groups.are_foreign() =>
            {
                Some(Scheduled::default())
            }
            _ => self.threads(strays, counters.pressure.is_some(), now),
        });
        let threads = threads.flatten();
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
            (_, _, Some(scheduled)) => Some(delay(scheduled, elapsed)),
            (Some(new), Some(old), None) => Some(new.saturating_sub(old).as_secs_f64() / elapsed),
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

    /// What threads tell, where the group's pressure does not: it counts those, too, that wait for a quota of their own.
    fn threads(&mut self, strays: &Strays, has_pressure: bool, now: Duration) -> Option<Scheduled> {
        let limited = self.limits.threads(&self.groups, now);
        if has_pressure && (limited.is_empty() || schedstat::lack().is_some()) {
            // What is looked at anew begins anew.
            self.threads.clear();
            return None;
        }
        Some(self.waited(strays, &limited, now))
    }

    /// How long those of online's threads whose turn it is ran and waited since they were looked at last, together; those that
    /// are `limited` wait for what batch has no part in.
    fn waited(&mut self, strays: &Strays, limited: &HashSet<u32>, now: Duration) -> Scheduled {
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
            if let Some(before) = before.filter(|_| !limited.contains(&number)) {
                sum.ran += scheduled.ran.saturating_sub(before.ran);
                sum.waited += scheduled.waited.saturating_sub(before.waited);
            }
        }
        sum
    }

    /// Threads that stay keep their turn.
    fn list_threads(&mut self, strays: &Strays) {
        let present = if self.groups.are_foreign() {
            strays.threads_of_services(&self.groups)
        } else {
            self.threads_of_own()
        };
        self.list.retain(|thread| present.contains(thread));
        self.threads.retain(|thread, _| present.contains(thread));
        let known: HashSet<u32> = self.list.iter().copied().collect();
        self.list.extend(present.difference(&known));
    }

    /// Threads of services in a tree of our own; only Pods are searched that have run since.
    fn threads_of_own(&mut self) -> HashSet<u32> {
        let backend = self.groups.backend();
        let mut before = std::mem::take(&mut self.listed);
        let mut present = HashSet::new();
        for pod in backend.children(&self.groups.class(QosClass::Online)) {
            let cpu_time = backend.cpu_time(&pod).ok();
            let known = before.remove(&pod).filter(|known| cpu_time.is_some() && known.cpu_time == cpu_time);
            let listed = known.unwrap_or_else(|| Listed { cpu_time, threads: backend.threads(&pod) });
            present.extend(&listed.threads);
            self.listed.insert(pod, listed);
        }
        present
    }
}

/// Waiting over waiting plus running. A tenth of the interval counts as running on top, so that a service that
/// hardly runs at all does not raise an alarm over a millisecond.
fn delay(scheduled: Scheduled, elapsed: f64) -> f64 {
    let (ran, waited) = (scheduled.ran.as_secs_f64(), scheduled.waited.as_secs_f64());
    waited / (waited + ran + 0.1 * elapsed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::{Child, Command};

    use model::MilliCpu;

    use super::*;
    use crate::cgroup::{Knob, Mounts};

    /// What a service that wants a whole CPU and may have a tenth of one suffers, by the real kernel. Needs root.
    fn delay_at_its_limit(is_known: bool) -> f64 {
        let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        let groups = Groups::new(&mounts, &format!("crest-test-limit-{}-{is_known}", std::process::id()));
        groups.prepare(MilliCpu(2000)).unwrap();
        let pod = groups.pod(QosClass::Online, "x");
        groups.backend().create(&pod).unwrap();
        groups.backend().set(&pod, Knob::Quota(Some(MilliCpu(100)))).unwrap();
        // What hands controllers down may have no process of its own; CPU time may be counted in another tree.
        let roots: BTreeSet<_> = ["cpu", "cpuacct"].iter().filter_map(|name| mounts.v1.get(*name)).collect();
        let mut script = String::new();
        for root in if roots.is_empty() { mounts.v2.iter().collect() } else { roots } {
            let container = root.join(&pod).join("c");
            std::fs::create_dir(&container).unwrap();
            script += &format!("echo $$ > {}/cgroup.procs; ", container.display());
        }
        script += "while :; do :; done";
        let mut service = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let mut meter = Meter::new(groups.clone());
        meter.follow(if is_known { std::slice::from_ref(&pod) } else { &[] });
        let started = kit::clock::monotonic();
        let delays: Vec<f64> = (0..15)
            .filter_map(|_| {
                std::thread::sleep(Duration::from_millis(100));
                meter.measure(started.elapsed(), true, &Strays::default())?.online_delay
            })
            .collect();
        service.kill().unwrap();
        service.wait().unwrap();
        groups.remove_all().unwrap();
        println!("{delays:.2?}");
        delays[5..].iter().sum::<f64>() / delays[5..].len() as f64
    }

    #[test]
    fn who_waits_for_its_own_limit_does_not_wait_for_batch() {
        let (unknown, known) = (delay_at_its_limit(false), delay_at_its_limit(true));
        assert!(unknown > 0.4 && known < 0.1, "{unknown} {known}");
    }

    /// Groups of the real kernel and a process in them; both are gone afterwards.
    struct Scene {
        groups: Groups,
        process: Child,
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
            self.groups.remove_all().unwrap();
        }
    }

    /// Needs root.
    #[test]
    fn a_pod_is_searched_for_threads_once_it_has_run() {
        let mounts = Mounts::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        let groups = Groups::new(&mounts, &format!("crest-test-threads-{}", std::process::id()));
        groups.prepare(MilliCpu(1000)).unwrap();
        let pod = groups.pod(QosClass::Online, "a");
        groups.backend().create(&pod).unwrap();
        let process = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let mut scene = Scene { groups, process };
        let thread = scene.process.id();
        let mut meter = Meter::new(scene.groups.clone());
        assert!(meter.threads_of_own().is_empty());
        // What hands controllers down may have no process of its own.
        let roots: BTreeSet<_> = ["cpu", "cpuacct"].iter().filter_map(|name| mounts.v1.get(*name)).collect();
        for root in if roots.is_empty() { mounts.v2.iter().collect() } else { roots } {
            let container = root.join(&pod).join("c");
            std::fs::create_dir(&container).unwrap();
            std::fs::write(container.join("cgroup.procs"), thread.to_string()).unwrap();
        }
        let mut becomes = |present: bool| {
            let begun = kit::clock::monotonic();
            while meter.threads_of_own().contains(&thread) != present {
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", meter.listed);
                std::thread::yield_now();
            }
        };
        becomes(true);
        scene.process.kill().unwrap();
        scene.process.wait().unwrap();
        becomes(false);
    }
}

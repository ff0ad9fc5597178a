//! Online's Pods one by one: what each asks for, uses, and may want at its peak by the history of its app.
//!
//! ```text
//!   every second:  cgroup of each Pod ──► use since the last look ──► what counts against batch
//!   every minute:  use of each Pod over the minute ──► history of its app ──► written down every ten
//! ```

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::predict::{Policy, Predictor};
use level0::reckon;
use model::QosClass;
use model::qos::is_mid;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Groups, InUse};
use crate::pods::has_ended;
use crate::{resources, state_file};

/// How often a Pod's memory is read, of which the kernel reckons the sum anew each time; the host's is read every second.
const MEMORY: Duration = Duration::from_secs(5);
/// The time over which a Pod's use is one sample of its app's history.
const SAMPLE: Duration = Duration::from_secs(60);
/// How much of the histories a crash may lose.
const CHECKPOINT: Duration = Duration::from_secs(600);

/// For so long after its first process what a Pod uses says nothing of what it will use.
const NEW: Duration = Duration::from_secs(10);

/// How an online Pod counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlinePod {
    pub namespace: String,
    pub name: String,
    /// Whose history it has.
    pub app: String,
    pub milli_cpu: Term,
    pub memory: Term,
    /// Whether it lends nothing of its CPUs.
    pub is_pinned: bool,
    /// Whether it lives on what others requested and do not use.
    #[serde(default)]
    pub is_mid: bool,
}

/// One resource of it, in milli-cores or bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    pub request: u64,
    pub measured: Option<u64>,
    /// What it uses in its first moments, which says little of what it will use.
    #[serde(default)]
    pub while_new: Option<u64>,
    /// Of its memory, pages of files that the host takes for unused, as they can be dropped.
    #[serde(default)]
    pub cache: u64,
    pub predicted: Option<u64>,
}

impl Term {
    fn to_reckon(self) -> reckon::Pod {
        let float = |value: u64| value as f64;
        reckon::Pod {
            request: float(self.request),
            measured: self.measured.map(float),
            while_new: self.while_new.map_or(0.0, float),
            cache: float(self.cache),
            predicted: self.predicted.map(float),
            ..reckon::Pod::default()
        }
    }
}

impl OnlinePod {
    pub(super) fn cpu_to_reckon(&self) -> reckon::Pod {
        reckon::Pod { is_pinned: self.is_pinned, is_mid: self.is_mid, ..self.milli_cpu.to_reckon() }
    }

    /// Memory is nobody's own: what a Pod does not hold can be lent.
    pub(super) fn memory_to_reckon(&self) -> reckon::Pod {
        reckon::Pod { is_mid: self.is_mid, ..self.memory.to_reckon() }
    }
}

/// What is remembered of a Pod between two looks.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// From when on it counts by use.
    counts_from: Duration,
    at: Duration,
    cpu_time: Duration,
    /// The beginning of the sample that is being taken.
    sample_at: Duration,
    sample_cpu_time: Duration,
    /// When it was read, and what it was.
    memory: Option<(Duration, InUse)>,
}

/// Measures online's Pods.
#[derive(Debug)]
pub(super) struct Online {
    groups: Groups,
    policy: Policy,
    file: PathBuf,
    predictor: Predictor,
    /// The time of the histories when this began.
    begun: Duration,
    seen: HashMap<String, Seen>,
    saved: Duration,
}

impl Online {
    /// Goes on with the histories that lie in `file`.
    pub(super) fn new(groups: Groups, policy: Policy, file: PathBuf, wall: Duration) -> Self {
        let predictor = load(&file).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), error = %kit::Chain(&*error), "The apps' histories begin anew");
            Predictor::default()
        });
        let begun = predictor.resumes_at(wall);
        Self { groups, policy, file, predictor, begun, seen: HashMap::new(), saved: Duration::ZERO }
    }

    /// Keeps to this policy from here on.
    pub(super) fn follow(&mut self, policy: Policy, now: Duration) {
        let time = self.begun.saturating_add(now);
        self.predictor.settle(&self.policy, time);
        self.policy = policy;
    }

    /// All Pods that count, each with whether it has processes, at `now`, where `wall` is the time since the epoch.
    pub(super) fn measure(
        &mut self,
        pods: &[(Arc<Pod>, bool)],
        is_pinned: impl Fn(&str) -> bool,
        (now, wall): (Duration, Duration),
    ) -> Vec<OnlinePod> {
        let before = std::mem::take(&mut self.seen);
        let counts = pods.iter().filter(|(pod, _)| QosClass::of(pod) == QosClass::Online && !has_ended(pod));
        let measured = counts.filter_map(|(pod, is_alive)| {
            let uid = pod.metadata.uid.as_deref()?;
            let group = self.groups.pod(QosClass::Online, uid);
            let mut used = Used::default();
            if *is_alive {
                used = self.use_of((uid, &group), before.get(uid), (now, Age::of(pod, wall)));
            }
            let Used { milli_cpu, memory, cache, is_new } = used;
            let app = app(pod);
            self.sample(&app, (uid, memory.filter(|_| !is_new)), now);
            let term = |request: u64, used: Option<f64>, predicted: Option<f64>| Term {
                request,
                measured: used.filter(|_| !is_new).map(whole),
                while_new: used.filter(|_| is_new).map(whole),
                cache: 0,
                predicted: predicted.map(whole),
            };
            let peaks = self.predictor.peaks(&app, &self.policy);
            let share = resources::of_pod(pod);
            Some(OnlinePod {
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                name: pod.metadata.name.clone().unwrap_or_default(),
                app,
                milli_cpu: term(share.cpu.0, milli_cpu, peaks.map(|peaks| peaks.milli_cpu)),
                memory: Term { cache, ..term(share.memory.0, memory, peaks.map(|peaks| peaks.memory)) },
                is_pinned: is_pinned(&group),
                is_mid: is_mid(pod),
            })
        });
        let measured: Vec<OnlinePod> = measured.collect();
        if now >= self.saved + CHECKPOINT {
            self.save(now, wall);
        }
        measured
    }

    /// CPU since the last look and memory; nothing of a Pod without a group, whose counters cannot be read, or that was not
    /// looked at before.
    fn use_of(
        &mut self,
        (uid, group): (&str, &str),
        before: Option<&Seen>,
        (now, age): (Duration, Option<Age>),
    ) -> Used {
        let backend = self.groups.backend();
        let Ok(cpu_time) = backend.cpu_time(group) else { return Used::default() };
        // One that was there before this agent is not new.
        let counts_from = if age.is_some() { now } else { now.saturating_add(NEW) };
        let fresh =
            Seen { counts_from, at: now, cpu_time, sample_at: now, sample_cpu_time: cpu_time, memory: None };
        let mut seen = before.map_or(fresh, |before| Seen { at: now, cpu_time, ..*before });
        let milli_cpu = match (before, age) {
            (Some(before), _) => rate(before.cpu_time, cpu_time, now.saturating_sub(before.at)),
            (None, Some(Age::Whole(age))) => rate(Duration::ZERO, cpu_time, age),
            (None, Some(Age::OfLastRun) | None) => None,
        };
        let is_new = now < seen.counts_from;
        let memory = milli_cpu.and_then(|_| match seen.memory {
            Some((at, memory)) if !is_new && now.saturating_sub(at) < MEMORY => Some((at, memory)),
            _ => backend.memory_in_use(group).ok().map(|memory| (now, memory)),
        });
        seen.memory = memory;
        self.seen.insert(uid.to_owned(), seen);
        Used {
            milli_cpu,
            memory: memory.map(|(_, memory)| memory.working_set().0 as f64),
            cache: memory.map_or(0, |(_, memory)| memory.active_file.0),
            is_new,
        }
    }

    /// Once a minute: what a Pod used belongs to its app's history.
    fn sample(&mut self, app: &str, (uid, memory): (&str, Option<f64>), now: Duration) {
        let Some(seen) = self.seen.get_mut(uid) else { return };
        let elapsed = now.saturating_sub(seen.sample_at);
        if elapsed < SAMPLE {
            return;
        }
        let used = rate(seen.sample_cpu_time, seen.cpu_time, elapsed);
        (seen.sample_at, seen.sample_cpu_time) = (now, seen.cpu_time);
        if let (Some(used), Some(memory)) = (used, memory) {
            let time = self.begun.saturating_add(now);
            self.predictor.observe(app, (used, memory), &self.policy, time);
        }
    }

    /// Writes the histories down, in one step.
    pub(super) fn save(&mut self, now: Duration, wall: Duration) {
        self.saved = now;
        let time = self.begun.saturating_add(now);
        self.predictor.forget(&self.policy, time);
        self.predictor.settle(&self.policy, time);
        self.predictor.save_at(time, wall);
        if self.predictor.is_empty() {
            return;
        }
        if let Err(error) = write(&self.file, &self.predictor) {
            tracing::warn!(file = %self.file.display(), error = %kit::Chain(&error), "The apps' histories are not written");
        }
    }
}

/// What a Pod uses of each resource, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    milli_cpu: Option<f64>,
    memory: Option<f64>,
    cache: u64,
    is_new: bool,
}

/// For how long a Pod has run that is not new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Since its group was made: one that the agent finds when it comes back is known by that.
    Whole(Duration),
    /// Other processes ran in its group before those that run now: what was counted there says nothing of these.
    OfLastRun,
}

impl Age {
    /// `None` of a Pod that is new.
    fn of(pod: &Pod, wall: Duration) -> Option<Self> {
        let containers = || pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let began = containers()
            .filter_map(|container| container.state.as_ref()?.running.as_ref()?.started_at.as_ref());
        let began = began.map(|time| time.0.as_second()).min()?;
        let age = wall.checked_sub(Duration::from_secs(u64::try_from(began).ok()?))?;
        let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let is_first_run = inits.count() == 0 && containers().all(|container| container.restart_count == 0);
        (age >= NEW).then_some(if is_first_run { Self::Whole(age) } else { Self::OfLastRun })
    }
}

/// Milli-cores; `None` where a counter went back or no time has passed.
pub(super) fn rate(before: Duration, after: Duration, elapsed: Duration) -> Option<f64> {
    let used = after.checked_sub(before)?;
    (elapsed >= Duration::from_millis(10)).then(|| used.as_secs_f64() / elapsed.as_secs_f64() * 1000.0)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// The name that all Pods of one app share, in all its versions: its controller's, or its own.
fn app(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    let owners = metadata.owner_references.iter().flatten();
    let owner = owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.name.as_str()).next();
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let name = owner.or(metadata.name.as_deref()).unwrap_or_default();
    let name = hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-')).unwrap_or(name);
    format!("{}/{name}", metadata.namespace.as_deref().unwrap_or_default())
}

fn load(file: &Path) -> Result<Predictor, Box<dyn std::error::Error + Send + Sync>> {
    match state_file::read(file)? {
        Some(text) => Ok(serde_json::from_slice(&text)?),
        None => Ok(Predictor::default()),
    }
}

fn write(file: &Path, predictor: &Predictor) -> io::Result<()> {
    state_file::replace(file, &serde_json::to_vec(predictor)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_keeps_its_name_through_its_versions() {
        let check = |metadata: serde_json::Value, expected: &str| {
            let pod: Pod = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
            assert_eq!(app(&pod), expected);
        };
        let owner = |name: &str, controller: bool| json!([{"apiVersion": "v1", "kind": "X", "uid": "u", "name": name, "controller": controller}]);
        check(json!({"namespace": "shop", "name": "lonely"}), "shop/lonely");
        check(json!({"namespace": "shop", "name": "db-0", "ownerReferences": owner("db", true)}), "shop/db");
        check(
            json!({"namespace": "shop", "name": "db-0", "ownerReferences": owner("db", false)}),
            "shop/db-0",
        );
        let labels = json!({"pod-template-hash": "5d59"});
        let of_version = json!({"namespace": "shop", "name": "web-5d59-abc", "labels": labels,
            "ownerReferences": owner("web-5d59", true)});
        check(of_version, "shop/web");
    }

    #[test]
    fn a_pod_that_was_there_before_the_agent_is_not_new() {
        let check = |start_time: serde_json::Value,
                     (restarts, inits): (i32, usize),
                     expected: Option<Age>| {
            let status = json!({"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts,
                "state": {"running": {"startedAt": start_time}}});
            let pod = json!({
                "spec": {"containers": [], "initContainers": vec![json!({"name": "i"}); inits]},
                "status": { "startTime": "1970-01-01T00:00:01Z", "containerStatuses": [status] },
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(Age::of(&pod, Duration::from_secs(100)), expected);
        };
        let whole = Age::Whole(Duration::from_secs(60));
        check(json!("1970-01-01T00:00:40Z"), (0, 0), Some(whole));
        // A week of work before the restart a minute ago is not that minute's.
        check(json!("1970-01-01T00:00:40Z"), (1, 0), Some(Age::OfLastRun));
        check(json!("1970-01-01T00:00:40Z"), (0, 1), Some(Age::OfLastRun));
        check(json!("1970-01-01T00:01:35Z"), (0, 0), None);
        check(json!("1970-01-01T01:00:00Z"), (0, 0), None);
        check(json!("1960-01-01T00:00:00Z"), (0, 0), None);
        check(serde_json::Value::Null, (0, 0), None);
    }

    #[test]
    fn counters_that_go_back_say_nothing() {
        let second = Duration::from_secs(1);
        assert_eq!(rate(second, 3 * second, 4 * second), Some(500.0));
        assert_eq!(rate(3 * second, second, 4 * second), None);
        assert_eq!(rate(second, second, Duration::ZERO), None);
    }

    #[test]
    fn a_clock_that_is_weeks_ahead_throws_no_history_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("histories.json");
        let groups = Groups::new(&crate::cgroup::Mounts::default(), "crest");
        let (minute, wall) = (Duration::from_secs(60), Duration::from_secs(1_700_000_000));
        let online = |wall| Online::new(groups.clone(), Policy::default(), file.clone(), wall);
        let mut first = online(wall);
        first.predictor.observe("shop/web", (100.0, 1e6), &Policy::default(), first.begun);
        // It jumps while the agent runs, is still wrong at the next start, and is put right.
        first.save(minute, wall + minute * 60 * 24 * 30);
        online(wall + minute * 60 * 24 * 60).save(minute, wall);
        let last = online(wall);
        assert!(!last.predictor.is_empty());
        assert!(last.begun <= wall + minute * 60 * 25, "{:?}", last.begun);
    }

    #[test]
    fn histories_outlive_the_agent_and_a_broken_file_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("histories.json");
        let mut predictor = Predictor::default();
        predictor.observe("shop/web", (100.0, 1e6), &Policy::default(), Duration::from_secs(1));
        assert!(load(&file).unwrap().is_empty());
        write(&file, &predictor).unwrap();
        assert_eq!(load(&file).unwrap(), predictor);
        fs::write(&file, "{\"apps\": 3").unwrap();
        assert!(load(&file).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
}

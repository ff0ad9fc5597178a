//! What an app will want at its peak, from what its Pods used before: one histogram per app and resource.
//!
//! ```text
//!   new ── watched for less than a day: nothing is said ──► percentile + safety ──► silent for long: forgotten
//! ```
//! An app is whoever has the same name, on whichever Pod: a new version of a Deployment has the history of the old one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::histogram::{Histogram, Scale};

/// How peaks are read from histories. The defaults are those that Koordinator's users know.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What share of the time an app may want more CPU than is predicted.
    pub cpu_percentile: f64,
    pub memory_percentile: f64,
    /// What is added on top, as a share.
    pub safety: f64,
    /// What is so much older counts half.
    pub cpu_half_life: Duration,
    pub memory_half_life: Duration,
    /// For so long an app is watched before anything is said of it.
    pub cold_start: Duration,
    /// Without a sample for so long, an app's history is thrown away.
    pub forget_after: Duration,
    /// The most apps that are remembered; of more, those that were silent for longest are forgotten.
    pub max_apps: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            cpu_percentile: 0.95,
            memory_percentile: 0.98,
            safety: 0.1,
            cpu_half_life: Scale::CPU.half_life,
            memory_half_life: Scale::MEMORY.half_life,
            cold_start: Duration::from_secs(24 * 3600),
            forget_after: Duration::from_secs(7 * 24 * 3600),
            max_apps: 2000,
        }
    }
}

impl Policy {
    fn scales(&self) -> (Scale, Scale) {
        let cpu = Scale { half_life: self.cpu_half_life, ..Scale::CPU };
        (cpu, Scale { half_life: self.memory_half_life, ..Scale::MEMORY })
    }
}

/// Between two samples an app counts as watched for no longer than this: it may have been away.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// What one Pod of an app may want at its peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    pub milli_cpu: f64,
    pub memory: f64,
}

/// While nobody watched, histories grow older by no more than this: a clock that was wrong must not make them worthless.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The histories of all apps of a host. Times are those of the histories, which go on as long as somebody watches, whatever
/// becomes of the wall's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Predictor {
    apps: BTreeMap<String, App>,
    #[serde(default)]
    saved: Option<Saved>,
}

/// When histories were written down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    /// By their own time.
    at: Duration,
    /// Since the epoch.
    wall: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct App {
    /// For how long it was seen at work: what a clock does makes no app older.
    watched: Duration,
    last: Duration,
    cpu: Histogram,
    memory: Histogram,
}

impl Predictor {
    /// The time at which histories go on that were written down, where the wall's clock says `wall`.
    pub fn resumes_at(&self, wall: Duration) -> Duration {
        // Older files have histories by the wall's clock.
        let last = || self.apps.values().map(|app| app.last).max().map(|last| Saved { at: last, wall: last });
        self.saved
            .or_else(last)
            .map_or(wall, |saved| saved.at.saturating_add(wall.saturating_sub(saved.wall).min(LONGEST_PAUSE)))
    }

    /// Is written down at this time of the histories, where the wall's clock says `wall`.
    pub fn save_at(&mut self, at: Duration, wall: Duration) {
        self.saved = Some(Saved { at, wall });
    }

    /// Counts what one Pod of `app` used.
    pub fn observe(&mut self, app: &str, (milli_cpu, memory): (f64, f64), policy: &Policy, now: Duration) {
        let (cpu_scale, memory_scale) = policy.scales();
        let (cpu, memory_used) = (Histogram::default(), Histogram::default());
        let fresh = || App { watched: Duration::ZERO, last: now, cpu, memory: memory_used };
        let app = self.apps.entry(app.to_owned()).or_insert_with(fresh);
        app.watched = app.watched.saturating_add(now.saturating_sub(app.last).min(LONGEST_GAP));
        app.last = now;
        app.cpu.add(&cpu_scale, milli_cpu, now);
        app.memory.add(&memory_scale, memory, now);
    }

    /// Weighs all by the half-lives of `policy` as of `now`: from here on others may hold.
    pub fn settle(&mut self, policy: &Policy, now: Duration) {
        let (cpu_scale, memory_scale) = policy.scales();
        for app in self.apps.values_mut() {
            app.cpu.settle(&cpu_scale, now);
            app.memory.settle(&memory_scale, now);
        }
    }

    /// What a Pod of `app` may want; `None` of one that was not watched for long enough.
    pub fn peaks(&self, app: &str, policy: &Policy) -> Option<Peaks> {
        let app = self.apps.get(app).filter(|app| app.watched >= policy.cold_start)?;
        let with_safety = 1.0 + policy.safety.max(0.0);
        Some(Peaks {
            milli_cpu: app.cpu.percentile(&Scale::CPU, policy.cpu_percentile)? * with_safety,
            memory: app.memory.percentile(&Scale::MEMORY, policy.memory_percentile)? * with_safety,
        })
    }

    /// Forgets apps that were silent for too long, and more if there are too many.
    pub fn forget(&mut self, policy: &Policy, now: Duration) {
        self.apps.retain(|_, app| now.saturating_sub(app.last) < policy.forget_after);
        let excess = self.apps.len().saturating_sub(policy.max_apps);
        if excess == 0 {
            return;
        }
        let mut by_age: Vec<(Duration, String)> =
            self.apps.iter().map(|(name, app)| (app.last, name.clone())).collect();
        by_age.sort_unstable();
        by_age.iter().take(excess).for_each(|(_, name)| drop(self.apps.remove(name)));
    }

    pub fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(count: u64) -> Duration {
        Duration::from_secs(count * 3600)
    }

    fn watched(hours_long: u64) -> Predictor {
        let mut predictor = Predictor::default();
        for minute in 0..=hours_long * 60 {
            // One busy minute in ten.
            let busy = if minute % 10 == 0 { 3000.0 } else { 500.0 };
            predictor.observe("shop/web", (busy, 1e9), &Policy::default(), Duration::from_secs(minute * 60));
        }
        predictor
    }

    #[test]
    fn an_app_is_cold_then_warm_then_forgotten() {
        let policy = Policy::default();
        assert_eq!(watched(23).peaks("shop/web", &policy), None);
        let mut predictor = watched(24);
        let peaks = predictor.peaks("shop/web", &policy).unwrap();
        assert!((3300.0..3550.0).contains(&peaks.milli_cpu), "the busy minutes and a tenth: {peaks:?}");
        assert!((1.1e9..1.16e9).contains(&peaks.memory), "{peaks:?}");
        let calm = Policy { cpu_percentile: 0.8, safety: 0.0, ..Policy::default() };
        assert!(predictor.peaks("shop/web", &calm).unwrap().milli_cpu < 560.0);
        predictor.forget(&policy, hours(24 * 8 - 1));
        assert!(!predictor.is_empty());
        predictor.forget(&policy, hours(24 * 8));
        assert!(predictor.is_empty());
    }

    #[test]
    fn a_wrong_clock_makes_no_app_older() {
        let mut predictor = Predictor::default();
        for second in [60, 1_800_000_000, 120, 1_900_000_000] {
            predictor.observe("shop/web", (1.0, 1.0), &Policy::default(), Duration::from_secs(second));
        }
        assert_eq!(predictor.peaks("shop/web", &Policy::default()), None);
    }

    #[test]
    fn histories_go_on_where_they_were_whatever_the_clock_says() {
        let mut predictor = watched(30);
        let resumes = |predictor: &Predictor, walls: [u64; 3]| {
            walls.map(|wall| predictor.resumes_at(hours(wall)).as_secs() / 3600)
        };
        // Of a file without the time at which it was written, the last sample tells.
        assert_eq!(resumes(&predictor, [2, 31, 300]), [30, 31, 54]);
        predictor.save_at(hours(31), hours(1000));
        let text = serde_json::to_string(&predictor).unwrap();
        let read: Predictor = serde_json::from_str(&text).unwrap();
        assert_eq!(resumes(&read, [2, 1001, 2000]), [31, 32, 55]);
        assert_eq!(resumes(&Predictor::default(), [7, 8, 9]), [7, 8, 9]);
        // A boot with a clock that is months ahead neither forgets nor outweighs what was known.
        let (mut predictor, policy) = (watched(30), Policy::default());
        let before = predictor.peaks("shop/web", &policy).unwrap();
        let now = predictor.resumes_at(hours(24 * 90));
        for minute in 0..60 {
            predictor.observe("shop/web", (10.0, 1e6), &policy, now + Duration::from_secs(minute * 60));
        }
        predictor.forget(&policy, now + hours(1));
        assert_eq!(predictor.peaks("shop/web", &policy), Some(before));
    }

    #[test]
    fn it_outlives_its_process_as_text() {
        let predictor = watched(30);
        let text = serde_json::to_string(&predictor).unwrap();
        let read: Predictor = serde_json::from_str(&text).unwrap();
        let [ours, theirs] =
            [&predictor, &read].map(|each| each.peaks("shop/web", &Policy::default()).unwrap());
        assert_eq!(ours, theirs);
        assert!(text.len() < 4096, "{} bytes for one app", text.len());
    }

    #[test]
    fn another_half_life_counts_from_where_it_begins() {
        let slow =
            Policy { cpu_half_life: hours(1000), cpu_percentile: 0.5, safety: 0.0, ..Policy::default() };
        let fast = Policy { cpu_half_life: hours(1), ..slow.clone() };
        let mut predictor = Predictor::default();
        let mut watch = |policy: &Policy, used: f64, hours_of: std::ops::Range<u64>| {
            for minute in hours_of.start * 60..hours_of.end * 60 {
                predictor.observe("a", (used, 1.0), policy, Duration::from_secs(minute * 60));
            }
            let peak = predictor.peaks("a", policy).map_or(0.0, |peaks| peaks.milli_cpu);
            predictor.settle(policy, hours(hours_of.end));
            peak
        };
        watch(&slow, 1000.0, 0..100);
        assert!(watch(&slow, 100.0, 100..110) > 900.0, "a tenth of the time does not move a median");
        assert!(watch(&fast, 100.0, 110..112) > 900.0, "what was long before has not shrunk at once");
        assert!(watch(&fast, 100.0, 112..122) < 120.0, "after ten half-lives it has");
        assert!(watch(&slow, 1000.0, 122..123) < 120.0, "and does not come back");
    }

    #[test]
    fn the_longest_silent_go_when_there_are_too_many() {
        let mut predictor = Predictor::default();
        for number in 0..5 {
            predictor.observe(&number.to_string(), (1.0, 1.0), &Policy::default(), hours(number));
        }
        predictor.forget(&Policy { max_apps: 2, ..Policy::default() }, hours(5));
        assert_eq!(predictor.apps.keys().collect::<Vec<_>>(), ["3", "4"]);
    }
}

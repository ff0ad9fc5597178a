//! The host's arbiter at work: measures, lets Level-0 decide, and moves the hands.
//!
//! ```text
//!   100 ms while batch runs:   measure ──► squeeze ──► quota of the batch group
//!                              what services tell ─┘└─► offence ──► quota of one batch Pod
//!   every second:     measure, Pod by Pod ──► reckon ──► offer ──► Node status;   memory short ──► evict
//! ```

mod latency;
mod measure;
mod offence;
mod online;
mod own_limits;
mod report;
mod strays;
mod zones;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use level0::capacity;
pub use level0::capacity::Explanation;
use level0::evict::{Candidate, Evictor, Victim};
use level0::mid;
pub use level0::mid::Explanation as MidExplanation;
use level0::reckon::{Host, reckon};
use level0::squeeze::{Class, Sample, Squeeze, Squeezer};
pub use level0::zones::Terms as ZoneTerms;
use model::qos::is_mid;
use model::{MilliCpu, QosClass};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::latency::{Heard, Listener};
use self::measure::{Meter, Usage};
use self::offence::Offence;
use self::online::Online;
pub use self::online::{OnlinePod, Term};
pub use self::report::{Guests, Report};
use self::strays::Strays;
pub use self::zones::Zone;
use self::zones::{Zones, published};
use crate::cgroup::{Groups, Knob};
use crate::events::Recorder;
use crate::host::{self, meminfo};
use crate::node::Offer;
use crate::pinning::Pinner;
use crate::pods::Registry;
use crate::pods::status::Verdict;
use crate::policy::Rule;
use crate::resources;

const TICK: Duration = Duration::from_millis(100);
const CALM_TICK: Duration = Duration::from_secs(1);
/// The reason of events about Pods that have to go.
pub(crate) const EVICTED: &str = "Evicted";

/// What is kept for the host itself, whether it uses it or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    pub milli_cpu: u64,
    pub memory: u64,
}

/// What the arbiter works with.
#[derive(Debug)]
pub struct Colocation {
    pub groups: Groups,
    pub registry: Registry,
    pub pinner: Arc<Pinner>,
    pub recorder: Recorder,
    /// What the host has as the agent starts. CPUs may be switched off later.
    pub milli_cpu: u64,
    pub memory: u64,
    /// What is in force.
    pub rules: watch::Receiver<Arc<Rule>>,
    pub reserved: watch::Receiver<Reserved>,
    /// Where the apps' histories outlive the agent.
    pub histories: PathBuf,
    pub offers: watch::Sender<Offer>,
    pub reports: watch::Sender<Report>,
}

struct State {
    /// What is there now.
    milli_cpu: u64,
    rule: Arc<Rule>,
    meter: Meter,
    /// Measures over whole seconds, whatever the tick is.
    slow_meter: Meter,
    online: Online,
    strays: Strays,
    squeezer: Squeezer,
    offence: Offence,
    heard: Heard,
    evictor: Evictor<String>,
    cpu: capacity::Offer,
    memory: capacity::Offer,
    zones: Zones,
    mid_cpu: mid::Offer,
    mid_memory: mid::Offer,
    applied: Option<MilliCpu>,
    /// As it is in the file, as far as is known: with room for services that are held along.
    written: Option<MilliCpu>,
    report: Report,
}

impl Colocation {
    /// Arbitrates until `token` is cancelled, then takes its limits off again.
    pub async fn run(self, token: CancellationToken) {
        let heard = Heard::default();
        let listener = Listener::new(self.registry.clone(), heard.clone());
        tokio::join!(listener.run(token.clone()), self.arbitrate(heard, token));
    }

    async fn arbitrate(self, heard: Heard, token: CancellationToken) {
        // At a kubelet batch is idle among itself: beside services it has the least weight.
        let has_idle_class = self.groups.backend().has_idle_class() && !self.groups.are_foreign();
        let class = if has_idle_class { Class::Idle } else { Class::Weight };
        let rule = self.rules.borrow().clone();
        let settings = rule.arbiter.clone();
        let mut state = State {
            milli_cpu: self.milli_cpu,
            zones: Zones::new(self.pinner.topology()),
            meter: Meter::new(self.groups.clone()),
            slow_meter: Meter::new(self.groups.clone()),
            online: Online::new(
                self.groups.clone(),
                settings.predict,
                self.histories.clone(),
                kit::clock::since_epoch(),
            ),
            strays: Strays::default(),
            squeezer: Squeezer::new(settings.squeeze.clone(), class),
            offence: Offence::new(
                self.groups.clone(),
                (self.registry.clone(), self.recorder.clone()),
                settings.offender,
                MilliCpu(milli_of(self.milli_cpu, settings.squeeze.floor)),
            ),
            heard,
            evictor: Evictor::new(settings.evict),
            mid_cpu: mid::Offer::new(settings.mid.clone(), settings.cpu.clone()),
            mid_memory: mid::Offer::new(settings.mid, settings.memory.clone()),
            cpu: capacity::Offer::new(settings.cpu),
            memory: capacity::Offer::new(settings.memory),
            applied: None,
            written: None,
            report: Report { rule: rule.told.clone(), ..Report::default() },
            rule,
        };
        let started = kit::clock::monotonic();
        let mut seconds = tokio::time::interval(CALM_TICK);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.free_batch();
        let mut batch = self.registry.batch_at_work();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = token.cancelled() => break,
                _ = seconds.tick() => {
                    batch = self.registry.batch_at_work();
                    self.every_second(&mut state, &batch, started.elapsed());
                }
                _ = ticks.tick(), if !batch.is_empty() => self.every_tick(&mut state, &batch, started.elapsed()),
            }
        }
        self.apply(&mut state, None, &batch);
        state.offence.end(&batch);
        state.online.save(started.elapsed(), kit::clock::since_epoch());
    }

    /// Takes off what an agent that was killed left on batch.
    fn free_batch(&self) {
        if let Err(error) = self.groups.backend().set(&self.groups.class(QosClass::Batch), Knob::Quota(None))
        {
            tracing::warn!(error = %kit::Chain(&error), "Batch keeps the quota that it had");
        }
    }

    fn every_tick(&self, state: &mut State, batch: &[Arc<Pod>], now: Duration) {
        let Some(usage) = state.meter.measure(now, true, &state.strays) else { return };
        let news = state.heard.take();
        let news: Vec<(&str, f64)> = news.iter().map(|(service, share)| (service.as_str(), *share)).collect();
        let Squeeze { quota, suffering, latency, idle: _ } =
            state.squeezer.step(sample(state.milli_cpu, &usage, &news, now));
        state.report.latency = latency;
        state.report.online_delay = usage.online_delay;
        // What was in force while this was measured.
        let allowance = state.applied.map_or(state.milli_cpu, |quota| quota.0) as f64;
        // Who told its latency of late tells it again: only then it is known how batch did in between.
        let is_whole = !news.is_empty() || latency.is_none();
        let outcome = state.offence.tick(batch, allowance, (suffering, is_whole), now);
        if outcome.capped > 0 {
            state.squeezer.pardon();
        }
        state.report.offences += outcome.capped;
        state.report.moves += outcome.moved;
        state.report.offenders = state.offence.n_capped();
        self.apply(state, quota, batch);
        state.report.quota_milli = quota.map(|quota| quota.0);
    }

    /// Writes the quota when it, or what is known of the file, changes; this is the only writer of that file.
    fn apply(&self, state: &mut State, quota: Option<MilliCpu>, batch: &[Arc<Pod>]) {
        let room = state.report.guests.room();
        let written = quota.map(|quota| MilliCpu(quota.0 + room));
        if (state.applied, state.written) == (quota, written) {
            return;
        }
        let is_less = |new: Option<MilliCpu>, old: Option<MilliCpu>| {
            new.is_some_and(|new| old.is_none_or(|old| new < old))
        };
        state.report.squeezes += u64::from(is_less(quota, state.applied));
        // From below where there is less, from above where there is more.
        let is_tighter = is_less(written, state.written);
        if is_tighter {
            state.offence.keep_within(written, batch);
        }
        match self.groups.backend().set(&self.groups.class(QosClass::Batch), Knob::Quota(written)) {
            Ok(_) => {
                (state.applied, state.written) = (quota, written);
                if !is_tighter {
                    state.offence.keep_within(written, batch);
                }
            }
            Err(error) => tracing::warn!(error = %kit::Chain(&error), "Batch not squeezed"),
        }
    }

    /// A quota that another took off meanwhile, as systemd does where a kubelet sets its slices' weights, is written again.
    fn check_quota(&self, state: &mut State) {
        if state.written.is_none() {
            return;
        }
        match self.groups.backend().has_quota(&self.groups.class(QosClass::Batch), state.written) {
            Ok(true) => {}
            Ok(false) => state.written = None,
            Err(error) => {
                tracing::debug!(error = %kit::Chain(&error), "Batch's quota cannot be compared");
            }
        }
    }

    fn every_second(&self, state: &mut State, batch: &[Arc<Pod>], now: Duration) {
        self.follow(state, now);
        self.check_quota(state);
        // What was switched off is nobody's; what is switched on later is not on the Node.
        state.milli_cpu = self.milli_cpu_of_host().min(self.milli_cpu);
        self.look_at_online(state, now);
        let short = self.see_to_memory(state, batch, now);
        let Some(usage) = state.slow_meter.measure(now, false, &state.strays) else {
            // Who sees nothing for long has nothing to offer.
            return self.tell(state, short, now);
        };
        let memory = state.strays.memory_of_guests(&self.groups);
        state.report.guests = Guests { milli_cpu: whole(usage.guests).unsigned_abs(), memory };
        let reserved = *self.reserved.borrow();
        if batch.is_empty() {
            state.meter.forget();
            // What is said while there is no batch is not about it.
            let _unused = state.heard.take();
            state.report.online_delay = None;
            state.report.latency = None;
            state.report.offenders = 0;
            state.report.quota_milli = None;
            self.apply(state, None, batch);
        }
        let host = Host {
            capacity: state.milli_cpu as f64,
            used: usage.online + usage.batch + usage.system,
            batch: usage.batch,
            reserved: reserved.milli_cpu as f64,
            online: state.report.online.iter().map(OnlinePod::cpu_to_reckon).collect(),
        };
        let sum = reckon(state.rule.arbiter.cpu_basis, &host);
        state.cpu.observe(sum, now);
        state.mid_cpu.observe(mid::reckon(&host, sum.system_in_use), now);
        state.report.online_milli = whole(usage.online);
        state.report.batch_milli = whole(usage.batch);
        state.report.system_milli = whole(usage.system);
        self.tell(state, short, now);
    }

    /// What is online now. Beside a kubelet this process may have fewer: its own limits, and CPUs that are given away.
    fn milli_cpu_of_host(&self) -> u64 {
        if !self.groups.are_foreign() {
            return host::milli_cpu();
        }
        host::online_cpus().map_or(self.milli_cpu, |cpus| cpus.len() as u64 * 1000)
    }

    /// Another policy may be in force.
    fn follow(&self, state: &mut State, now: Duration) {
        let rule = self.rules.borrow().clone();
        if Arc::ptr_eq(&rule, &state.rule) {
            return;
        }
        let settings = rule.arbiter.clone();
        state.offence.follow(MilliCpu(milli_of(self.milli_cpu, settings.squeeze.floor)));
        state.squeezer.follow(settings.squeeze);
        state.online.follow(settings.predict, now);
        state.evictor.follow(settings.evict);
        state.mid_cpu.follow(settings.mid.clone(), settings.cpu.clone());
        state.mid_memory.follow(settings.mid, settings.memory.clone());
        state.cpu.follow(settings.cpu);
        state.memory.follow(settings.memory);
        state.report.rule = rule.told.clone();
        state.rule = rule;
    }

    fn look_at_online(&self, state: &mut State, now: Duration) {
        let entries = self.registry.entries();
        let pods: Vec<(Arc<Pod>, bool)> =
            entries.iter().map(|entry| (entry.pod(), entry.is_alive())).collect();
        let pinned = self.pinner.groups_with_own_cpus();
        let times = (now, kit::clock::since_epoch());
        state.strays = Strays::find(&self.groups, &pods);
        state.meter.follow(&own_limits::limited(&self.groups, &pods));
        state.report.online = state.online.measure(&pods, |group| pinned.contains(group), times);
    }

    /// Whether memory is short, as far as it can be seen; who has to go for it is told so.
    fn see_to_memory(&self, state: &mut State, batch: &[Arc<Pod>], now: Duration) -> bool {
        let Some(available) = meminfo("MemAvailable") else { return self.offers.borrow().memory_is_short };
        self.read_memory(state, available, now);
        let short = state.evictor.is_short(available, self.memory);
        if short {
            self.evict(state, batch, available, now);
        }
        short
    }

    fn read_memory(&self, state: &mut State, available: u64, now: Duration) {
        let host = Host {
            capacity: self.memory as f64,
            used: self.memory.saturating_sub(available) as f64,
            batch: state.strays.memory_of_batch(&self.groups) as f64,
            reserved: self.reserved.borrow().memory as f64,
            online: state.report.online.iter().map(OnlinePod::memory_to_reckon).collect(),
        };
        let sum = reckon(state.rule.arbiter.memory_basis, &host);
        state.memory.observe(sum, now);
        state.mid_memory.observe(mid::reckon(&host, sum.system_in_use), now);
    }

    fn tell(&self, state: &mut State, memory_is_short: bool, now: Duration) {
        let (cpu, memory) = (state.cpu.explain(now), state.memory.explain(now));
        state.report.cpu = cpu;
        state.report.memory = memory;
        state.report.mid_cpu = state.mid_cpu.explain(now);
        state.report.mid_memory = state.mid_memory.explain(now);
        let batch_is_news = state.cpu.tell(now) | state.memory.tell(now);
        let news = batch_is_news | state.mid_cpu.tell(now) | state.mid_memory.tell(now);
        let told = |told, terms| Explanation { offered: told, ..terms };
        let (cpu, memory) = (told(state.cpu.told(), cpu), told(state.memory.told(), memory));
        if !state.cpu.is_told() {
            // Nothing was read yet: what an agent before this one has told stands.
            self.reports.send_replace(state.report.clone());
            return;
        }
        state.report.zones = state.zones.divide(&self.pinner.own_cpus(), (&cpu, &memory), now);
        self.reports.send_replace(state.report.clone());
        let news = state.zones.tell(&state.report.zones, news) || news;
        if news || self.offers.borrow().memory_is_short != memory_is_short {
            self.offers.send_replace(Offer {
                milli_cpu: state.cpu.told(),
                memory: state.memory.told(),
                mid_milli_cpu: state.mid_cpu.told(),
                mid_memory: state.mid_memory.told(),
                memory_is_short,
                zones: published(&state.report.zones),
                explanation: explained(&state.report),
            });
        }
    }

    fn evict(&self, state: &mut State, batch: &[Arc<Pod>], available: u64, now: Duration) {
        let mid = self.registry.mid_at_work();
        let held = batch.iter().chain(&mid).filter_map(|pod| {
            let uid = pod.metadata.uid.clone()?;
            let group = self.groups.pod(QosClass::of(pod), &uid);
            let memory = self.groups.backend().memory(&group).ok().map(|bytes| bytes.0);
            Some((uid, (pod, memory)))
        });
        let held: BTreeMap<String, (&Arc<Pod>, Option<u64>)> = held.collect();
        let candidates = held.iter().map(|(uid, (pod, memory))| {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            let request = resources::of_pod(pod).memory.0;
            Candidate { id: uid.clone(), is_mid: is_mid(pod), priority, memory: *memory, request }
        });
        for Victim { id, is_told } in state.evictor.choose(available, self.memory, candidates.collect(), now)
        {
            let (pod, memory) = held[&id];
            let memory = memory.unwrap_or(0);
            let message = format!(
                "The node was low on memory: {available} of {} bytes available. This {} Pod used {memory} bytes.",
                self.memory,
                if is_mid(pod) { "mid-tier" } else { "batch" },
            );
            if !is_told {
                state.report.evictions += 1;
                tracing::info!(pod = %pod.metadata.name.as_deref().unwrap_or_default(), memory, "Evicting");
            }
            // Who was told, and is still there, may only have been kept by a budget.
            if !is_told || self.groups.are_foreign() {
                condemn(&self.groups, (&self.registry, &self.recorder), pod, message);
            }
        }
    }
}

/// Has a Pod go. Beside a kubelet it is the API that decides, and who asks it tells what came of it.
fn condemn(groups: &Groups, (registry, recorder): (&Registry, &Recorder), pod: &Pod, message: String) {
    if !groups.are_foreign() {
        recorder.warning(pod, None, EVICTED, message.clone());
    }
    let verdict = Verdict { reason: EVICTED.to_owned(), message };
    registry.condemn(pod.metadata.uid.as_deref().unwrap_or_default(), &verdict);
}

fn explained(Report { cpu, memory, rule, .. }: &Report) -> String {
    let by = rule.policy.as_ref().map_or_else(String::new, |name| format!(". By ColocationPolicy {name}"));
    let trouble = rule.trouble.as_ref().map_or_else(String::new, |trouble| format!(". {trouble}"));
    format!("CPU in milli-cores: {cpu}. Memory in bytes: {memory}{by}{trouble}")
}

fn sample<'a>(milli_cpu: u64, usage: &Usage, news: &'a [(&'a str, f64)], now: Duration) -> Sample<'a> {
    Sample {
        now,
        capacity: milli_cpu as f64,
        online: usage.online,
        batch: usage.batch,
        system: usage.system,
        online_delay: usage.online_delay,
        news,
    }
}

/// A share of a capacity, and never nothing.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn milli_of(capacity: u64, share: f64) -> u64 {
    ((capacity as f64 * share) as u64).max(10)
}

#[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and amounts are far below 2^63")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

//! What services tell of their own latency and errors, each with marks of its own: one that tells nonsense whatever batch
//! does says nothing of another.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::peak::amount;
use crate::signal::Signal;

/// Of a service that was silent for so long, nothing is remembered.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// A service, and what it told: a share of its objective.
pub type News<'a> = (&'a str, f64);

/// The services of a host.
#[derive(Clone, Debug, Default)]
pub struct Services(BTreeMap<String, Service>);

#[derive(Clone, Debug)]
struct Service {
    signal: Signal,
    told: f64,
    at: Duration,
    /// Whether what it told last counts still.
    counts: bool,
}

impl Services {
    /// Takes in what is told at `now`; it counts for as long as it `lasts`. Who has told nothing before hurts and is quiet at
    /// these marks.
    pub fn hear(&mut self, news: &[News<'_>], (high, low): (f64, f64), lasts: Duration, now: Duration) {
        for (name, told) in news {
            let fresh = || Service { signal: Signal::new(high, low), told: 0.0, at: now, counts: true };
            let service = self.0.entry((*name).to_owned()).or_insert_with(fresh);
            (service.told, service.at) = (amount(*told), now);
        }
        self.0.retain(|_, service| {
            let silent = now.saturating_sub(service.at);
            service.counts = silent < lasts;
            silent < FORGOTTEN
        });
    }

    /// All hurt and are quiet at these marks from here on.
    pub fn follow(&mut self, high: f64, low: f64) {
        self.0.values_mut().for_each(|service| service.signal.follow(high, low));
    }

    /// Takes a look at which batch `is_acquitted` or is not.
    pub fn learn(&mut self, is_acquitted: bool) {
        for service in self.0.values_mut().filter(|service| service.counts) {
            service.signal.learn(service.told, is_acquitted);
        }
    }

    /// What the one suffers that is worst off of those who told it at `now`, as a multiple of what it may.
    pub fn suffering(&self, now: Duration) -> Option<f64> {
        let news = self.0.values().filter(|service| service.at == now);
        news.map(|service| service.signal.suffering(service.told)).reduce(f64::max)
    }

    /// Whether batch may have more again.
    pub fn are_quiet(&self) -> bool {
        self.0.values().filter(|service| service.counts).all(|service| service.signal.is_quiet(service.told))
    }

    /// The worst that was told last, as far as it counts.
    pub fn worst(&self) -> Option<f64> {
        self.0.values().filter(|service| service.counts).map(|service| service.told).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_marks_of_its_own() {
        let second = Duration::from_secs;
        let mut services = Services::default();
        let mut hear = |news: &[News<'_>], now, is_acquitted| {
            services.hear(news, (1.0, 0.9), second(3), now);
            let suffering = services.suffering(now).map(|suffering| (suffering * 10.0).round() / 10.0);
            let told = (suffering, services.are_quiet(), services.worst());
            services.learn(is_acquitted);
            told
        };
        assert_eq!(hear(&[("a", 7.0), ("b", 0.5)], second(0), true), (Some(7.0), false, Some(7.0)));
        assert_eq!(hear(&[("a", 7.0), ("b", 0.5)], second(1), false), (Some(0.7), true, Some(7.0)));
        assert_eq!(hear(&[("a", 7.0), ("b", 3.0)], second(2), false), (Some(3.0), false, Some(7.0)));
        // What was told before counts for whether all are quiet, and hurts nobody again.
        assert_eq!(hear(&[("a", f64::NAN)], second(3), false), (Some(0.0), false, Some(3.0)));
        assert_eq!(hear(&[], second(5), false), (None, true, Some(0.0)));
        assert_eq!(hear(&[], second(6), false), (None, true, None));
        // Its marks outlive a silence, but not a long one.
        assert_eq!(hear(&[("a", 7.0)], second(60), false), (Some(0.7), true, Some(7.0)));
        assert_eq!(hear(&[], second(700), false), (None, true, None));
        assert_eq!(hear(&[("a", 7.0)], second(701), false), (Some(7.0), false, Some(7.0)));
    }
}

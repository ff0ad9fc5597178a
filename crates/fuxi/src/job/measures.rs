//! What the instances of a task used, and how long workers did nothing between two of them: a few numbers for any count.

use model::dagjob::{MeanAndMax, TaskStatus, TaskUsage};

use crate::protocol::AttemptResult;

/// So many steps to each doubling: a percentile is told to within a quarter.
const STEPS: u32 = 4;
const BUCKETS: usize = 32 * STEPS as usize;

/// Of the results that were heard. What the status of the task tells of them outlives the master; of the gaps' spread
/// that is the mean and the 99th percentile.
#[derive(Clone, Debug, Default)]
pub(super) struct Measures {
    cpu_micros: Values,
    memory_kib: Values,
    /// Of those that ended well.
    took_millis: Values,
    gaps: Gaps,
}

#[derive(Clone, Copy, Debug, Default)]
struct Values {
    count: u64,
    sum: u64,
    max: u64,
}

#[derive(Clone, Debug)]
struct Gaps {
    values: Values,
    buckets: [u32; BUCKETS],
}

impl Default for Gaps {
    fn default() -> Self {
        Self { values: Values::default(), buckets: [0; BUCKETS] }
    }
}

impl Measures {
    /// As they stood when `status` told of them; how long instances took counts as one of them.
    pub(super) fn restored_of(status: &TaskStatus) -> Self {
        let values = |took: MeanAndMax| Values { count: 1, sum: took.mean, max: took.max };
        let took_millis = status.took_millis.map(values).unwrap_or_default();
        Self { took_millis, ..Self::restored(status.usage.as_ref()) }
    }

    /// As they stood when `status` told of them.
    fn restored(status: Option<&TaskUsage>) -> Self {
        let Some(usage) = status else { return Self::default() };
        let count = u64::from(usage.instances);
        let values =
            |summary: MeanAndMax| Values { count, sum: summary.mean.saturating_mul(count), max: summary.max };
        let mut gaps = Gaps { values: values(usage.gap_micros), ..Gaps::default() };
        // The percentile is the first of those above the others.
        let above = (usage.instances / 100 + 1).min(usage.instances);
        let mut put = |micros: u64, count: u32| {
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            gaps.buckets[bucket_of(micros)] += count;
        };
        put(usage.gap_micros.mean.min(usage.gap_p99_micros), usage.instances - above);
        put(usage.gap_p99_micros, above);
        Self {
            cpu_micros: values(usage.cpu_micros),
            memory_kib: values(usage.memory_kib),
            gaps,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, result: &AttemptResult) {
        if let Some(usage) = result.usage {
            self.cpu_micros.add(usage.cpu_micros);
            self.memory_kib.add(usage.memory_kib);
        }
        if result.exit.is_success() {
            self.took_millis.add(result.duration_ms);
        }
        if let Some(gap) = result.gap_micros {
            self.gaps.values.add(u64::from(gap));
            let bucket = &mut self.gaps.buckets[bucket_of(gap)];
            *bucket = bucket.saturating_add(1);
        }
    }

    /// How long instances took.
    pub(super) fn took_millis(&self) -> Option<MeanAndMax> {
        (self.took_millis.count > 0).then(|| self.took_millis.summary())
    }

    pub(super) fn status(&self) -> Option<TaskUsage> {
        let instances = self.cpu_micros.count;
        (instances > 0).then(|| TaskUsage {
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            cpu_micros: self.cpu_micros.summary(),
            memory_kib: self.memory_kib.summary(),
            gap_micros: self.gaps.values.summary(),
            gap_p99_micros: self.gaps.percentile(99),
        })
    }
}

impl Values {
    fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    fn summary(self) -> MeanAndMax {
        MeanAndMax { mean: self.sum.checked_div(self.count).unwrap_or_default(), max: self.max }
    }
}

impl Gaps {
    /// No less than the percentile, and at most a quarter more.
    fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.values.count * percent).div_ceil(100);
        let mut seen = 0;
        for (position, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return end_of(position).min(self.values.max);
            }
        }
        self.values.max
    }
}

/// Values below [`STEPS`] have a bucket each; above, every doubling has [`STEPS`] of them.
fn bucket_of(value: u32) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let doubling = value.ilog2();
    let step = (value >> (doubling - STEPS.ilog2())) - STEPS;
    ((doubling - STEPS.ilog2() + 1) * STEPS + step) as usize
}

/// The largest value of a bucket.
fn end_of(bucket: usize) -> u64 {
    let (doubling, step) = (bucket as u64 / u64::from(STEPS), bucket as u64 % u64::from(STEPS));
    if doubling == 0 { step } else { ((u64::from(STEPS) + step + 1) << (doubling - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Gaps, Measures, bucket_of, end_of};
    use crate::protocol::{Attempt, AttemptResult, Exit, Usage};

    #[test]
    fn every_value_is_in_a_bucket_that_ends_at_most_a_quarter_above_it() {
        for value in (0..10_000).chain([u32::MAX - 1, u32::MAX]) {
            let bucket = bucket_of(value);
            let (end, value) = (end_of(bucket), u64::from(value));
            assert!(bucket < BUCKETS && end >= value && end <= value + value / 4, "{value}: {end}");
            assert!(bucket == 0 || end_of(bucket - 1) < value, "{value}");
        }
    }

    fn result(cpu_micros: u64, gap_micros: u32) -> AttemptResult {
        let usage = Some(Usage { cpu_micros, memory_kib: 2 * cpu_micros });
        let attempt = Attempt { index: 0, number: 1 };
        AttemptResult {
            usage,
            gap_micros: Some(gap_micros),
            ..AttemptResult::without_run(attempt, Exit::Code(0))
        }
    }

    #[test]
    fn a_master_goes_on_from_what_its_predecessor_told() {
        let mut whole = Measures::default();
        (1..=1000).for_each(|number| whole.add(&result(u64::from(number), 100 * number)));
        let told = whole.status().unwrap();
        let mut restored = Measures::restored(Some(&told));
        let again = restored.status().unwrap();
        assert_eq!((again.instances, again.memory_kib.max), (1000, 2000));
        assert_eq!((again.cpu_micros.mean, again.cpu_micros.max), (500, 1000));
        assert!(again.gap_p99_micros.abs_diff(told.gap_p99_micros) * 4 <= told.gap_p99_micros, "{again:?}");
        restored.add(&result(9000, 1));
        let later = restored.status().unwrap();
        assert_eq!((later.instances, later.cpu_micros.max), (1001, 9000));
        assert!(Measures::restored(None).status().is_none());
    }

    #[test]
    fn a_percentile_is_no_less_than_the_true_one() {
        let mut gaps = Gaps::default();
        for gap in 1..=1000_u32 {
            gaps.values.add(u64::from(gap));
            gaps.buckets[bucket_of(gap)] += 1;
        }
        assert!((990..=1000).contains(&gaps.percentile(99)), "{}", gaps.percentile(99));
        assert!((500..=625).contains(&gaps.percentile(50)), "{}", gaps.percentile(50));
        assert_eq!(Gaps::default().percentile(99), 0);
    }
}

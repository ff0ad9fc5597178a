//! Amounts over time: how much is held, used and waited for, as means and as a line of a few hundred points.

use std::time::Duration;

/// A line has at most so many points; then two become one.
const MOST_POINTS: usize = 400;

/// What is so at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// Thousandths of a core that workers hold.
    pub(super) held_cpu: u64,
    /// Those of workers that run an instance.
    pub(super) busy_cpu: u64,
    pub(super) held_memory: u64,
    /// Places that are waited for.
    pub(super) waiting: u64,
}

/// Sums of [`Levels`] over seconds, in the same order.
pub(super) type Sums = [f64; 4];

#[derive(Debug)]
pub(super) struct Meter {
    now: Duration,
    pub(super) levels: Levels,
    width: Duration,
    points: Vec<Sums>,
    /// For how many seconds anybody has waited, and the sums over these.
    pub(super) contended: (f64, Sums),
}

impl Default for Meter {
    fn default() -> Self {
        let (now, width) = (Duration::ZERO, Duration::from_secs(1));
        Self { now, levels: Levels::default(), width, points: Vec::new(), contended: Default::default() }
    }
}

impl Meter {
    /// The levels were what they are until `now`.
    pub(super) fn advance(&mut self, now: Duration) {
        while self.now < now {
            let index = self.index(self.now);
            let end = self.width * (u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
            let until = end.min(now);
            let seconds = (until - self.now).as_secs_f64();
            let Levels { held_cpu, busy_cpu, held_memory, waiting } = self.levels;
            let levels = [held_cpu, busy_cpu, held_memory, waiting].map(|level| level as f64 * seconds);
            add(&mut self.points[index], levels);
            if waiting > 0 {
                self.contended.0 += seconds;
                add(&mut self.contended.1, levels);
            }
            self.now = until;
        }
    }

    /// The point at `moment`, which is made if need be.
    fn index(&mut self, moment: Duration) -> usize {
        loop {
            let index = usize::try_from(moment.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX);
            if index < MOST_POINTS {
                if index >= self.points.len() {
                    self.points.resize(index + 1, Sums::default());
                }
                return index;
            }
            self.width *= 2;
            self.points = self.points.chunks(2).map(sum).collect();
        }
    }

    /// All since the beginning.
    pub(super) fn totals(&self) -> Sums {
        sum(&self.points)
    }

    /// The means of each point, with the moment at which it begins.
    pub(super) fn line(&self) -> impl Iterator<Item = (f64, Sums)> {
        let width = self.width.as_secs_f64();
        let end = self.now.as_secs_f64();
        self.points.iter().enumerate().map(move |(index, sums)| {
            let begin = index as f64 * width;
            // The last point may be cut short.
            let seconds = width.min(end - begin).max(f64::MIN_POSITIVE);
            (begin, sums.map(|sum| sum / seconds))
        })
    }
}

fn add(sums: &mut Sums, more: Sums) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}

fn sum(all: &[Sums]) -> Sums {
    let mut sums = Sums::default();
    all.iter().for_each(|each| add(&mut sums, *each));
    sums
}

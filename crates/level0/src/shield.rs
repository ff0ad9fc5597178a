//! Memory between services and batch: what services are not to lose, and how much batch may hold with its caches.
//!
//! ```text
//!   requests of services ──► shields ──► memory.min, memory.low of Pods and of all services together
//!   what is offered to batch, what it holds ──► Bound ──► memory.high, or where that is missing a hard limit
//! ```
//!
//! Together shields stay below what the host has: memory that nobody may touch cannot be had back by killing batch.
//! Batch's bound counts its caches, so that files that batch streams through push out its own pages and not the
//! services'.

/// How memory is divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Share of a request that is never reclaimed; the rest of it goes only when batch has nothing left to give.
    pub firm: f64,
    /// Share of the host's memory that shields may reach together.
    pub ceiling: f64,
    /// Share of the host's memory that batch may hold whatever it is offered: a bound below a program's own pages
    /// makes it crawl and frees nothing.
    pub floor: f64,
    /// Share of the host's memory by which the bound must differ from the one in force to be told again.
    pub dead_band: f64,
    /// How far a bound that kills stays above what batch cannot give back.
    pub slack: Slack,
}

/// Room above what is held: whatever is more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slack {
    /// Of what is held.
    pub share: f64,
    pub bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            firm: 0.5,
            ceiling: 0.8,
            floor: 0.02,
            dead_band: 0.01,
            slack: Slack { share: 0.1, bytes: 256 << 20 },
        }
    }
}

/// What a group does not lose to others, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shield {
    pub min: u64,
    pub low: u64,
}

/// The kernel counts in pages, of which these are the largest: amounts between would not read back as written.
const PAGE: u64 = 64 << 10;

/// The shields of services that ask for `requests`, in the same order, and the one of all together.
pub fn shields(policy: &Policy, capacity: u64, requests: &[u64]) -> (Shield, Vec<Shield>) {
    let asked: f64 = requests.iter().map(|request| *request as f64).sum();
    let most = share(policy.ceiling) * capacity as f64;
    let scale = if asked > most { most / asked } else { 1.0 };
    let shields: Vec<Shield> = requests
        .iter()
        .map(|request| {
            let low = *request as f64 * scale;
            Shield { min: pages(low * share(policy.firm)), low: pages(low) }
        })
        .collect();
    let all = shields.iter().fold(Shield::default(), |sum, shield| Shield {
        min: sum.min.saturating_add(shield.min),
        low: sum.low.saturating_add(shield.low),
    });
    (all, shields)
}

/// What becomes of who wants more than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// It is slowed down until it has given enough back.
    Slowed,
    /// It is killed: so the bound keeps away from what it cannot give back.
    Killed,
}

/// Batch's memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What batch may have in all.
    pub offered: u64,
    /// What it holds without what can be dropped at once.
    pub held: u64,
}

/// The bound that is in force.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    applied: Option<u64>,
}

impl Bound {
    /// The bound after a look at `batch`; `None` is no bound, as long as nothing is known.
    pub fn step(
        &mut self,
        policy: &Policy,
        capacity: u64,
        batch: Option<Batch>,
        beyond: Beyond,
    ) -> Option<u64> {
        let wanted = batch.map(|batch| wanted(policy, capacity, batch, beyond));
        let dead_band = share(policy.dead_band) * capacity as f64;
        self.applied = match (wanted, self.applied) {
            // A bound that kills must never be found below what is held, however near it is.
            (Some(wanted), Some(applied)) if is_near(wanted, applied, dead_band) => {
                Some(if beyond == Beyond::Killed { applied.max(wanted) } else { applied })
            }
            (wanted, _) => wanted,
        };
        self.applied
    }
}

fn is_near(wanted: u64, applied: u64, dead_band: f64) -> bool {
    (wanted.abs_diff(applied) as f64) < dead_band
}

fn wanted(policy: &Policy, capacity: u64, batch: Batch, beyond: Beyond) -> u64 {
    let least = pages(share(policy.floor) * capacity as f64).max(PAGE);
    let kept = match beyond {
        Beyond::Slowed => 0,
        Beyond::Killed => {
            let share_of_held = pages(batch.held as f64 * share(policy.slack.share));
            batch.held.saturating_add(share_of_held.max(policy.slack.bytes))
        }
    };
    // Rounded up, so that room is never lost by rounding.
    let bytes = batch.offered.max(least).max(kept);
    bytes.saturating_add(PAGE - 1) / PAGE * PAGE
}

fn share(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and amounts are not negative"
)]
fn pages(bytes: f64) -> u64 {
    bytes as u64 / PAGE * PAGE
}

#[cfg(test)]
mod tests;

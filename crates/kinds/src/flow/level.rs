//! One priority level: its seats and its queues.
//!
//! Each queue has a clock of its own that counts the service it was given, in seats times nanoseconds. The queue
//! whose clock is furthest behind is served next. A request is charged what requests of this level usually take when
//! it is seated, and what it really took when it leaves. A queue that was empty starts no further back than the
//! others: nobody saves up service by being idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::EXEMPT;
use super::deal::deal;
use super::dispatcher::{Refusal, Ticket};
use super::limits::{Limits, Shares};

/// What a request is taken to need before any was seen to end.
const FIRST_GUESS: Duration = Duration::from_millis(1);
/// The least that a request is charged, so that clocks always go on.
const LEAST_CHARGE: u64 = 1_000;
/// No request is wider than this part of its level's seats: a few wide ones must not be all that runs.
pub(super) const WIDEST_PART: u32 = 3;

/// What happens to requests for which there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    Reject,
    Queue { queues: usize, hand: usize, longest: usize },
}

impl Overflow {
    pub(super) fn read(spec: &Value) -> Self {
        let response = &spec["limited"]["limitResponse"];
        if response["type"] != "Queue" {
            return Self::Reject;
        }
        let number = |field: &str, default: u64| {
            usize::try_from(response["queuing"][field].as_u64().unwrap_or(default))
                .unwrap_or(usize::MAX)
                .max(1)
        };
        // More queues than anybody configures would only cost memory.
        let queues = number("queues", 64).min(10_000);
        Self::Queue { queues, hand: number("handSize", 8), longest: number("queueLengthLimit", 50) }
    }
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) width: u32,
    pub(super) hash: u64,
}

/// A request that has its seats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seated {
    pub(super) width: u32,
    pub(super) since: Duration,
    queue: Option<usize>,
    /// Which deal the queue is of.
    deal: u32,
    charged: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Seats in use by its requests.
    used: u32,
    served: u64,
}

#[derive(Debug)]
pub(super) struct Level {
    pub(super) name: Arc<str>,
    /// What its configuration says of seats.
    pub(super) shares: Shares,
    /// Whether it is no longer configured, and only there for those who are in.
    pub(super) is_departing: bool,
    pub(super) limits: Limits,
    overflow: Overflow,
    queues: Vec<Queue>,
    /// Counts how often the queues were made anew.
    deal: u32,
    /// Seats in use.
    pub(super) used: u32,
    pub(super) waiting: usize,
    /// Where the clock of the queue stood that was served last.
    clock: u64,
    /// What a request usually takes, in nanoseconds.
    usual: u64,
    last_served: usize,
}

impl Level {
    pub(super) fn new(name: Arc<str>, shares: Shares) -> Self {
        let (usual, is_departing) = (nanoseconds(FIRST_GUESS), false);
        let (limits, overflow) = (Limits::default(), Overflow::Reject);
        let (queues, deal, used, waiting, clock, last_served) = (Vec::new(), 0, 0, 0, 0, 0);
        Self {
            name,
            shares,
            is_departing,
            limits,
            overflow,
            queues,
            deal,
            used,
            waiting,
            clock,
            usual,
            last_served,
        }
    }

    /// Whether nothing keeps it any longer.
    pub(super) fn has_departed(&self) -> bool {
        self.is_departing && self.used == 0 && self.waiting == 0
    }

    pub(super) fn is_exempt(&self) -> bool {
        &*self.name == EXEMPT
    }

    /// Queues by new rules from now on; who waits is dealt anew where the queues changed.
    pub(super) fn set_overflow(&mut self, overflow: Overflow) {
        let before = std::mem::replace(&mut self.overflow, overflow);
        let Overflow::Queue { queues, .. } = overflow else { return };
        if before == overflow {
            return;
        }
        let waiting: Vec<Waiting> = self.queues.drain(..).flat_map(|queue| queue.waiting).collect();
        self.queues.resize_with(queues, Queue::default);
        (self.waiting, self.last_served) = (0, 0);
        self.deal = self.deal.wrapping_add(1);
        waiting.into_iter().for_each(|waiting| self.push(waiting));
    }

    /// How many seats a request may take that asks for `width`.
    pub(super) fn fitted(&self, width: u32) -> u32 {
        width.clamp(1, (self.limits.nominal / WIDEST_PART).max(1))
    }

    /// Lets a request wait.
    pub(super) fn enqueue(&mut self, waiting: Waiting) -> Result<(), Refusal> {
        let Overflow::Queue { longest, .. } = self.overflow else { return Err(Refusal::NoSeat) };
        let queue = self.queue_for(waiting.hash);
        if queue.is_none_or(|index| self.queues[index].waiting.len() >= longest) {
            return Err(Refusal::QueueFull);
        }
        self.push(waiting);
        Ok(())
    }

    fn push(&mut self, waiting: Waiting) {
        let Some(index) = self.queue_for(waiting.hash) else { return };
        let queue = &mut self.queues[index];
        if queue.waiting.is_empty() {
            queue.served = queue.served.max(self.clock);
        }
        queue.waiting.push_back(waiting);
        self.waiting += 1;
    }

    /// Of the queues that a flow is dealt, the one with the least to do.
    fn queue_for(&self, hash: u64) -> Option<usize> {
        let Overflow::Queue { hand, .. } = self.overflow else { return None };
        let to_do = |index: &usize| {
            let queue = &self.queues[*index];
            let waiting: u64 = queue.waiting.iter().map(|waiting| u64::from(waiting.width)).sum();
            waiting + u64::from(queue.used)
        };
        deal(hash, self.queues.len(), hand).min_by_key(to_do)
    }

    /// The request that is served next, and its queue.
    pub(super) fn next(&self) -> Option<(usize, Waiting)> {
        let count = self.queues.len();
        // Among equals the one whose turn is longest ago.
        let order = (1..=count).map(|step| (self.last_served + step) % count);
        let candidates = order.filter_map(|index| Some((index, *self.queues[index].waiting.front()?)));
        candidates.min_by_key(|(index, _)| self.queues[*index].served)
    }

    /// Takes the request at the head of a queue into service.
    pub(super) fn serve(&mut self, index: usize, now: Duration) -> Option<(Ticket, Seated)> {
        let waiting = self.queues[index].waiting.pop_front()?;
        self.waiting -= 1;
        self.last_served = index;
        Some((waiting.ticket, self.charge(Some(index), self.fitted(waiting.width), now)))
    }

    /// Takes a request into service that need not wait.
    pub(super) fn seat(&mut self, hash: u64, width: u32, now: Duration) -> Seated {
        let index = self.queue_for(hash);
        if let Some(index) = index {
            let queue = &mut self.queues[index];
            queue.served = queue.served.max(self.clock);
        }
        self.charge(index, width, now)
    }

    fn charge(&mut self, queue: Option<usize>, width: u32, now: Duration) -> Seated {
        let charged = self.usual.saturating_mul(u64::from(width));
        if let Some(index) = queue {
            let queue = &mut self.queues[index];
            self.clock = self.clock.max(queue.served);
            queue.served = queue.served.saturating_add(charged);
            queue.used += width;
        }
        self.used += width;
        Seated { width, since: now, queue, deal: self.deal, charged }
    }

    /// A request that was in service is no more.
    pub(super) fn finish(&mut self, seated: Seated, now: Duration) {
        self.used -= seated.width;
        let took = nanoseconds(now.saturating_sub(seated.since)).max(LEAST_CHARGE);
        self.usual = (self.usual.saturating_mul(7).saturating_add(took) / 8).max(LEAST_CHARGE);
        let queue = seated.queue.filter(|_| seated.deal == self.deal);
        if let Some(queue) = queue.and_then(|index| self.queues.get_mut(index)) {
            queue.used = queue.used.saturating_sub(seated.width);
            let actual = took.saturating_mul(u64::from(seated.width));
            queue.served = queue.served.saturating_sub(seated.charged).saturating_add(actual);
        }
    }

    /// A request that waited does so no more.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        for queue in &mut self.queues {
            if let Some(place) = queue.waiting.iter().position(|waiting| waiting.ticket == ticket) {
                queue.waiting.remove(place);
                self.waiting -= 1;
                return;
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

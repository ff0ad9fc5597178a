//! Keys that wait to be worked on: each at most once in the queue, never two workers on the same key, and a growing
//! pause after each failure of a key.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};

/// The pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What comes next for a key that was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it is added again.
    Rest,
    /// Once more after this time, or when it is added again.
    Again(Duration),
}

/// Adds keys. Cheap to clone, never blocks.
#[derive(Debug)]
pub struct Queue<T>(mpsc::UnboundedSender<Message<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Where the keys come out.
#[derive(Debug)]
pub struct Work<T>(mpsc::UnboundedReceiver<Message<T>>);

#[derive(Debug)]
enum Message<T> {
    Now(T),
    After(T, Duration),
}

/// A queue and its other end.
pub fn queue<T>() -> (Queue<T>, Work<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Queue(sender), Work(receiver))
}

impl<T> Queue<T> {
    /// The key needs work.
    pub fn add(&self, key: T) {
        // Nobody works any more: the process is going down, and the state is rebuilt at the next start.
        let _stopped = self.0.send(Message::Now(key));
    }

    /// The key needs work after `pause`, unless it gets it sooner.
    pub fn add_after(&self, key: T, pause: Duration) {
        let _stopped = self.0.send(Message::After(key, pause));
    }
}

/// Which key is where.
struct Board<T> {
    waiting: VecDeque<T>,
    queued: HashSet<T>,
    running: HashSet<T>,
    /// Running, and added meanwhile.
    dirty: HashSet<T>,
    failures: HashMap<T, u32>,
    delayed: DelayQueue<T>,
    delays: HashMap<T, delay_queue::Key>,
}

impl<T: Clone + Eq + Hash> Board<T> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            dirty: HashSet::new(),
            failures: HashMap::new(),
            delayed: DelayQueue::new(),
            delays: HashMap::new(),
        }
    }

    fn add(&mut self, key: T) {
        if let Some(delay) = self.delays.remove(&key) {
            self.delayed.remove(&delay);
        }
        if self.running.contains(&key) {
            self.dirty.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    fn add_after(&mut self, key: T, pause: Duration) {
        if self.queued.contains(&key) {
            return;
        }
        let deadline = tokio::time::Instant::now() + pause;
        match self.delays.get(&key) {
            // Already to come sooner.
            Some(delay) if self.delayed.deadline(delay) <= deadline => {}
            Some(delay) => self.delayed.reset_at(delay, deadline),
            None => {
                let delay = self.delayed.insert_at(key.clone(), deadline);
                self.delays.insert(key, delay);
            }
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.waiting.pop_front()?;
        self.queued.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: T, next: Option<Next>) {
        self.running.remove(&key);
        let is_dirty = self.dirty.remove(&key);
        let pause = match next {
            Some(next) => {
                self.failures.remove(&key);
                match next {
                    Next::Rest => None,
                    Next::Again(pause) => Some(pause),
                }
            }
            None => {
                let failures = self.failures.entry(key.clone()).or_default();
                let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
                *failures += 1;
                // Whatever changed meanwhile does not excuse a busy loop.
                return self.add_after(key, pause);
            }
        };
        if is_dirty {
            self.add(key);
        } else if let Some(pause) = pause {
            self.add_after(key, pause);
        }
    }
}

impl<T> Work<T>
where
    T: Clone + Debug + Display + Eq + Hash + Send + 'static,
{
    /// Works on keys, up to `n_workers` at a time, until `token` is cancelled. `name` appears in logs.
    pub async fn run<F, Work, E>(
        mut self,
        name: &str,
        n_workers: usize,
        token: CancellationToken,
        reconcile: F,
    ) where
        F: Fn(T) -> Work,
        Work: Future<Output = Result<Next, E>> + Send + 'static,
        E: Error + Send + 'static,
    {
        let name: Arc<str> = name.into();
        let mut board = Board::<T>::new();
        let mut workers: FuturesUnordered<BoxFuture<'static, (T, Option<Next>)>> = FuturesUnordered::new();
        while !token.is_cancelled() {
            while workers.len() < n_workers
                && let Some(key) = board.take()
            {
                let (name, work) = (Arc::clone(&name), reconcile(key.clone()));
                workers.push(Box::pin(async move {
                    let next = work.await.map_err(|error| report(&name, &key, &error)).ok();
                    (key, next)
                }));
            }
            tokio::select! {
                () = token.cancelled() => return,
                Some((key, next)) = workers.next() => board.done(key, next),
                Some(expired) = board.delayed.next() => {
                    let key = expired.into_inner();
                    board.delays.remove(&key);
                    board.add(key);
                }
                message = self.0.recv() => match message {
                    Some(Message::Now(key)) => board.add(key),
                    Some(Message::After(key, pause)) => board.add_after(key, pause),
                    None => return,
                },
            }
        }
    }
}

fn report<T: Display>(controller: &str, key: &T, error: &(dyn Error + 'static)) {
    // A conflict only says that the copy in memory was old; the next try has the new one.
    if crate::act::is_passing(error) {
        tracing::debug!(controller, %key, error = %kit::Chain(error), "Will try again");
    } else {
        tracing::warn!(controller, %key, error = %kit::Chain(error), "Could not reconcile, will try again");
    }
}

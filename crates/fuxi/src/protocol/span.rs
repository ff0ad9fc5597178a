//! Attempts as they travel to a worker: mostly neighbours, tried the same number of times, so told as spans.

use serde::{Deserialize, Serialize};

use super::Attempt;

/// Instances from the first to the last, both included, all on the same try. Stands as `[first,last,number]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Span {
    pub first: u32,
    pub last: u32,
    pub number: u32,
}

impl From<(u32, u32, u32)> for Span {
    fn from((first, last, number): (u32, u32, u32)) -> Self {
        Self { first, last, number }
    }
}

impl From<Span> for (u32, u32, u32) {
    fn from(span: Span) -> Self {
        (span.first, span.last, span.number)
    }
}

/// Attempts in their order as the fewest spans that keep it.
pub fn spans(attempts: &[Attempt]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for Attempt { index, number } in attempts.iter().copied() {
        match spans.last_mut() {
            Some(span) if span.number == number && span.last.checked_add(1) == Some(index) => {
                span.last = index
            }
            _ => spans.push(Span { first: index, last: index, number }),
        }
    }
    spans
}

/// The attempts that stand in `spans`. A worker's master is trusted not to send it more than it can hold.
pub fn attempts(spans: &[Span]) -> impl Iterator<Item = Attempt> + '_ {
    spans.iter().flat_map(|span| {
        let number = span.number;
        (span.first..=span.last).map(move |index| Attempt { index, number })
    })
}

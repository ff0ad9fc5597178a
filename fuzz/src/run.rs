//! Feeds one target.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::mutation::mutate;
use crate::seeds;
use crate::targets::Target;

/// An input takes no longer than this, in a build without optimisation on a busy machine.
const SLOWEST: Duration = Duration::from_secs(10);

/// For how long, and which inputs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub time: Duration,
    pub seed: u64,
    /// The number of the first input.
    pub from: u64,
}

/// An input that breaks a target.
#[derive(Debug)]
pub struct Finding {
    seed: u64,
    number: u64,
    what: String,
    input: Vec<u8>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, what, input } = self;
        let shown: String = String::from_utf8_lossy(input).chars().take(2000).collect();
        write!(
            f,
            "{what}\n  again with --seed {seed} --from {number}\n  input ({} bytes): {shown}",
            input.len()
        )
    }
}

/// Feeds `target` until the time is over; gives how many inputs it took.
pub fn run(target: &Target, limits: Limits) -> Result<u64, Box<Finding>> {
    let seeds = seeds::of(target.diet);
    let mut mouth = (target.build)();
    let begun = kit::clock::monotonic();
    let mut number = limits.from;
    while begun.elapsed() < limits.time {
        // Each input has a generator of its own, so that one can be met again without those before it.
        let mut random = StdRng::seed_from_u64(limits.seed.wrapping_mul(0x9e37_79b9).wrapping_add(number));
        let input = mutate(&seeds, &mut random);
        let started = kit::clock::monotonic();
        let outcome = catch_unwind(AssertUnwindSafe(|| mouth(&input)));
        let finding = |what| Box::new(Finding { seed: limits.seed, number, what, input: input.clone() });
        if let Err(panic) = outcome {
            return Err(finding(format!("panicked: {}", text(panic.as_ref()))));
        }
        if started.elapsed() > SLOWEST {
            return Err(finding(format!("took {:?}", started.elapsed())));
        }
        number += 1;
    }
    Ok(number - limits.from)
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

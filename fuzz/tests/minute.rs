//! Every target for a little while at every change; `CREST_FUZZ_SECONDS` says for how long all of them together.

#![expect(clippy::disallowed_methods, reason = "clippy knows tests only by their attribute")]

use std::time::Duration;

use fuzz::{Limits, TARGETS, run};

#[test]
fn nothing_breaks() {
    let seconds = std::env::var("CREST_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let share = Duration::from_secs(seconds) / u32::try_from(TARGETS.len()).unwrap_or(1);
    for target in TARGETS {
        // Another sequence each day would find more, but a failure must be the change's own.
        match run(target, Limits { time: share, seed: 1, from: 0 }) {
            Ok(count) => println!("{}: {count} inputs", target.name),
            Err(finding) => panic!("{}: {finding}", target.name),
        }
    }
}

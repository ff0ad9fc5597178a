//! `cargo run --release -p fuzz -- --seconds 600 [--target patches] [--seed 7]`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fuzz::{Limits, TARGETS, run};

/// Feeds mutated input to parsers and handlers until one breaks or the time is over.
#[derive(Debug, Parser)]
struct Options {
    /// How long each target is fed
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which target; all of them without it
    #[arg(long)]
    target: Option<String>,
    /// Where the sequence of inputs begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first input of the sequence, to meet one again
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[expect(clippy::print_stdout, reason = "the report is for the terminal")]
fn main() -> ExitCode {
    let options = Options::parse();
    let limits =
        Limits { time: Duration::from_secs(options.seconds), seed: options.seed, from: options.from };
    let mut found = false;
    for target in
        TARGETS.iter().filter(|target| options.target.as_deref().is_none_or(|name| name == target.name))
    {
        match run(target, limits) {
            Ok(count) => println!("{}: {count} inputs", target.name),
            Err(finding) => {
                found = true;
                println!("{}: {finding}", target.name);
            }
        }
    }
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

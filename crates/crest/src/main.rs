//! The one binary: every role of Crest, and every command that `kubectl` has no word for.
#![expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]

mod agent_verb;
mod allocator;
mod bounds;
mod cli;
mod daemon;
mod demo;
mod down;
mod explain;
mod explainer;
mod image;
mod job;
mod node;
mod plan;
mod preflight;
mod refusal;
mod run;
mod runtime;
mod scheduler;
mod security;
mod server;
mod settings;
mod sim;
mod status;
mod store_verbs;
mod tide;
mod token;
mod up;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // These two must stay single-threaded and small, so they leave before anything else starts.
    match arguments.get(1).and_then(|verb| verb.to_str()) {
        Some("shim") => return pouch::shim::main(arguments.into_iter().skip(2)),
        Some("worker") => return agent::worker::main(arguments.into_iter().skip(2)),
        _ => {}
    }
    let cli = Cli::parse();
    // An agent alone is mostly at rest: what a hundred containers took as they began is not to be kept for the next hundred.
    if !matches!(cli.command, Command::Node(_) | Command::Agent(_)) {
        allocator::be_patient();
    }
    if !cli.command.stays() {
        // Who reads no more of an answer (`| head`) ends the command, quietly.
        sigpipe::reset();
    }
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("crest: {}", refusal::explained(&error));
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = cli.settings();
    match cli.command {
        Command::Job(verb) => return job::execute(&settings, verb),
        Command::Tide(verb) => return tide::execute(&settings, verb),
        Command::Store(verb) => return store_verbs::execute(&settings, verb),
        Command::Explain(verb) => return explain::explain(&settings, verb),
        Command::WhatIf(options) => return explain::what_if(&settings, &options),
        Command::Sim(verb) => return sim::execute(verb),
        Command::Server(options) => server::server(&settings, &options),
        Command::Scheduler(options) => scheduler::scheduler(&settings, &options),
        Command::Agent(options) => agent_verb::agent(&settings, &options),
        Command::Up(options) => up::up(&settings, &options),
        Command::Run(options) => run::run(&settings, &options),
        Command::Down(options) => down::down(&settings, &options),
        Command::Status(options) => status::status(&settings, &options),
        Command::Kubeconfig => status::kubeconfig(&settings),
        Command::Token(verb) => token::execute(&settings, verb),
        Command::Node(verb) => node::execute(&settings, verb),
        Command::Plan(verb) => plan::execute(&settings, verb),
        Command::Image(verb) => image::execute(&settings, verb),
        Command::Demo(options) => demo::demo(&settings, &options),
        Command::Completion { shell } => {
            cli::print_completion(shell);
            Ok(())
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

//! Logs: one line per event on standard error, filtered by level or by `target=level` directives.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// The filter text is no list of `target=level` directives.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is no log filter: write a level such as `info`, or directives such as `warn,api=debug`")]
pub struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging for the process. A second call changes nothing.
pub fn init(filter: &str, format: Format) -> Result<(), FilterError> {
    let env_filter =
        EnvFilter::try_new(filter).map_err(|source| FilterError { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error means that a subscriber is installed already, as in tests: then that one stays.
    let _already_set = match format {
        Format::Text => builder.finish().try_init(),
        Format::Json => builder.json().finish().try_init(),
    };
    Ok(())
}

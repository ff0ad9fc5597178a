//! The process beside each container: it makes the container, owns its output, and waits for its end.
//!
//! ```text
//! engine --- spawns ---> shim run DIR --- splits ---> shim (own session, outlives the engine)
//!    |                                                  | creates, waits for (waitpid)
//!    |--- control socket: start, reopen, attach ------->|---> container's first process
//!    |--- learns of the end by the shim's pidfd <-------|  writes the log, then exit.json, then ends
//! ```
//!
//! It is single-threaded: the runtime library forks by a raw clone3 that goes on in Rust code, which is sound only
//! where no other thread can hold a lock.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod client;
pub(crate) mod console;
mod exec;
pub(crate) mod frame;
pub(crate) mod job;
mod linked;
mod log;
mod named;
pub(crate) mod output;
pub(crate) mod run;
mod runtime;

/// Runs a shim; `args` are the words after the shim's own command: `run DIRECTORY` or `exec DIRECTORY`.
///
/// Call it before the process has a second thread.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.as_slice() {
        [verb, directory] if verb == "run" => run::main(Path::new(directory)),
        [verb, directory] if verb == "exec" => exec::main(Path::new(directory)),
        _ => ExitCode::from(2),
    }
}

//! Services and batch that share this machine, as real processes.
//!
//! ```text
//!   image: nginx, Redis, this program ──► a Pod that serves ◄── open-loop load
//!   batch: as plain processes, or as a DagJob ──► this program again, as one of five hogs
//! ```

pub mod crowd;
pub mod hogs;
pub mod image;
pub mod serve;
pub mod service;

use hogs::Hog;

/// Plays a part in the image, if `words` name one: `role PART`.
pub fn play(words: &[&str]) -> Option<anyhow::Result<()>> {
    let ["role", part @ ..] = words else { return None };
    Some(match part {
        ["nothing"] => Ok(()),
        ["serve", port] => port.parse().map_err(anyhow::Error::from).and_then(serve::serve),
        ["hog", name, folder] => hog(name, folder),
        _ => Err(anyhow::anyhow!("no part is played as {part:?}")),
    })
}

fn hog(name: &str, folder: &str) -> anyhow::Result<()> {
    rustix::process::setpriority_process(None, 0)?;
    Hog::named(name)?.work(folder.as_ref())
}

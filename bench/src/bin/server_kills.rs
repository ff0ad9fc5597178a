//! kill -9 of the server 200 times at random under load: no acknowledged write lost, no gap in a watch, nothing told
//! twice. Usage: `server_kills [FOLDER] [KILLS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Context;
use bench::server::parent_folder;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let kills = std::env::args().nth(2).map_or(Ok(200), |text| text.parse())?;
    let begun = kit::clock::monotonic();
    let outcome = bench::kills::run(&parent_folder(), kills).await?.context("build crest first")?;
    println!(
        "{kills} kills in {:.0} s: {} writes acknowledged, none lost; {} changes watched, no gap, none twice",
        begun.elapsed().as_secs_f64(),
        outcome.acknowledged,
        outcome.watched
    );
    Ok(())
}

//! kill -9 of a server 200 times at random under load: no acknowledged write lost, no gap in a watch, nothing told
//! twice; then the same with three servers on one etcd. Usage: `server_kills [FOLDER] [KILLS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Context;
use bench::kills::Outcome;
use bench::server::parent_folder;

const SERVERS: usize = 3;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let kills = std::env::args().nth(2).map_or(Ok(200), |text| text.parse())?;
    let begun = kit::clock::monotonic();
    let outcome = bench::kills::run(&parent_folder(), kills).await?.context("build crest first")?;
    tell("one server", kills, begun.elapsed().as_secs_f64(), outcome);
    let begun = kit::clock::monotonic();
    match bench::kills::run_on_etcd(&parent_folder(), SERVERS, kills).await? {
        Some(outcome) => {
            tell(&format!("{SERVERS} servers on etcd"), kills, begun.elapsed().as_secs_f64(), outcome);
        }
        None => println!("{SERVERS} servers on etcd: there is no etcd here"),
    }
    Ok(())
}

fn tell(what: &str, kills: usize, seconds: f64, outcome: Outcome) {
    let Outcome { acknowledged, watched } = outcome;
    println!(
        "{what}: {kills} kills in {seconds:.0} s: {acknowledged} writes acknowledged, none lost; \
         {watched} changes watched, no gap, none twice"
    );
}

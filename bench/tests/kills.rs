//! Short runs of what `server_kills` does 200 times.
#![expect(clippy::print_stdout, reason = "what is skipped says so")]

use bench::kills::Outcome;

const KILLS: usize = 20;

fn judge(outcome: Option<Outcome>) {
    match outcome {
        Some(outcome) => {
            assert!(outcome.acknowledged > 0 && outcome.watched >= outcome.acknowledged, "{outcome:?}")
        }
        None => println!("skipped: the program `crest` is not built beside this test, or there is no etcd"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    judge(bench::kills::run(folder.path(), KILLS).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_on_one_etcd_any_may_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    judge(bench::kills::run_on_etcd(folder.path(), 3, KILLS).await.unwrap());
}

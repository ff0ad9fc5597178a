//! A short run of what `server_kills` does 200 times.

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    match bench::kills::run(folder.path(), 5).await.unwrap() {
        Some(outcome) => {
            assert!(outcome.acknowledged > 0 && outcome.watched >= outcome.acknowledged, "{outcome:?}")
        }
        None => println!("skipped: the program `crest` is not built beside this test"),
    }
}

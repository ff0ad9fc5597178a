//! The recorded answers of a real API server, replayed against this one over its socket.
//!
//! ```text
//!   group of cases ──► a server of its own ◄── scripts/golden.py ──► steps that pass at level 1 and 2
//! ```
//! All groups run side by side. The recordings lie beside the repository or where `CREST_GOLDEN` says; without them
//! the test says so and ends. For a developer's loop: `CREST_GOLDEN_ONLY='patch/smp-*'` names the cases to run, and
//! the differences are printed (`cargo test -p api --test api golden -- --nocapture`); `CREST_GOLDEN_OUT` names a
//! folder that gets them, a file per group. How many steps of a group pass is a ratchet: `golden/minimum.txt` may only grow.

use std::path::{Path, PathBuf};

use futures::StreamExt;

use crate::harness::Cluster;

/// Per group: the steps that pass at level 1 (status, kind, reason, causes, names) and at level 2 (whole bodies).
/// A file with a paragraph per group, so that changes to neighbouring groups do not meet.
const MINIMUM: &str = include_str!("golden/minimum.txt");

/// How many groups run at a time: most of a replay is waiting for a socket.
const AT_A_TIME: usize = 6;
/// Seconds to wait for what the recorded server did by and by. Nothing of it takes longer here.
const PATIENCE: &str = "3";

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_recorded() {
    let Some(folder) = folder() else {
        println!("skipped: no recorded cases; set CREST_GOLDEN to the folder of `replay.py` and `cases`");
        return;
    };
    let only = std::env::var_os("CREST_GOLDEN_ONLY");
    let only = only.map_or_else(|| "*".to_owned(), |only| only.to_string_lossy().into_owned());
    let wanted = |group: &str| {
        let pattern = only.split('/').next().unwrap_or_default();
        pattern.contains('*') || pattern == group
    };
    let groups = MINIMUM.lines().filter_map(Minimum::parse).filter(|minimum| wanted(minimum.group));
    let replays = groups.map(|minimum| replay(minimum, &folder, &only));
    let fewer: Vec<String> = futures::stream::iter(replays)
        .buffer_unordered(AT_A_TIME)
        .filter_map(|outcome| async { outcome })
        .collect()
        .await;
    assert!(fewer.is_empty() || only != "*", "{}", fewer.join("\n"));
}

/// What a group passes at least.
struct Minimum {
    group: &'static str,
    first: usize,
    second: usize,
}

impl Minimum {
    fn parse(line: &'static str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let group = words.next()?;
        let mut counts = words.map(|count| count.parse().unwrap());
        Some(Self { group, first: counts.next()?, second: counts.next()? })
    }
}

/// Replays one group; says where fewer steps pass than its minimum.
async fn replay(minimum: Minimum, folder: &Path, only: &str) -> Option<String> {
    let Minimum { group, first, second } = minimum;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/golden.py");
    let cases = folder.join("cases").join(format!("{group}.json"));
    let cluster = Cluster::start().await;
    let output = cluster.python(&program, &["--only", only, "--patience", PATIENCE], &[cases]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(path) = std::env::var_os("CREST_GOLDEN_OUT") {
        std::fs::write(Path::new(&path).join(group), &said).unwrap();
    }
    let Some((counts, passed)) = said.lines().find_map(counts) else {
        return Some(format!("{group}: {}", String::from_utf8_lossy(&output.stderr)));
    };
    println!("{}", if only == "*" { counts } else { said.as_str() });
    let fewer = passed[0] < first || passed[1] < second;
    fewer.then(|| {
        format!("{group}: {} and {} steps pass, expected {first} and {second}", passed[0], passed[1])
    })
}

/// A line `-- watch: 58 34 77 9.1`: passed at level 1, at level 2, of how many, in how many seconds.
fn counts(line: &str) -> Option<(&str, [usize; 2])> {
    let (_, counts) = line.strip_prefix("-- ")?.split_once(": ")?;
    let mut counts = counts.split(' ').map_while(|count| count.parse().ok());
    Some((line, [counts.next()?, counts.next()?]))
}

fn folder() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let folder = std::env::var_os("CREST_GOLDEN").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    folder.join("replay.py").is_file().then_some(folder)
}

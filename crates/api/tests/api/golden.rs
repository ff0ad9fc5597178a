//! The recorded answers of a real API server, replayed against this one over its socket.
//!
//! The recordings and their player lie beside the repository or where `CREST_GOLDEN` says; without them the test says
//! so and ends. `CREST_GOLDEN_OUT` names a folder for the differences, `CREST_GOLDEN_ONLY` a pattern of cases.
//! How many steps of a group pass is a ratchet: [`MINIMUM`] may only grow.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::harness::Cluster;

/// Per group: the steps that pass at level 1 (status, kind, reason, causes, names) and at level 2 (whole bodies).
const MINIMUM: &[(&str, usize, usize)] = &[
    ("admission", 0, 0),
    ("apply", 43, 11),
    ("auth", 0, 0),
    ("crd", 0, 0),
    ("create-invalid", 93, 91),
    ("create-minimal", 80, 22),
    ("create-warnings", 8, 0),
    ("delete", 44, 19),
    ("discovery", 0, 0),
    ("field-validation", 33, 19),
    ("list", 75, 56),
    ("patch", 52, 21),
    ("representations", 75, 34),
    ("subresources", 28, 14),
    ("update", 72, 31),
    ("watch", 58, 34),
];

/// Replays all groups at a level; fails where fewer steps pass than the minimum.
async fn check(level: &str, minimum: impl Fn(&(&str, usize, usize)) -> usize) {
    let Some(folder) = folder() else {
        println!("skipped: no recorded cases; set CREST_GOLDEN to the folder of `replay.py` and `cases`");
        return;
    };
    let files: Vec<PathBuf> =
        MINIMUM.iter().map(|row| folder.join("cases").join(format!("{}.json", row.0))).collect();
    let cluster = Cluster::start().await;
    let mut options = vec!["--level", level];
    let only = std::env::var("CREST_GOLDEN_ONLY").ok();
    options.extend(only.iter().flat_map(|pattern| ["--only", pattern]));
    let allowed = folder.join("allow.txt");
    options.extend(["--allow", allowed.to_str().unwrap()]);
    let output = cluster.python(&folder.join("replay.py"), &options, &files).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(path) = std::env::var_os("CREST_GOLDEN_OUT") {
        std::fs::write(Path::new(&path).join(format!("level-{level}")), &said).unwrap();
    }
    let passed: BTreeMap<&str, usize> = said.lines().filter_map(passed).collect();
    println!("level {level}: {passed:#?}");
    if only.is_some() {
        return;
    }
    let fewer: Vec<String> = MINIMUM
        .iter()
        .map(|row| (row.0, passed.get(row.0).copied().unwrap_or_default(), minimum(row)))
        .filter(|(_, passed, minimum)| passed < minimum)
        .map(|(group, passed, minimum)| format!("{group}: {passed} passed, at least {minimum} expected"))
        .collect();
    assert!(fewer.is_empty(), "{}", fewer.join("\n"));
}

/// The group and its count, of a line `-- watch: 58 passed, 0 failed`.
fn passed(line: &str) -> Option<(&str, usize)> {
    let (group, counts) = line.strip_prefix("-- ")?.split_once(": ")?;
    Some((group, counts.split_whitespace().next()?.parse().ok()?))
}

fn folder() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let folder = std::env::var_os("CREST_GOLDEN").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    folder.join("replay.py").is_file().then_some(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_as_recorded() {
    check("1", |row| row.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_are_as_recorded() {
    check("2", |row| row.2).await;
}

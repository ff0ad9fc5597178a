//! The recorded answers of a real API server, replayed against this one over its socket.
//!
//! The recordings and their player lie beside the repository or where `CREST_GOLDEN` says; without them the test says
//! so and ends. `CREST_GOLDEN_OUT` names a folder for the differences.

use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use serde_json::Value;

use crate::harness::Cluster;

/// Replays the cases that use only what is served here: one line per group, as the player counts.
async fn check(level: &str, expected: Expect) {
    let Some(folder) = folder() else {
        println!("skipped: no recorded cases; set CREST_GOLDEN to the folder of `replay.py` and `cases`");
        return;
    };
    let served = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = GROUPS.iter().map(|group| select(&folder, group, served.path())).collect();
    let cluster = Cluster::start().await;
    let output = cluster.python(&folder.join("replay.py"), &["--level", level], &files).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(path) = std::env::var_os("CREST_GOLDEN_OUT") {
        std::fs::write(Path::new(&path).join(format!("level-{level}")), &said).unwrap();
    }
    let counts: Vec<&str> = said.lines().filter(|line| line.starts_with("-- ")).collect();
    expected.assert_eq(&(counts.join("\n") + "\n"));
}

fn folder() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden");
    let folder = std::env::var_os("CREST_GOLDEN").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    folder.join("replay.py").is_file().then_some(folder)
}

/// Writes the cases of a group that need no kinds but ours into `target`.
fn select(folder: &Path, group: &str, target: &Path) -> PathBuf {
    let file = format!("{group}.json");
    let text = std::fs::read_to_string(folder.join("cases").join(&file)).unwrap();
    let mut recorded: Value = serde_json::from_str(&text).unwrap();
    let cases = recorded["cases"].as_array_mut().unwrap();
    cases.retain(|case| case["steps"].as_array().unwrap().iter().all(|step| is_served(&step["path"])));
    let path = target.join(file);
    std::fs::write(&path, recorded.to_string()).unwrap();
    path
}

fn is_served(path: &Value) -> bool {
    let path = path.as_str().unwrap_or_default().split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return true,
    };
    let plural = match rest {
        ["namespaces", _, plural, ..] if !matches!(*plural, "status" | "finalize") => plural,
        [plural, ..] => plural,
        [] => return true,
    };
    kinds::find(group, version, plural).is_some()
}

const GROUPS: [&str; 12] = [
    "create-minimal",
    "create-invalid",
    "create-warnings",
    "update",
    "patch",
    "apply",
    "list",
    "watch",
    "delete",
    "field-validation",
    "representations",
    "subresources",
];

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_as_recorded() {
    check(
        "1",
        expect![[r#"
            -- create-minimal: 80 passed, 0 failed
            -- create-invalid: 93 passed, 4 failed
            -- create-warnings: 8 passed, 0 failed
            -- update: 72 passed, 3 failed
            -- patch: 52 passed, 3 failed
            -- apply: 43 passed, 9 failed
            -- list: 75 passed, 1 failed
            -- watch: 58 passed, 0 failed
            -- delete: 44 passed, 0 failed
            -- field-validation: 33 passed, 1 failed
            -- representations: 75 passed, 9 failed
            -- subresources: 28 passed, 14 failed
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_answers_are_as_recorded() {
    check(
        "2",
        expect![[r#"
            -- create-minimal: 22 passed, 58 failed
            -- create-invalid: 91 passed, 6 failed
            -- create-warnings: 0 passed, 8 failed
            -- update: 31 passed, 44 failed
            -- patch: 21 passed, 34 failed
            -- apply: 11 passed, 41 failed
            -- list: 56 passed, 20 failed
            -- watch: 34 passed, 24 failed
            -- delete: 19 passed, 25 failed
            -- field-validation: 19 passed, 15 failed
            -- representations: 34 passed, 50 failed
            -- subresources: 14 passed, 28 failed
        "#]],
    )
    .await;
}

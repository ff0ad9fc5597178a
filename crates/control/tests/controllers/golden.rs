//! What a real control plane did by and by, and what `kubectl` said of it: recorded, and replayed against this one.
//!
//! The recordings lie beside the repository or where `CREST_GOLDEN` says; without them the tests say so and end.
//! `CREST_GOLDEN_ONLY='controllers/job'` names the cases to run; the differences are printed
//! (`cargo test -p control --test controllers golden -- --nocapture`). How many steps pass is a ratchet:
//! `golden/minimum.txt` may only grow.

use std::path::{Path, PathBuf};

use crate::harness::Cluster;

/// Per group: the steps that pass at level 1 and at level 2.
const MINIMUM: &str = include_str!("golden/minimum.txt");
/// The recorded control plane had no controller of nodes: theirs are fake and stay as they are.
const WITHOUT: [&str; 1] = ["node-lifecycle"];
/// `kubectl` of this version was recorded.
const KUBECTL: &str = "1.33";

#[tokio::test(flavor = "multi_thread")]
async fn controllers_do_as_recorded() {
    let Some(folder) = folder() else { return };
    let cluster = Cluster::start_without(&WITHOUT).await;
    let cases = folder.join("cases/controllers.json");
    let program = repository().join("scripts/golden.py");
    let only = only();
    let arguments = ["--mode", "controllers", "--only", &only, cases.to_str().unwrap()];
    let output = cluster.python(&program, &arguments).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    let counts = said.lines().find_map(|line| line.strip_prefix("-- controllers: "));
    let mut counts = counts.unwrap_or_default().split(' ').map_while(|count| count.parse().ok());
    let passed: [usize; 2] = [counts.next().unwrap_or(0), counts.next().unwrap_or(0)];
    compare("controllers", passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_as_recorded() {
    let Some(folder) = folder() else { return };
    let Some(kubectl) = kubectl().await else {
        println!("skipped: kubectl {KUBECTL} cannot be fetched");
        return;
    };
    let mut passed = [0, 0];
    for (level, passed) in ["1", "2"].iter().zip(&mut passed) {
        let cluster = Cluster::start_without(&WITHOUT).await;
        let cases = folder.join("cases/kubectl.json");
        let only = only();
        let kubectl = kubectl.to_str().unwrap();
        let arguments = ["--kubectl", kubectl, "--level", level, "--only", &only, cases.to_str().unwrap()];
        let output = cluster.python(&folder.join("replay_kubectl.py"), &arguments).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        let count = said.lines().find_map(|line| line.strip_prefix("kubectl: ")?.split(' ').next());
        *passed = count.and_then(|count| count.parse().ok()).unwrap_or(0);
    }
    compare("kubectl", passed);
}

fn compare(group: &str, passed: [usize; 2]) {
    let line = MINIMUM.lines().find_map(|line| line.strip_prefix(group)).unwrap();
    let minimum: Vec<usize> = line.split_whitespace().map(|count| count.parse().unwrap()).collect();
    let is_enough = passed[0] >= minimum[0] && passed[1] >= minimum[1];
    assert!(is_enough || only() != "*", "{group}: {passed:?} steps pass, expected {minimum:?}");
}

fn only() -> String {
    let only = std::env::var_os("CREST_GOLDEN_ONLY");
    only.map_or_else(|| "*".to_owned(), |only| only.to_string_lossy().into_owned())
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn folder() -> Option<PathBuf> {
    let beside = || repository().join("../shared/golden");
    let folder = std::env::var_os("CREST_GOLDEN").map_or_else(beside, PathBuf::from);
    let is_there = folder.join("replay.py").is_file();
    if !is_there {
        println!("skipped: no recorded cases; set CREST_GOLDEN to the folder of `replay.py` and `cases`");
    }
    is_there.then_some(folder)
}

/// `kubectl` of the recorded version, fetched once.
async fn kubectl() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let script = repository().join("scripts/kubectl.sh");
    let fetched = tokio::process::Command::new("sh").arg(script).arg(KUBECTL).arg(folder).status().await;
    let path = folder.join(format!("kubectl-{KUBECTL}"));
    (fetched.is_ok_and(|status| status.success()) && path.is_file()).then_some(path)
}

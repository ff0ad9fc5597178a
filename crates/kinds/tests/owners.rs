//! The recorded managers of a real API server as an oracle: every object of the recordings that one client created and
//! nobody else wrote since, as if it was created here.
//!
//! The recordings lie beside the repository or where `CREST_GOLDEN` says; without them the test says so and ends.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use expect_test::expect_file;
use kinds::managed::{Writer, update};
use serde_json::{Map, Value};

/// Set by the server after it noted the managers: not to be found in them.
const IDENTITY: [&str; 6] =
    ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "deletionTimestamp"];

fn recordings() -> Option<Vec<Value>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/cases");
    let folder = std::env::var_os("CREST_GOLDEN")
        .map_or_else(|| PathBuf::from(beside), |golden| PathBuf::from(golden).join("cases"));
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let parse = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
    Some(files.iter().filter_map(parse).collect())
}

/// The objects that answered a POST and have one manager.
fn created(recording: &Value) -> impl Iterator<Item = &Value> {
    let cases = recording["cases"].as_array().into_iter().flatten();
    let steps = cases.flat_map(|case| case["steps"].as_array().into_iter().flatten());
    steps
        .filter(|step| step["method"] == "POST" && step["response"]["status"] == 201)
        .map(|step| &step["response"]["body"])
        .filter(|body| body["metadata"]["managedFields"].as_array().is_some_and(|entries| entries.len() == 1))
}

/// The paths by which the managers differ: `-` that only the real server names, `+` that only ours does.
fn differences(object: &Value) -> Vec<String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let Some(kind) = kinds::find_kind(group, version, text("kind")) else { return Vec::new() };
    let mut new = object.clone();
    let metadata = new["metadata"].as_object_mut().unwrap();
    let theirs = metadata["managedFields"][0]["fieldsV1"].clone();
    metadata.retain(|field, _| !IDENTITY.contains(&field.as_str()));
    let writer = Writer { manager: "unknown", subresource: "", now: "2026-01-01T00:00:00Z" };
    update(kind, &writer, None, &mut new);
    let ours = new["metadata"]["managedFields"][0]["fieldsV1"].clone();
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    paths(&theirs, String::new(), &mut before);
    paths(&ours, String::new(), &mut after);
    let name = |sign: char| move |path: &String| format!("{sign} {}{path}", text("kind"));
    before.difference(&after).map(name('-')).chain(after.difference(&before).map(name('+'))).collect()
}

fn paths(fields: &Value, prefix: String, found: &mut BTreeSet<String>) {
    let empty = Map::new();
    let fields = fields.as_object().unwrap_or(&empty);
    if fields.is_empty() {
        found.insert(prefix);
        return;
    }
    for (name, below) in fields {
        // Items are told apart by the fields that name them, not by their values.
        let name =
            name.split_once(':').filter(|(kind, _)| *kind == "k").map_or(name.as_str(), |(kind, _)| kind);
        paths(below, format!("{prefix}/{name}"), found);
    }
}

#[test]
fn creators_own_what_they_own_in_kubernetes() {
    let Some(recordings) = recordings() else {
        println!("skipped: no recorded cases; set CREST_GOLDEN to the folder that holds them");
        return;
    };
    let objects: Vec<&Value> = recordings.iter().flat_map(created).collect();
    assert!(objects.len() > 100, "{} objects", objects.len());
    let found: BTreeSet<String> = objects.into_iter().flat_map(differences).collect();
    let lines: Vec<String> = found.into_iter().collect();
    expect_file!["owners/differences.txt"].assert_eq(&(lines.join("\n") + "\n"));
}

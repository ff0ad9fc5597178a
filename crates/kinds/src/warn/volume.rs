//! Warnings about volumes: sources that do nothing any more, files that hide each other.

use serde_json::Value;

use super::{Path, list};

/// Kinds of volumes that no longer do anything.
const REMOVED: &[(&str, &str)] = &[
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
];
/// Fields of a projected source that name a file themselves.
const FILES: &[(&str, &str)] = &[
    ("serviceAccountToken", "path"),
    ("clusterTrustBundle", "path"),
    ("podCertificate", "certificateChainPath"),
    ("podCertificate", "keyPath"),
    ("podCertificate", "credentialBundlePath"),
];

/// A volume of a Pod.
pub(super) fn check(path: Path<'_>, volume: &Value, warnings: &mut Vec<String>) {
    removed_sources(path, volume, warnings);
    let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
    super::claim_sizes(&format_args!("{path}.ephemeral.volumeClaimTemplate.spec"), claim, warnings);
    let mut files: Vec<&str> =
        ["configMap", "secret", "downwardAPI"].map(|source| named(&volume[source])).concat();
    for (index, source) in list(&volume["projected"], "sources") {
        if source.as_object().is_none_or(|kinds| kinds.values().all(Value::is_null)) {
            warnings.push(format!("{path}.projected.sources[{index}]: this is no source"));
        }
        files.extend(["configMap", "secret", "downwardAPI"].map(|kind| named(&source[kind])).concat());
        let own = FILES.iter().filter_map(|(kind, field)| source[*kind][*field].as_str());
        files.extend(own.filter(|file| !file.is_empty()));
    }
    for (index, file) in files.iter().enumerate() {
        if let Some(hidden) = files[..index].iter().find(|other| overlap(file, other)) {
            warnings.push(format!("{path}: the file `{file}` is in the way of `{hidden}`"));
        }
    }
}

/// The files that a source lists.
fn named(source: &Value) -> Vec<&str> {
    list(source, "items").filter_map(|(_, item)| item["path"].as_str()).collect()
}

/// Whether both are one file, or one would have to be a directory for the other.
fn overlap(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim_matches('/'), other.trim_matches('/'));
    let is_in =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    one == other || is_in(one, other) || is_in(other, one)
}

/// Sources that do nothing any more, of volumes in Pods and of volumes as objects.
pub(super) fn removed_sources(path: Path<'_>, volume: &Value, warnings: &mut Vec<String>) {
    for (source, why) in REMOVED {
        if !volume[*source].is_null() {
            warnings.push(format!("{path}.{source}: {why}"));
        }
    }
}

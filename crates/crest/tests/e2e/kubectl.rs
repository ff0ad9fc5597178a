//! What users do with kubectl: one written walk of some two hundred commands, taken with four versions.

use super::cluster::{Cluster, fetch_kubectl};
use super::walk;

const WALK: &str = include_str!("kubectl/walk.txt");

#[test]
fn kubectl_1_27() {
    walk_with("1.27");
}

#[test]
fn kubectl_1_30() {
    walk_with("1.30");
}

#[test]
fn kubectl_1_33() {
    walk_with("1.33");
}

#[test]
fn kubectl_1_37() {
    walk_with("1.37");
}

fn walk_with(version: &str) {
    let Some(program) = fetch_kubectl(version) else { return };
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    let minor: u32 = version.split_once('.').unwrap().1.parse().unwrap();
    walk::take(&cluster, &[("kubectl", &program)], WALK, minor);
}

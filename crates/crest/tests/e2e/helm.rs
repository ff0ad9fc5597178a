//! What users do with helm: a chart with a hook and a test, through its whole life.

use super::cluster::{Cluster, fetch};
use super::walk;

const WALK: &str = include_str!("helm/walk.txt");
/// helm 4 comes with this kubectl.
const VERSION: &str = "1.37";

#[test]
fn a_chart_through_its_life() {
    let (Some(helm), Some(kubectl)) = (fetch("helm", VERSION), fetch("kubectl", VERSION)) else { return };
    let Some(cluster) = Cluster::start() else { return };
    cluster.with_busybox();
    walk::take(&cluster, &[("helm", &helm), ("kubectl", &kubectl)], WALK, 37);
}

use std::path::PathBuf;

use super::*;
use crate::import::openb;

fn node(name: &str, n_gpus: u32) -> OpenbNode {
    OpenbNode { name: name.to_owned(), cpu_milli: 10_000, memory_mib: 1000, n_gpus, model: String::new() }
}

fn pod(name: &str, cpu_milli: u64, n_gpus: u32, gpu_milli: u32) -> OpenbPod {
    let models = std::collections::BTreeSet::new();
    OpenbPod { name: name.to_owned(), cpu_milli, memory_mib: 1, n_gpus, gpu_milli, models }
}

#[test]
fn fragments_by_hand() {
    let mut ledger = Ledger::new(&[node("a", 2)]);
    ledger.take(&pod("held", 6_000, 1, 700), &Seat { node: 0, gpus: vec![0] }).unwrap();
    // Free now: 4 cores, 300 and 1000 milli.
    let of = |pods: &[OpenbPod]| ledger.fragments(&Target::of(pods));
    assert_eq!(of(&[pod("p", 1_000, 1, 200)]), 0.0);
    assert_eq!(of(&[pod("p", 1_000, 1, 500)]), 300.0);
    assert_eq!(of(&[pod("p", 1_000, 2, 1000)]), 1300.0, "two whole ones are not there");
    assert_eq!(of(&[pod("p", 5_000, 1, 200)]), 1300.0, "too few cores");
    assert_eq!(of(&[pod("p", 1_000, 0, 0)]), 1300.0, "uses no GPU");
    assert_eq!(of(&[pod("p", 1_000, 1, 200), pod("q", 1_000, 1, 500)]), 150.0);
}

#[test]
fn the_ledger_refuses_what_is_not_there() {
    let mut ledger = Ledger::new(&[node("a", 2)]);
    let seat = |gpus: &[usize]| Seat { node: 0, gpus: gpus.to_vec() };
    ledger.take(&pod("p", 1_000, 1, 700), &seat(&[0])).unwrap();
    assert!(ledger.take(&pod("q", 1_000, 1, 700), &seat(&[0])).is_err(), "only 300 left");
    assert!(ledger.take(&pod("q", 1_000, 2, 1000), &seat(&[1, 1])).is_err(), "one GPU twice");
    assert!(ledger.take(&pod("q", 1_000, 1, 300), &seat(&[2])).is_err(), "no such GPU");
    assert!(ledger.take(&pod("q", 9_001, 1, 300), &seat(&[1])).is_err(), "too few cores");
    ledger.take(&pod("q", 9_000, 1, 300), &seat(&[0])).unwrap();
}

#[test]
fn arrivals_end_when_enough_has_come() {
    let nodes = [node("a", 8)];
    let pods = [pod("p", 1, 1, 500), pod("q", 1, 0, 0)];
    let arriving = arrivals(&nodes, &pods, 1);
    let sum: u64 = arriving.iter().map(OpenbPod::total_gpu_milli).sum();
    assert!((10_400..10_900).contains(&sum), "130% of 8 GPUs: {sum}");
    assert_eq!(arriving, arrivals(&nodes, &pods, 1));
    assert_ne!(arriving, arrivals(&nodes, &pods, 2));
    assert_eq!(arrivals(&nodes, &[pod("q", 1, 0, 0)], 1).len(), 3, "nothing to wait for");
}

/// On the published data itself, where it is at hand: the engine holds more than plain policies do.
#[test]
fn the_engine_beats_best_fit_on_openb() {
    let Some(folder) = data("openb") else { return };
    let nodes: Vec<OpenbNode> =
        openb::nodes(&openb::node_list(&folder)).unwrap().into_iter().step_by(24).collect();
    let pods = openb::pods(&openb::pod_list(&folder, "default")).unwrap();
    let pods: Vec<OpenbPod> = pods.into_iter().step_by(24).collect();
    let target = Target::of(&pods);
    let arriving = arrivals(&nodes, &pods, 1);
    let held = |policy: &mut dyn Policy| {
        let curve = run(&nodes, &arriving, &target, policy).unwrap();
        curve.at(LAST_PERCENT).unwrap().allocated
    };
    let (ours, best_fit) =
        (held(&mut Engine::new(&nodes, Some(&target), 1)), held(&mut BestFit::new(&nodes)));
    assert!(ours >= best_fit, "ours {ours}, best fit {best_fit}");
}

/// Published data is not part of the repository.
fn data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CREST_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
        PathBuf::from,
    );
    let folder = root.join(name);
    if !folder.exists() {
        eprintln!("skipped: no `{}`; set CREST_DATA to the folder that holds it", folder.display());
        return None;
    }
    Some(folder)
}

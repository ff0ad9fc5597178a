use expect_test::expect;

use super::*;
use crate::import::openb::{OpenbNode, OpenbPod};

fn scene() -> Scene {
    let node = OpenbNode {
        name: "n".to_owned(),
        cpu_milli: 4000,
        memory_mib: 1000,
        n_gpus: 1,
        model: "T4".to_owned(),
    };
    let pod = |name: &str, cpu_milli, n_gpus, gpu_milli| OpenbPod {
        name: name.to_owned(),
        cpu_milli,
        memory_mib: 1,
        n_gpus,
        gpu_milli,
        models: std::collections::BTreeSet::new(),
    };
    let pods = [
        pod("half", 1000, 1, 500),
        pod("most", 1000, 1, 600),
        pod("big", 9000, 0, 0),
        pod("small", 10, 0, 0),
    ];
    let pending = |pod: &OpenbPod| sigma::Pending { id: sigma::PodId::new(&pod.name), pod: pod.pod().into() };
    Scene { nodes: vec![node.node()], pending: pods.iter().map(pending).collect(), ..Scene::default() }
}

#[test]
fn what_was_placed_and_why_the_rest_was_not() {
    let mut heard = Vec::new();
    let report = run(&scene(), 1, |done| heard.push(done));
    assert_eq!(heard, [4]);
    let placed: Vec<String> =
        report.placed.iter().map(|seat| format!("{}:{}", seat.pod, seat.gpus)).collect();
    assert_eq!(placed, ["half:0", "small:"]);
    expect![[r#"
        {
            "Insufficient cpu": 1,
            "Insufficient nvidia.com/gpu": 1,
        }
    "#]]
    .assert_debug_eq(&report.reasons);
    let percents: Vec<String> =
        report.utilisation.iter().map(|(name, each)| format!("{name} {:.1}", each.percent())).collect();
    assert_eq!(percents, ["cpu (milli-cores) 25.2", "gpu (milli) 50.0", "memory (bytes) 0.2"]);
}

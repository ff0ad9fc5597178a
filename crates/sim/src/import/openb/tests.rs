use std::fs;

use expect_test::{Expect, expect};

use super::*;

fn written(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn check_pods(lines: &str, expected: Expect) {
    let file = written(&format!("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n{lines}"));
    let shown = match pods(file.path()) {
        Ok(pods) => pods.iter().map(|pod| format!("{pod:?}\n")).collect(),
        Err(error) => error.to_string().replace(&file.path().display().to_string(), "FILE"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn whole_gpus_shares_and_models() {
    check_pods(
        "a,1000,512,0,0,\nb,1000,512,1,460,\nc,1000,512,8,1000,G2|V100M32\n",
        expect![[r#"
            OpenbPod { name: "a", cpu_milli: 1000, memory_mib: 512, n_gpus: 0, gpu_milli: 0, models: {} }
            OpenbPod { name: "b", cpu_milli: 1000, memory_mib: 512, n_gpus: 1, gpu_milli: 460, models: {} }
            OpenbPod { name: "c", cpu_milli: 1000, memory_mib: 512, n_gpus: 8, gpu_milli: 1000, models: {"G2", "V100M32"} }
        "#]],
    );
}

#[test]
fn shares_that_no_gpu_has_are_refused() {
    check_pods(
        "a,1,1,0,5,\n",
        expect![
            "FILE:2: column `gpu_milli` holds `5`: 0 beside `num_gpu` 0 is expected there; mend the line or leave it out"
        ],
    );
    check_pods(
        "a,1,1,1,1001,\n",
        expect![
            "FILE:2: column `gpu_milli` holds `1001`: 1 to 1000 beside `num_gpu` 1 is expected there; mend the line or leave it out"
        ],
    );
    check_pods(
        "a,1,1,2,500,\n",
        expect![
            "FILE:2: column `gpu_milli` holds `500`: 1000 (a share is of one GPU alone) is expected there; mend the line or leave it out"
        ],
    );
    check_pods(
        "a,1,1,1,1000,\na,1,1,1,1000,\n",
        expect!["FILE:3: `a` is there twice: names must differ; rename one of the two lines"],
    );
    check_pods(
        "a,-1,1,1,1000,\n",
        expect![
            "FILE:2: column `cpu_milli` holds `-1`: a whole number, 0 or more, is expected there; mend the line or leave it out"
        ],
    );
}

#[test]
fn nodes_with_and_without_gpus() {
    let file = written("sn,cpu_milli,memory_mib,gpu,model\nn0,32000,262144,0,\nn1,96000,393216,8,G2\n");
    expect![[r#"
        [
            OpenbNode {
                name: "n0",
                cpu_milli: 32000,
                memory_mib: 262144,
                n_gpus: 0,
                model: "",
            },
            OpenbNode {
                name: "n1",
                cpu_milli: 96000,
                memory_mib: 393216,
                n_gpus: 8,
                model: "G2",
            },
        ]
    "#]]
    .assert_debug_eq(&nodes(file.path()).unwrap());
}

use std::fs;
use std::process::Command;

use expect_test::{Expect, expect};
use sigma::optimise::{Objective, evaluate};

use super::*;

const FILES: [(&str, &str); 4] = [
    ("machine_resources", "m_1,32,64,1440,7,3,7\nm_2,92,288,2457,7,7,9\n"),
    ("app_resources", "app_1,1.5|2,4|4,60,0,0,1\napp_2,0|0,1|1,40.0,1,0,0\n"),
    ("instance_deploy", "inst_1,app_2,m_2\ninst_2,app_1,\n"),
    ("app_interference", "app_1,app_2,0\napp_2,app_2,2\n"),
];

/// The files, one of them in other words.
fn written(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, lines) in FILES {
        let lines = if file == name { text } else { lines };
        fs::write(folder.path().join(file).with_extension("csv"), lines).unwrap();
    }
    folder
}

fn check(name: &str, text: &str, expected: Expect) {
    let folder = written(name, text);
    let error = read(folder.path()).unwrap_err().to_string();
    expected.assert_eq(&error.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn every_column_is_understood() {
    let read = read(written("", "").path()).unwrap();
    expect![[r#"
        [Machine { cpu: 32.0, memory: 64.0, counts: [1440, 7, 3, 7] }, Machine { cpu: 92.0, memory: 288.0, counts: [2457, 7, 7, 9] }]
        [App { cpu: [1.5, 2.0], memory: [4.0, 4.0], counts: [60, 0, 0, 1], machines: None }, App { cpu: [0.0, 0.0], memory: [1.0, 1.0], counts: [40, 1, 0, 0], machines: None }]
        [Item { app: AppId(1), tie: Free }, Item { app: AppId(0), tie: Free }]
        [Rule { beside: AppId(0), app: AppId(1), at_most: 0 }, Rule { beside: AppId(1), app: AppId(1), at_most: 2 }]
        [Some(MachineId(1)), None]
        ["m_1", "m_2"] ["inst_1", "inst_2"]
    "#]]
    .assert_eq(&format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?} {:?}\n",
        read.problem.machines(),
        read.problem.apps(),
        read.problem.items(),
        read.problem.rules(),
        read.placement,
        read.machines,
        read.instances
    ));
}

#[test]
fn packed_files_are_unpacked() {
    let folder = written("", "");
    for (file, _) in FILES {
        let path = folder.path().join(file).with_extension("csv");
        assert!(Command::new("xz").arg(path).status().unwrap().success());
    }
    assert_eq!(read(folder.path()).unwrap().machines, ["m_1", "m_2"]);
    fs::write(folder.path().join("app_resources.csv.xz"), "no archive").unwrap();
    assert!(read(folder.path()).unwrap_err().to_string().contains("app_resources.csv.xz"));
}

#[test]
fn what_is_not_understood_is_named() {
    check(
        "app_resources",
        "app_1,1|2,4,60,0,0,1\n",
        expect![[
            "FOLDER/app_resources.csv:1: column `memory` holds `4`: numbers, 0 or more, with `|` between them, as many as in every other curve, is expected there; mend the line or leave it out"
        ]],
    );
    check(
        "machine_resources",
        "m_1,-32,64,1440,7,3,7\n",
        expect![
            "FOLDER/machine_resources.csv:1: column `cpu` holds `-32`: a number, 0 or more, is expected there; mend the line or leave it out"
        ],
    );
    check(
        "machine_resources",
        "m_1,32,64,1440.5,7,3,7\n",
        expect![
            "FOLDER/machine_resources.csv:1: column `disk` holds `1440.5`: a whole number, 0 or more, is expected there; mend the line or leave it out"
        ],
    );
    check(
        "instance_deploy",
        "inst_1,app_3,\n",
        expect![
            "FOLDER/instance_deploy.csv:1: column `app` holds `app_3`: a name from the file of those is expected there; mend the line or leave it out"
        ],
    );
    check(
        "instance_deploy",
        "inst_1,app_1,\ninst_1,app_1,\n",
        expect![
            "FOLDER/instance_deploy.csv:2: `inst_1` is there twice: names must differ; rename one of the two lines"
        ],
    );
}

/// The contest's own data, where it is at hand.
#[test]
fn the_published_input_is_read_whole() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("CREST_DATA").map_or(beside, PathBuf::from).join("tianchi2018-prelim-b");
    if !folder.exists() {
        println!(
            "skipped: no published input; set CREST_DATA to the folder that holds `tianchi2018-prelim-b`"
        );
        return;
    }
    let read = read(&folder).unwrap();
    let problem = &read.problem;
    let sizes = (
        problem.points(),
        problem.apps().len(),
        problem.items().len(),
        problem.rules().len(),
        problem.machines().len(),
    );
    assert_eq!(sizes, (98, 9338, 68_224, 33_416, 6000));
    // Machines that hold anything in the published placement.
    assert_eq!(evaluate(problem, &Objective::tianchi(), &read.placement).used.len(), 4040);
}

use std::fs;

use expect_test::expect;

use super::*;
use crate::import::tianchi;

/// Two machines; both instances of `b` are beside `a` at first, where only one may be, and use too many disks.
fn input() -> Tianchi {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("machine_resources", "m_1,10,10,100,7,3,7\nm_2,10,10,100,7,7,9\n"),
        ("app_resources", "a,4|6,1|1,40,0,0,0\nb,1|1,1|1,40,0,0,0\n"),
        ("instance_deploy", "i_1,a,m_1\ni_2,b,m_1\ni_3,b,m_1\n"),
        ("app_interference", "a,b,1\n"),
    ];
    for (file, lines) in files {
        fs::write(folder.path().join(file).with_extension("csv"), lines).unwrap();
    }
    tianchi::read(folder.path()).unwrap()
}

#[test]
fn what_is_broken_is_told_by_name_and_the_cost_before_and_after() {
    let report = run(&input(), Settings { threads: 1, seed: 1 }, |done| done as f64 / 20.0);
    // 8 of 10 processors at the second of two points, 6 at the first: 1 + 10 (e^0.1 + e^0.3 - 2) / 2.
    let expected = 1.0 + 5.0 * (0.1f64.exp() + 0.3f64.exp() - 2.0);
    let before = report.before.as_ref().unwrap();
    assert!((before.cost - expected).abs() < 1e-9, "{before:?}");
    expect![[r#"
        [
            "m_1: more of disk is used than there is",
            "m_1: more than 1 of b beside a",
        ]
    "#]]
    .assert_debug_eq(&before.violations);
    assert_eq!((report.after.violations.len(), report.after.used_machines), (0, 2));
    assert_eq!((report.placed.len(), report.rounds), (3, 20));
    assert_eq!(run(&input(), Settings { threads: 1, seed: 1 }, |done| done as f64 / 20.0), report);
}

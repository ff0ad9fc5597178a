//! Which trees are taken, and what is said of the others.

use expect_test::{Expect, expect};
use model::{Bytes, MilliCpu};

use super::{Quota, QuotaId, QuotaTree};
use crate::grants::resources::{ResourceNames, Resources};

fn cpu(cpu: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), ..Resources::default() }
}

/// `name parent min max` per line, of CPU; `-` for none.
fn quotas(text: &str) -> Vec<Quota> {
    let quota = |(id, line): (u32, &str)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let max = words[3].parse().map(MilliCpu).unwrap_or(MilliCpu(u64::MAX));
        Quota {
            id: QuotaId(id),
            name: words[0].to_owned(),
            parent: (words[1] != "-").then(|| words[1].to_owned()),
            min: cpu(words[2].parse().unwrap_or(0)),
            max: Resources { cpu: max, ..Resources::UNLIMITED },
            weight: 1,
        }
    };
    (0..).zip(text.lines().map(str::trim).filter(|line| !line.is_empty())).map(quota).collect()
}

fn check(text: &str, expected: Expect) {
    let total = Resources { memory: Bytes(u64::MAX), ..cpu(100) };
    let said = match QuotaTree::try_new(quotas(text), &ResourceNames::default(), Some(total)) {
        Ok(tree) => tree.quotas.iter().map(|quota| format!("{}\n", quota.name)).collect::<String>(),
        Err(invalid) => invalid.faults.iter().map(|fault| format!("{fault}\n")).collect(),
    };
    expected.assert_eq(&said);
}

#[test]
fn parents_come_before_their_parts() {
    check(
        "leaf middle 1 5
         other - 0 -
         middle top 10 50
         top - 20 50",
        expect![[r#"
            other
            top
            middle
            leaf
        "#]],
    );
}

#[test]
fn the_empty_tree_is_a_tree() {
    check("", expect![""]);
}

#[test]
fn a_cycle_is_told_once_by_all_its_names() {
    check(
        "b c 0 -
         a b 0 -
         c a 0 -
         outside a 0 -
         self self 0 -",
        expect![[r#"
            quotas are parts of each other: a in b in c in a
            quotas are parts of each other: self in self
        "#]],
    );
}

#[test]
fn every_fault_is_told() {
    check(
        "a nowhere 0 -
         b - 30 20
         c - 40 50
         d c 30 -
         e c 20 -
         c - 50 -",
        expect![[r#"
            quota `c` is there twice
            quota `a` is part of `nowhere`, which does not exist
            quota `b`: min of cpu is 30 and so above its max, 20
            quota `c`: its parts are guaranteed 50 of cpu together, and it has only 40
            all quotas are guaranteed 120 of cpu together, and there is only 100
        "#]],
    );
}

#[test]
fn numbers_weights_and_depth() {
    let mut same = quotas("a - 0 -\nb - 0 -");
    same[1].id = same[0].id;
    same[0].weight = 0;
    let faults = QuotaTree::try_new(same, &ResourceNames::default(), None).unwrap_err().faults;
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["quotas `b` and `a` have the same number", "quota `a`: weight must be at least 1"]);
    let deep: String = (0..20).map(|level| format!("q{level} q{} 0 -\n", level + 1)).collect();
    let deep = deep + "q20 - 0 -";
    let faults = QuotaTree::try_new(quotas(&deep), &ResourceNames::default(), None).unwrap_err().faults;
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert_eq!(faults[0].to_string(), "quota `q0` lies more than 16 levels deep");
}

use super::*;

/// A quota as `parent: min of CPU`, or just the min.
fn specs(quotas: &[(&str, &str)]) -> Specs {
    let spec = |text: &str| {
        let (parent, cpu) = text.split_once(':').map_or((None, text), |(parent, cpu)| (Some(parent), cpu));
        BatchQuotaSpec {
            parent: parent.map(str::to_owned),
            min: [("cpu".to_owned(), Text(cpu.to_owned()))].into(),
            weight: 1,
            ..BatchQuotaSpec::default()
        }
    };
    quotas.iter().map(|(name, text)| ((*name).to_owned(), spec(text))).collect()
}

fn check(
    stored: &[(&str, &str)],
    before: &[(&str, &str)],
    in_force: &[(&str, &str)],
    faults: &[(&str, &str)],
) {
    let judged = judge(&specs(stored), &specs(before), &mut Numbers::default());
    assert_eq!(judged.in_force, specs(in_force));
    let told: Vec<(&str, &str)> =
        judged.faults.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(told.len(), faults.len(), "{told:?}");
    for ((name, text), (at, part)) in told.iter().zip(faults) {
        assert!(name == at && text.contains(part), "{told:?}");
    }
    // What is in force is judged to be so again, whatever was before.
    let again = judge(&judged.in_force, &Specs::new(), &mut Numbers::default());
    assert_eq!((again.in_force, again.faults.len()), (judged.in_force, 0));
}

#[test]
fn what_fits_together_is_in_force() {
    check(&[], &[("a", "1")], &[], &[]);
    let tree = [("all", "3"), ("one", "all:1"), ("two", "all:2")];
    check(&tree, &[], &tree, &[]);
    check(&tree, &[("all", "9"), ("one", "all:9")], &tree, &[]);
}

#[test]
fn a_bad_quota_holds_up_nobody_but_itself() {
    check(&[("a", "1"), ("b", "gone:1")], &[], &[("a", "1")], &[("b", "part of `gone`")]);
    check(
        &[("a", "2"), ("b", "gone:1")],
        &[("a", "1"), ("b", "1")],
        &[("a", "2"), ("b", "1")],
        &[("b", "part of `gone`")],
    );
    check(
        &[("a", "b:1"), ("b", "a:1"), ("c", "1")],
        &[("a", "1"), ("b", "a:1")],
        &[("a", "1"), ("b", "a:1"), ("c", "1")],
        &[("a", "parts of each other: a in b in a"), ("b", "parts of each other")],
    );
}

#[test]
fn parts_that_want_more_than_their_whole_stand_as_they_did() {
    check(
        &[("all", "3"), ("one", "all:2"), ("two", "all:2")],
        &[("all", "3"), ("one", "all:1"), ("two", "all:2")],
        &[("all", "3"), ("one", "all:1"), ("two", "all:2")],
        &[("all", "guaranteed"), ("one", "guaranteed 4000 of cpu"), ("two", "guaranteed")],
    );
    // A whole that shrinks below what its parts are sure of.
    check(
        &[("all", "1"), ("one", "all:2")],
        &[("all", "3"), ("one", "all:2")],
        &[("all", "3"), ("one", "all:2")],
        &[("all", "guaranteed"), ("one", "guaranteed")],
    );
}

#[test]
fn without_its_whole_a_part_is_not_in_force() {
    check(
        &[("one", "all:1"), ("deep", "one:1")],
        &[("all", "3"), ("one", "all:1"), ("deep", "one:1")],
        &[],
        &[("deep", "part of `one`"), ("one", "part of `all`")],
    );
}

#[test]
fn a_quota_counts_what_its_parts_use() {
    let tree = specs(&[("all", "3"), ("one", "all:1"), ("two", "all:1"), ("deep", "two:1")]);
    let used = usage(&tree, |name| Resources { workers: name.len() as u64, ..Resources::NOTHING });
    let workers: Vec<(&str, u64)> = used.iter().map(|(name, used)| (name.as_str(), used.workers)).collect();
    assert_eq!(workers, [("all", 7), ("deep", 4), ("one", 3), ("two", 4)]);
    assert_eq!(guaranteed(&tree).cpu, MilliCpu(3000));
}

#[test]
fn who_may_name_a_quota() {
    let mut tree = specs(&[("all", "3"), ("one", "all:1")]);
    tree.get_mut("one").unwrap().namespaces = vec!["a".to_owned()];
    let check = |quota: &str, namespace: &str, part: Option<&str>| {
        let refusal = refusal(&tree, quota, namespace);
        assert_eq!(refusal.is_some(), part.is_some(), "{refusal:?}");
        assert!(refusal.unwrap_or_default().contains(part.unwrap_or_default()));
    };
    check("one", "a", None);
    check("one", "b", Some("not for namespace `b`"));
    check("all", "a", Some("name one of them: one"));
    check("none", "a", Some("`none` is not there"));
}

#[test]
fn the_quota_that_is_spent_is_named() {
    let mut tree = specs(&[("all", "0"), ("one", "all:0")]);
    let max = |workers: &str| [("workers".to_owned(), Text(workers.to_owned()))].into();
    tree.get_mut("all").unwrap().max = max("3");
    let check = |tree: &Specs, used: u64, expected: Option<&str>| {
        let shape = Resources { workers: 1, ..Resources::NOTHING };
        let used = usage(tree, |_| Resources { workers: used, ..Resources::NOTHING });
        assert_eq!(spent(tree, &used, ("one", shape)), expected);
    };
    check(&tree, 2, None);
    check(&tree, 3, Some("all"));
    tree.get_mut("one").unwrap().max = max("2");
    check(&tree, 2, Some("one"));
}

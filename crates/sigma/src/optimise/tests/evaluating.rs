//! The judge.

use super::*;

/// Two points in time, two machines of ten cores, three apps.
fn parts() -> Parts {
    Parts {
        points: 2,
        machines: machines(&[(10.0, 4.0), (10.0, 4.0)]),
        apps: vec![app(&[2.0, 3.0]), app(&[3.0, 3.0]), app(&[6.0, 0.0])],
        items: items(&[0, 1, 0]),
        rules: Vec::new(),
    }
}

fn violations(parts: Parts, placement: &Placement) -> Vec<Violation> {
    evaluate(&Problem::try_new(parts).unwrap(), &Objective::tianchi(), placement).violations
}

#[test]
fn the_cost_is_what_it_is_by_hand() {
    let problem = Problem::try_new(parts()).unwrap();
    let evaluation = evaluate(&problem, &Objective::tianchi(), &at(&[0, 0, 1]));
    // Machine 0: shares 0.5 and 0.6, so 1 and 1 + 10 (e^0.1 - 1) = 2.051709180756477. Machine 1: 0.2 and 0.3, so 1 twice.
    assert!((evaluation.cost - ((1.0 + 2.051_709_180_756_477) / 2.0 + 1.0)).abs() < 1e-12, "{evaluation:?}");
    assert_eq!(evaluation.used, [MachineId(0), MachineId(1)]);
    assert_eq!(evaluation.hot, [MachineId(0)]);
    assert_eq!(evaluation.violations, []);
}

#[test]
fn memory_above_its_threshold_costs_like_cpu() {
    let problem = Problem::try_new(parts()).unwrap();
    let objective = Objective::hot_spots(0.9, 0.4);
    let evaluation = evaluate(&problem, &objective, &at(&[0, 0, 1]));
    // Half of machine 0's memory at both points: 10 (e^0.1 - 1); no machine costs by being used.
    assert!((evaluation.cost - 1.051_709_180_756_477).abs() < 1e-12, "{evaluation:?}");
}

#[test]
fn an_unplaced_item_is_told() {
    assert_eq!(
        violations(parts(), &vec![Some(MachineId(0)), None, None]),
        [Violation::Unplaced(ItemId(1)), Violation::Unplaced(ItemId(2))]
    );
}

#[test]
fn a_machine_is_full_at_its_capacity_and_overfull_beyond() {
    let with = |items| Parts { items, ..parts() };
    assert_eq!(violations(with(items(&[1, 1, 0])), &at(&[0, 0, 0])), []);
    assert_eq!(violations(with(items(&[2, 2])), &at(&[0, 0])), [Violation::Cpu(MachineId(0))]);
    let five = at(&[1, 1, 1, 1, 1]);
    let idle = Parts { apps: vec![app(&[0.0, 0.0])], items: items(&[0; 5]), ..parts() };
    assert_eq!(violations(idle.clone(), &five), [Violation::Memory(MachineId(1))]);
    let mut counted = idle;
    counted.apps[0] = App { memory: vec![0.0; 2], counts: vec![3], ..app(&[0.0, 0.0]) };
    assert_eq!(violations(counted, &five), [Violation::Count(MachineId(1), 0)]);
}

#[test]
fn an_app_beside_itself_counts_one_more_than_beside_another() {
    let rule = |beside, app, at_most| Rule { beside: AppId(beside), app: AppId(app), at_most };
    let check = |rule: Rule, apps: &[u32], broken: bool| {
        let parts =
            Parts { rules: vec![rule], items: items(apps), apps: vec![app(&[0.1, 0.1]); 2], ..parts() };
        let expected = if broken { vec![Violation::Rule(MachineId(0), rule)] } else { Vec::new() };
        assert_eq!(violations(parts, &at(&vec![0; apps.len()])), expected, "{rule:?} {apps:?}");
    };
    check(rule(0, 0, 0), &[0], false);
    check(rule(0, 0, 0), &[0, 0], true);
    check(rule(0, 0, 1), &[0, 0], false);
    check(rule(0, 1, 1), &[0, 1], false);
    check(rule(0, 1, 1), &[0, 1, 1], true);
    // Only where there is one of the first.
    check(rule(0, 1, 1), &[1, 1, 1], false);
    // The other way round nothing is said.
    check(rule(0, 1, 1), &[0, 0, 1], false);
    check(rule(0, 1, 0), &[0, 1], true);
}

#[test]
fn an_app_may_be_kept_to_some_machines() {
    let mut parts = parts();
    parts.apps[0].machines = Some(vec![MachineId(1)]);
    assert_eq!(violations(parts, &at(&[1, 0, 0])), [Violation::Forbidden(MachineId(0), ItemId(2))]);
}

#[test]
fn residents_alone_do_not_use_a_machine() {
    let mut parts = parts();
    parts.items[2].tie = Tie::Resident;
    let evaluation = evaluate(&Problem::try_new(parts).unwrap(), &Objective::tianchi(), &at(&[0, 0, 1]));
    assert_eq!(evaluation.used, [MachineId(0)]);
}

#[test]
fn a_problem_is_checked() {
    let check = |change: fn(&mut Parts), expected: ProblemError| {
        let mut parts = parts();
        change(&mut parts);
        assert_eq!(Problem::try_new(parts).unwrap_err(), expected);
    };
    check(|parts| parts.points = 0, ProblemError::NoPoints);
    check(|parts| parts.points = 3, ProblemError::App(AppId(0)));
    check(|parts| parts.machines[1].cpu = f64::NAN, ProblemError::Machine(MachineId(1)));
    check(|parts| parts.machines[1].counts.clear(), ProblemError::Machine(MachineId(1)));
    check(|parts| parts.apps[2].memory[1] = -1.0, ProblemError::App(AppId(2)));
    check(|parts| parts.apps[2].machines = Some(vec![MachineId(2)]), ProblemError::App(AppId(2)));
    check(|parts| parts.items[1].app = AppId(3), ProblemError::Item(ItemId(1)));
    check(
        |parts| parts.rules.push(Rule { beside: AppId(0), app: AppId(3), at_most: 1 }),
        ProblemError::Rule(0),
    );
}

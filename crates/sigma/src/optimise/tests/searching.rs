//! The search.

use proptest::prelude::*;

use super::*;

fn search(problem: &Problem, current: &Placement, threads: usize) -> (Placement, f64) {
    let mut reckoned = f64::NAN;
    let settings = Settings { threads, seed: 7 };
    let found = optimise(problem, &Objective::tianchi(), current, settings, |rounds, cost| {
        reckoned = cost;
        rounds as f64 / 6.0
    });
    (found, reckoned)
}

fn nowhere(problem: &Problem) -> Placement {
    vec![None; problem.items().len()]
}

/// Two kinds of apps that are busy at different times, and room for each machine to hold one of each at half its CPU.
fn complementary() -> Parts {
    Parts {
        points: 2,
        machines: machines(&[(10.0, 100.0); 12]),
        apps: vec![app(&[4.0, 1.0]), app(&[1.0, 4.0])],
        items: items(&[0, 0, 0, 0, 1, 1, 1, 1]),
        rules: Vec::new(),
    }
}

#[test]
fn curves_that_complement_each_other_end_up_together() {
    let problem = Problem::try_new(complementary()).unwrap();
    let (found, _) = search(&problem, &nowhere(&problem), 1);
    let evaluation = evaluate(&problem, &Objective::tianchi(), &found);
    assert_eq!(evaluation.violations, []);
    assert_eq!(evaluation.cost, 4.0, "{found:?}");
}

#[test]
fn what_is_pinned_stays_and_residents_open_nothing() {
    let mut parts = complementary();
    parts.items[0].tie = Tie::Pinned;
    parts.items[7].tie = Tie::Resident;
    let problem = Problem::try_new(parts).unwrap();
    let mut current = nowhere(&problem);
    (current[0], current[7]) = (Some(MachineId(11)), Some(MachineId(3)));
    let (found, _) = search(&problem, &current, 2);
    assert_eq!((found[0], found[7]), (current[0], current[7]));
    assert_eq!(evaluate(&problem, &Objective::tianchi(), &found).violations, []);
}

#[test]
fn what_fits_nowhere_is_left_unplaced() {
    let mut parts = complementary();
    parts.apps[1].machines = Some(Vec::new());
    let problem = Problem::try_new(parts).unwrap();
    let (found, _) = search(&problem, &nowhere(&problem), 1);
    assert!(found[..4].iter().all(Option::is_some) && found[4..].iter().all(Option::is_none), "{found:?}");
}

#[test]
fn nothing_to_place_is_no_problem() {
    for machines in [Vec::new(), machines(&[(1.0, 1.0)])] {
        let problem = Problem::try_new(Parts { points: 1, machines, ..Parts::default() }).unwrap();
        assert_eq!(search(&problem, &Vec::new(), 2).0, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the problem: no limit is broken, the cost is what the search said, and a second run finds the same.
    #[test]
    fn what_is_found_is_sound(parts in any_parts(), threads in 1usize..4) {
        let problem = Problem::try_new(parts).unwrap();
        let (found, reckoned) = search(&problem, &nowhere(&problem), threads);
        let evaluation = evaluate(&problem, &Objective::tianchi(), &found);
        let broken = |violation: &&Violation| !matches!(violation, Violation::Unplaced(_));
        prop_assert_eq!(evaluation.violations.iter().find(broken), None);
        prop_assert!((evaluation.cost - reckoned).abs() < 1e-3, "{} {}", evaluation.cost, reckoned);
        prop_assert_eq!(search(&problem, &nowhere(&problem), threads).0, found);
    }
}

prop_compose! {
    /// A few machines of several sizes, apps with curves, rules and places of their own.
    pub(super) fn any_parts()(
        points in 1usize..11,
        sizes in prop::collection::vec((4u8..32, 4u8..32), 2..8),
        demands in prop::collection::vec((prop::collection::vec(0u8..6, 10), 1u8..6, prop::option::of(0u32..8)), 1..6),
        rules in prop::collection::vec((0u32..6, 0u32..6, 0u32..3), 0..8),
        of in prop::collection::vec(0u32..6, 0..30),
    ) -> Parts {
        let n_apps = u32::try_from(demands.len()).unwrap();
        let n_machines = u32::try_from(sizes.len()).unwrap();
        let sizes: Vec<_> = sizes.iter().map(|&(cpu, memory)| (f64::from(cpu), f64::from(memory))).collect();
        let apps = demands.into_iter().map(|(cpu, memory, machine)| App {
            cpu: cpu[..points].iter().map(|&cpu| f64::from(cpu)).collect(),
            memory: vec![f64::from(memory); points],
            counts: vec![1],
            machines: machine.map(|machine| (machine % n_machines..n_machines).map(MachineId).collect()),
        });
        Parts {
            points,
            machines: machines(&sizes),
            apps: apps.collect(),
            items: items(&of.iter().map(|app| app % n_apps).collect::<Vec<_>>()),
            rules: rules
                .iter()
                .map(|&(a, b, at_most)| Rule { beside: AppId(a % n_apps), app: AppId(b % n_apps), at_most })
                .collect(),
        }
    }
}

//! Plans.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::searching::any_parts;
use super::*;

const FEW: Limits = Limits { at_once: 3, in_all: 8, least_gain: 0.05, budgets: Vec::new() };

/// Machines of ten cores; one item for each of `items`: its cores and where it is.
fn cluster(n_machines: usize, items: &[(f64, u32)]) -> (Problem, Placement) {
    let parts = Parts {
        points: 1,
        machines: machines(&vec![(10.0, 100.0); n_machines]),
        apps: items.iter().map(|(cpu, _)| app(&[*cpu])).collect(),
        items: (0..).take(items.len()).map(|id| Item { app: AppId(id), tie: Tie::Free }).collect(),
        rules: Vec::new(),
    };
    (Problem::try_new(parts).unwrap(), items.iter().map(|(_, machine)| Some(MachineId(*machine))).collect())
}

fn plan(problem: &Problem, current: &Placement, limits: &Limits) -> Plan {
    rebalance(problem, &Objective::machines(0.8, 0.8), current, limits, || false)
}

fn moved(plan: &Plan) -> Vec<(u32, u32, u32)> {
    plan.rounds.iter().flatten().map(|each| (each.item.0, each.from.0, each.to.0)).collect()
}

#[test]
fn the_machine_with_the_fewest_items_is_freed() {
    let (problem, current) = cluster(3, &[(3.0, 0), (3.0, 0), (2.0, 1), (6.0, 2)]);
    let plan = plan(&problem, &current, &FEW);
    assert_eq!(plan.freed(), [MachineId(1)]);
    assert_eq!(moved(&plan), [(2, 1, 0)]);
    assert_eq!((plan.before.cost, plan.after.cost), (3.0, 2.0));
}

#[test]
fn a_machine_is_not_freed_for_less_than_its_moves_are_worth() {
    let (problem, current) = cluster(2, &[(4.0, 0), (1.0, 1), (1.0, 1)]);
    assert_eq!(moved(&plan(&problem, &current, &Limits { least_gain: 0.51, ..FEW })), [(0, 0, 1)]);
    let (problem, current) = cluster(2, &[(1.0, 0), (1.0, 0), (1.0, 1), (1.0, 1)]);
    assert_eq!(moved(&plan(&problem, &current, &Limits { least_gain: 0.51, ..FEW })), []);
}

#[test]
fn a_machine_is_freed_whole_or_not_at_all() {
    let (problem, current) = cluster(2, &[(0.5, 0), (0.5, 0), (0.5, 0), (2.0, 1), (2.0, 1), (2.0, 1)]);
    assert_eq!(moved(&plan(&problem, &current, &Limits { in_all: 2, ..FEW })), []);
    assert_eq!(plan(&problem, &current, &Limits { in_all: 3, ..FEW }).freed(), [MachineId(0)]);
}

#[test]
fn what_is_pinned_holds_its_machine_and_residents_do_not() {
    let check = |tie: Tie, freed: &[MachineId]| {
        let (problem, current) = cluster(2, &[(1.0, 0), (0.5, 0), (2.0, 1), (2.0, 1), (2.0, 1)]);
        let mut parts = Parts {
            points: 1,
            machines: problem.machines().to_vec(),
            apps: problem.apps().to_vec(),
            items: problem.items().to_vec(),
            rules: Vec::new(),
        };
        parts.items[1].tie = tie;
        parts.items[2].tie = Tie::Pinned;
        let problem = Problem::try_new(parts).unwrap();
        assert_eq!(plan(&problem, &current, &FEW).freed(), freed, "{tie:?}");
    };
    check(Tie::Free, &[MachineId(0)]);
    check(Tie::Resident, &[MachineId(0)]);
    check(Tie::Pinned, &[]);
}

#[test]
fn a_hot_spot_is_cooled_by_one_move_or_by_a_swap() {
    let objective = Objective::hot_spots(0.6, 0.9);
    let limits = Limits { least_gain: 0.01, ..FEW };
    let (problem, current) = cluster(2, &[(4.0, 0), (4.0, 0), (1.0, 1)]);
    let by_move = rebalance(&problem, &objective, &current, &limits, || false);
    assert_eq!((moved(&by_move), by_move.cooled()), (vec![(0, 0, 1)], vec![MachineId(0)]));
    let (problem, current) = cluster(2, &[(4.0, 0), (4.0, 0), (2.0, 1), (2.5, 1)]);
    let by_swap = rebalance(&problem, &objective, &current, &limits, || false);
    assert_eq!(by_swap.after.hot.len(), 1, "{by_swap:?}");
    assert!(by_swap.after.cost < by_swap.before.cost);
    assert_eq!(by_swap.moves(), 2);
}

#[test]
fn a_search_that_is_stopped_at_once_moves_nothing() {
    let (problem, current) = cluster(2, &[(1.0, 0), (1.0, 1)]);
    let plan = rebalance(&problem, &Objective::machines(0.8, 0.8), &current, &FEW, || true);
    assert_eq!(plan.moves(), 0);
    assert_eq!(plan.placement, current);
}

#[test]
fn what_must_wait_for_room_waits_a_round() {
    let (problem, current) = cluster(3, &[(6.0, 0), (6.0, 1)]);
    let towards = |target| rounds(&problem, &current, &difference(&current, &target), &FEW);
    let rounds_of = |rounds: Vec<Vec<Move>>| -> Vec<Vec<u32>> {
        rounds.iter().map(|round| round.iter().map(|each| each.item.0).collect()).collect()
    };
    assert_eq!(rounds_of(towards(at(&[1, 2]))), [vec![1], vec![0]]);
    // Each waits for the other: without a move twice there is no way.
    assert_eq!(rounds_of(towards(at(&[1, 0]))), Vec::<Vec<u32>>::new());
}

#[test]
fn the_way_to_a_target_ends_where_it_gains_most() {
    let (problem, current) = cluster(3, &[(2.0, 0), (2.0, 1), (2.0, 2)]);
    let towards =
        |target, limits| towards(&problem, &Objective::machines(0.8, 0.8), (&current, &target), &limits);
    assert_eq!(moved(&towards(at(&[2, 2, 2]), FEW)), [(0, 0, 2), (1, 1, 2)]);
    assert_eq!(moved(&towards(at(&[2, 2, 2]), Limits { in_all: 1, at_once: 1, ..FEW })), [(0, 0, 2)]);
    assert_eq!(moved(&towards(at(&[1, 2, 0]), FEW)), []);
}

prop_compose! {
    fn any_cluster()(parts in any_parts())(
        ties in prop::collection::vec(0u8..8, parts.items.len()),
        places in prop::collection::vec(0u32..9, parts.items.len()),
        targets in prop::collection::vec(0u32..9, parts.items.len()),
        budgets in prop::collection::vec((prop::collection::vec(any::<bool>(), parts.items.len()), 0usize..3), 0..3),
        (at_once, in_all, least) in (0usize..4, 0usize..12, 0u8..10),
        mut parts in Just(parts),
    ) -> (Problem, Placement, Placement, Limits) {
        for (item, tie) in parts.items.iter_mut().zip(ties) {
            item.tie = match tie { 0 => Tie::Pinned, 1 => Tie::Resident, _ => Tie::Free };
        }
        let n_machines = u32::try_from(parts.machines.len()).unwrap();
        // What is beyond the last machine is nowhere. Much of this is overfull: plans begin where a cluster is.
        let place = |place: &u32| (*place < n_machines).then_some(MachineId(*place));
        let current: Placement = places.iter().map(place).collect();
        let mut target: Placement = targets.iter().map(place).collect();
        for ((to, from), item) in target.iter_mut().zip(&current).zip(&parts.items) {
            if item.tie != Tie::Free {
                *to = *from;
            }
        }
        let budgets = budgets.into_iter().map(|(among, at_once)| Budget {
            items: (0..).map(ItemId).zip(among).filter(|(_, among)| *among).map(|(id, _)| id).collect(),
            at_once,
        });
        let limits = Limits { at_once, in_all, least_gain: f64::from(least) / 50.0, budgets: budgets.collect() };
        (Problem::try_new(parts).unwrap(), current, target, limits)
    }
}

/// The limits that are broken on these machines. The same parts of a machine break the same limits whoever is asked
/// first, so items are told by their app.
fn broken(problem: &Problem, held: &[Vec<ItemId>], machines: &BTreeSet<MachineId>) -> Vec<String> {
    let mut parts = Parts {
        points: problem.points(),
        machines: problem.machines().to_vec(),
        apps: problem.apps().to_vec(),
        items: Vec::new(),
        rules: problem.rules().to_vec(),
    };
    let mut placement = Vec::new();
    for machine in machines {
        for item in &held[machine.at()] {
            parts.items.push(problem.items()[item.at()]);
            placement.push(Some(*machine));
        }
    }
    let problem = Problem::try_new(parts).unwrap();
    let told = |violation: &Violation| match violation {
        Violation::Forbidden(machine, item) => format!("{machine:?} {:?}", problem.items()[item.at()].app),
        other => format!("{other:?}"),
    };
    evaluate(&problem, &Objective::tianchi(), &placement).violations.iter().map(told).collect()
}

fn check(problem: &Problem, current: &Placement, limits: &Limits, plan: &Plan) -> Result<(), TestCaseError> {
    let mut held = vec![Vec::new(); problem.machines().len()];
    for (machine, id) in current.iter().zip(0..) {
        if let Some(machine) = machine {
            held[machine.at()].push(ItemId(id));
        }
    }
    let mut moved = BTreeSet::new();
    for round in &plan.rounds {
        prop_assert!(round.len() <= limits.at_once && !round.is_empty());
        for budget in &limits.budgets {
            let of_budget = round.iter().filter(|each| budget.items.contains(&each.item)).count();
            prop_assert!(of_budget <= budget.at_once);
        }
        let arrivals: BTreeSet<MachineId> = round.iter().map(|each| each.to).collect();
        // A cluster may be broken before any move; a move breaks nothing that was not.
        let before = broken(problem, &held, &arrivals);
        for each in round {
            prop_assert!(moved.insert(each.item), "{:?} moves twice", each.item);
            prop_assert_eq!(problem.items()[each.item.at()].tie, Tie::Free);
            prop_assert!(held[each.from.at()].contains(&each.item));
            held[each.to.at()].push(each.item);
        }
        let during = broken(problem, &held, &arrivals);
        prop_assert!(
            during.iter().all(|violation| before.contains(violation)),
            "{:?} then {:?}",
            before,
            during
        );
        for each in round {
            held[each.from.at()].retain(|item| *item != each.item);
        }
    }
    prop_assert!(plan.moves() <= limits.in_all);
    let gain = plan.before.cost - plan.after.cost;
    prop_assert!(gain >= limits.least_gain * plan.moves() as f64 - 1e-9, "{gain} for {} moves", plan.moves());
    Ok(())
}

proptest! {
    /// Every round is sound while it runs, budgets are kept, nothing moves twice, each move is worth its while.
    #[test]
    fn a_rebalance_keeps_its_promises((problem, current, _, limits) in any_cluster(), free in any::<bool>()) {
        let objective = if free { Objective::machines(0.7, 0.7) } else { Objective::hot_spots(0.5, 0.6) };
        let plan = rebalance(&problem, &objective, &current, &limits, || false);
        check(&problem, &current, &limits, &plan)?;
        // Deals are made one after the other, so each of their moves finds its round.
        prop_assert!(limits.at_once == 0 || plan.placement == plan_without_rounds(&problem, &objective, &current, &limits));
    }

    /// So is the way to a target, however little sense it makes.
    #[test]
    fn the_way_to_any_target_keeps_them_too((problem, current, target, limits) in any_cluster()) {
        let plan = towards(&problem, &Objective::machines(0.7, 0.7), (&current, &target), &limits);
        check(&problem, &current, &limits, &plan)?;
    }
}

/// Where the deals lead if rounds could be as large as they like.
fn plan_without_rounds(
    problem: &Problem,
    objective: &Objective,
    current: &Placement,
    limits: &Limits,
) -> Placement {
    let wide = Limits { at_once: usize::MAX, ..limits.clone() };
    rebalance(problem, objective, current, &wide, || false).placement
}

//! A first placement: the largest instances first, each where it adds least.

use super::evaluate::Objective;
use super::host::{Change, Host};
use super::problem::{AppId, ItemId, MachineId, Placement, Problem};
use super::random::Random;
use super::tables::Tables;

/// Machines looked at for an instance before all are.
const SAMPLE: usize = 64;

/// Sorts by the largest share that an app takes of all there is of anything.
pub(super) fn largest_first(tables: &Tables, apps: &mut [AppId]) {
    let size = |app: &AppId| tables.apps[app.at()].size;
    apps.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
}

/// Places each of `apps` on one of `hosts`, else on one of `idle`, which is then in use; returns what found no room.
pub(super) fn fill(
    tables: &Tables,
    (hosts, idle): (&mut Vec<Host>, &mut Vec<Host>),
    apps: Vec<AppId>,
    random: &mut Random,
) -> Vec<AppId> {
    let mut left = Vec::new();
    for app in apps {
        let found = cheapest_of_some(tables, hosts, app, random)
            .or_else(|| cheapest(tables, hosts, app, 0..hosts.len()));
        if let Some((at, cost)) = found {
            hosts[at].make(tables, Change::more(app), cost);
        } else if let Some((at, cost)) = cheapest(tables, idle, app, 0..idle.len()) {
            let mut opened = idle.remove(at);
            opened.make(tables, Change::more(app), cost);
            hosts.push(opened);
        } else {
            left.push(app);
        }
    }
    left
}

/// The machine where `app` adds least among some at random, and what that machine then costs.
pub(super) fn cheapest_of_some(
    tables: &Tables,
    hosts: &[Host],
    app: AppId,
    random: &mut Random,
) -> Option<(usize, f32)> {
    let sample = (0..SAMPLE.min(hosts.len())).map(|_| random.below(hosts.len()));
    cheapest(tables, hosts, app, sample)
}

fn cheapest(
    tables: &Tables,
    hosts: &[Host],
    app: AppId,
    among: impl Iterator<Item = usize>,
) -> Option<(usize, f32)> {
    let take = Change::more(app);
    let mut best: Option<(usize, f32, f32)> = None;
    for at in among {
        let host = &hosts[at];
        let Some(cost) = host.may(tables, take).then(|| host.cost_after(tables, take)).flatten() else {
            continue;
        };
        // A machine that was chosen to be used is no dearer for being empty yet.
        let added = cost - host.cost.max(tables.open);
        if best.is_none_or(|(_, _, least)| added < least) && host.rules_allow(tables, take) {
            best = Some((at, cost, added));
        }
    }
    best.map(|(at, cost, _)| (at, cost))
}

/// Plain first-fit decreasing, to compare with: the largest items first, each on the first machine that holds it.
pub fn first_fit(problem: &Problem) -> Placement {
    let tables = Tables::new(problem, &Objective::tianchi());
    let mut hosts: Vec<Host> =
        (0..).take(problem.machines().len()).map(|id| Host::new(&tables, MachineId(id), &[])).collect();
    let mut items: Vec<ItemId> = (0..).take(problem.items().len()).map(ItemId).collect();
    let size = |item: &ItemId| tables.apps[problem.items()[item.at()].app.at()].size;
    items.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    let mut placement = vec![None; items.len()];
    for item in items {
        let take = Change::more(problem.items()[item.at()].app);
        let cost = |host: &Host| host.may(&tables, take).then(|| host.cost_after(&tables, take)).flatten();
        let found = hosts.iter_mut().find_map(|host| {
            let cost = cost(host).filter(|_| host.rules_allow(&tables, take))?;
            Some((host, cost))
        });
        if let Some((host, cost)) = found {
            host.make(&tables, take, cost);
            placement[item.at()] = Some(host.id);
        }
    }
    placement
}

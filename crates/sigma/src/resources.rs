//! Amounts of resources by name, and what a pod asks for in all.

use std::collections::BTreeMap;

/// Amounts by resource name: milli-cores for `cpu`, whole units (bytes, pieces) for all else.
pub type Amounts = BTreeMap<String, u64>;

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const PODS: &str = "pods";

/// A container that runs before the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitContainer {
    pub requests: Amounts,
    /// With `restartPolicy: Always` it runs on beside the others.
    pub is_sidecar: bool,
}

/// What a pod asks for in all.
///
/// Init containers run one by one, so only the largest counts, together with the sidecars started before it;
/// afterwards sidecars and main containers run together. The overhead of the sandbox comes on top.
pub fn effective_requests(containers: &[Amounts], init: &[InitContainer], overhead: &Amounts) -> Amounts {
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in init {
        if container.is_sidecar {
            add(&mut sidecars, &container.requests);
            raise(&mut peak, &sidecars);
        } else {
            let mut while_it_runs = sidecars.clone();
            add(&mut while_it_runs, &container.requests);
            raise(&mut peak, &while_it_runs);
        }
    }
    let mut total = sidecars;
    containers.iter().for_each(|requests| add(&mut total, requests));
    raise(&mut total, &peak);
    add(&mut total, overhead);
    total
}

/// What a container that is being resized has to be reckoned with, until that is done: the most of what it wants, of
/// what its node has promised, and of what it has. What the node cannot ever grant (`wanted` is `None`) does not count.
pub fn while_resized(wanted: Option<&Amounts>, promised: &Amounts, has: &Amounts) -> Amounts {
    let mut most = promised.clone();
    raise(&mut most, has);
    wanted.into_iter().for_each(|wanted| raise(&mut most, wanted));
    most
}

/// An amount as people write it: cores, or thousandths of one; bytes in the largest unit that is exact.
pub fn text(resource: &str, amount: u128) -> String {
    const UNITS: [(&str, u32); 5] = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    if resource == CPU {
        return if amount.is_multiple_of(1000) { (amount / 1000).to_string() } else { format!("{amount}m") };
    }
    let is_bytes =
        resource == MEMORY || resource == "ephemeral-storage" || resource.starts_with("hugepages-");
    let unit = UNITS.iter().find(|(_, shift)| is_bytes && amount > 0 && amount.trailing_zeros() >= *shift);
    unit.map_or_else(|| amount.to_string(), |(name, shift)| format!("{}{name}", amount >> shift))
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name.clone()).or_default();
        *entry = entry.saturating_add(*amount);
    }
}

fn raise(peak: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = peak.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(milli: u64) -> Amounts {
        Amounts::from([(CPU.to_owned(), milli)])
    }

    fn check(containers: &[u64], init: &[(u64, bool)], overhead: u64, expected: u64) {
        let containers: Vec<Amounts> = containers.iter().map(|&milli| cpu(milli)).collect();
        let init: Vec<InitContainer> = init
            .iter()
            .map(|&(milli, is_sidecar)| InitContainer { requests: cpu(milli), is_sidecar })
            .collect();
        let total = effective_requests(&containers, &init, &cpu(overhead));
        assert_eq!(total[CPU], expected, "{containers:?} {init:?} {overhead}");
    }

    #[test]
    fn the_larger_of_the_main_containers_and_the_init_containers() {
        check(&[100, 200], &[], 0, 300);
        check(&[100, 200], &[(250, false), (200, false)], 0, 300);
        check(&[100, 200], &[(500, false), (200, false)], 0, 500);
        check(&[100], &[(500, false)], 50, 550);
    }

    #[test]
    fn a_resize_counts_the_most_of_what_is_wanted_promised_and_there() {
        let check = |wanted: Option<u64>, promised: u64, has: u64, expected: u64| {
            let wanted = wanted.map(cpu);
            assert_eq!(while_resized(wanted.as_ref(), &cpu(promised), &cpu(has)), cpu(expected));
        };
        // Nothing is under way.
        check(Some(100), 100, 100, 100);
        // Larger: asked for, deferred or accepted, then done.
        check(Some(150), 100, 100, 150);
        check(Some(150), 150, 100, 150);
        check(Some(150), 150, 150, 150);
        // Smaller: it counts in full until the container has really shrunk.
        check(Some(50), 100, 100, 100);
        check(Some(50), 50, 100, 100);
        check(Some(50), 50, 50, 50);
        // Refused for good, and changed again before it was done.
        check(None, 100, 100, 100);
        check(Some(120), 150, 100, 150);
        // A resource that was not there before.
        assert_eq!(while_resized(Some(&cpu(1)), &Amounts::new(), &Amounts::new()), cpu(1));
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        let check =
            |resource: &str, amount: u128, expected: &str| assert_eq!(text(resource, amount), expected);
        check(CPU, 0, "0");
        check(CPU, 1500, "1500m");
        check(CPU, 2000, "2");
        check(MEMORY, 0, "0");
        check(MEMORY, 3 << 30, "3Gi");
        check(MEMORY, (3 << 30) + 1024, "3145729Ki");
        check(MEMORY, 1000, "1000");
        check(PODS, 1024, "1024");
    }

    #[test]
    fn sidecars_run_on_beside_the_main_containers() {
        check(&[100], &[(50, true)], 0, 150);
        check(&[100], &[(50, true), (200, false)], 0, 250);
        check(&[100], &[(200, false), (50, true)], 0, 200);
        check(&[], &[(u64::MAX, true), (1, true)], 1, u64::MAX);
    }
}

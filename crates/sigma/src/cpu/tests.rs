//! What is chosen on machines of several kinds, by example.

use model::cpu_topology::NumaNode;
use model::pinning::{CoreShape, NumaPolicy, Pinning};
use model::{CpuSet, CpuTopology};

use super::{Choice, Misfit, Spare};

/// NUMA nodes by id: of each the socket, the memory, and its cores.
fn machine(numa: &[(u16, u16, u64, &[&str])]) -> CpuTopology {
    let node = |&(id, socket, memory, cores): &(u16, u16, u64, &[&str])| {
        let cores = cores.iter().map(|list| list.parse().unwrap()).collect();
        NumaNode { id, socket, memory: Some(memory), cores }
    };
    CpuTopology::try_new(numa.iter().map(node).collect()).unwrap()
}

/// Two sockets with a NUMA node each, of four cores with two hyper-threads.
fn two_sockets() -> CpuTopology {
    machine(&[(0, 0, 100, &["0,8", "1,9", "2,10", "3,11"]), (1, 1, 100, &["4,12", "5,13", "6,14", "7,15"])])
}

struct Case<'a> {
    topology: &'a CpuTopology,
    taken: &'a str,
    memory: u64,
}

impl Case<'_> {
    fn choose(&self, count: u16, shape: CoreShape, numa: NumaPolicy) -> Result<Choice, Misfit> {
        let free = self.topology.cpus().without(&self.taken.parse().unwrap());
        let memory: Vec<Option<u64>> = self.topology.numa().iter().map(|node| node.memory).collect();
        let spare = Spare { topology: self.topology, free: &free, memory: &memory };
        spare.choose(Pinning { count, shape, numa }, self.memory)
    }

    fn check(&self, (count, shape, numa): (u16, CoreShape, NumaPolicy), expected: Result<&str, Misfit>) {
        let cpus = self.choose(count, shape, numa).map(|choice| choice.cpus);
        let expected = expected.map(|list| list.parse::<CpuSet>().unwrap());
        assert_eq!(cpus, expected, "{count} {shape} {numa:?} beside {}", self.taken);
    }
}

use CoreShape::{Any, Full, Spread};
use NumaPolicy::{Preferred, Single};

fn on<'a>(topology: &'a CpuTopology, taken: &'a str) -> Case<'a> {
    Case { topology, taken, memory: 0 }
}

#[test]
fn whole_cores_first_and_on_one_numa_node() {
    let topology = two_sockets();
    on(&topology, "").check((4, Any, Preferred), Ok("0,1,8,9"));
    on(&topology, "").check((3, Any, Preferred), Ok("0,1,8"));
    // What is broken already is used up before another core is broken.
    on(&topology, "0").check((3, Any, Preferred), Ok("1,8,9"));
    // The NUMA node that is left with least.
    on(&topology, "4,12").check((4, Any, Preferred), Ok("5,6,13,14"));
    // Not where it does not fit whole.
    on(&topology, "4,12").check((8, Any, Preferred), Ok("0-3,8-11"));
}

#[test]
fn more_than_one_numa_node_holds() {
    let topology = two_sockets();
    on(&topology, "").check((10, Any, Preferred), Ok("0-3,8-11,4,12"));
    on(&topology, "").check((10, Any, Single), Err(Misfit::OneNumaNode));
    on(&topology, "").check((15, Any, Preferred), Ok("0-14"));
    // One CPU is left to everybody.
    on(&topology, "").check((16, Any, Preferred), Err(Misfit::TooFewCpus));
}

#[test]
fn numa_nodes_of_one_socket_are_nearer() {
    let cores = |first: usize| [first.to_string(), (first + 1).to_string()];
    let all: Vec<[String; 2]> = (0..4).map(|node| cores(2 * node)).collect();
    let lists: Vec<[&str; 2]> = all.iter().map(|pair| [&*pair[0], &*pair[1]]).collect();
    let numa: Vec<(u16, u16, u64, &[&str])> =
        (0..4_u16).map(|id| (id, id / 2, 1, &lists[usize::from(id)][..])).collect();
    let topology = machine(&numa);
    on(&topology, "2").check((3, Any, Preferred), Ok("0-1,3"));
    // Without regard to sockets, nodes 0 and 2 would be as good.
    on(&topology, "2").check((4, Any, Preferred), Ok("4-7"));
    on(&topology, "2,6").check((4, Any, Preferred), Ok("0-1,4-5"));
}

#[test]
fn full_cores_have_no_strangers() {
    let topology = two_sockets();
    on(&topology, "").check((2, Full, Single), Ok("0,8"));
    on(&topology, "0,1").check((4, Full, Preferred), Ok("2,3,10,11"));
    on(&topology, "").check((3, Full, Preferred), Err(Misfit::UnevenCores));
    on(&topology, "0,1,2,3,4,5,6").check((4, Full, Preferred), Err(Misfit::WholeCores));
    on(&topology, "0,1,2,4,5,6").check((4, Full, Preferred), Ok("3,7,11,15"));
    on(&topology, "0,1,2,4,5,6").check((4, Full, Single), Err(Misfit::OneNumaNode));
    // Large cores with hyper-threads and small ones without.
    let mixed = machine(&[(0, 0, 1, &["0-1", "2-3", "4", "5"])]);
    on(&mixed, "").check((3, Full, Preferred), Ok("0-1,4"));
    on(&mixed, "4-5").check((3, Full, Preferred), Err(Misfit::WholeCores));
}

#[test]
fn spread_cores_share_none_with_each_other() {
    let topology = two_sockets();
    on(&topology, "").check((4, Spread, Single), Ok("0-3"));
    on(&topology, "").check((5, Spread, Single), Err(Misfit::OneNumaNode));
    on(&topology, "").check((8, Spread, Preferred), Ok("0-7"));
    on(&topology, "").check((9, Spread, Preferred), Err(Misfit::OwnCores));
    // On cores that others have broken.
    on(&topology, "0,1").check((2, Spread, Preferred), Ok("8-9"));
}

#[test]
fn memory_comes_from_the_same_numa_node() {
    let topology = machine(&[(0, 0, 10, &["0", "1"]), (1, 1, 50, &["2", "3", "4"])]);
    let case = |memory| Case { topology: &topology, taken: "", memory };
    case(5).check((2, Any, Single), Ok("0-1"));
    case(20).check((2, Any, Single), Ok("2-3"));
    case(20).check((2, Any, Preferred), Ok("0-1"));
    case(60).check((2, Any, Single), Err(Misfit::NumaMemory));
}

#[test]
fn what_a_choice_costs() {
    let topology = two_sockets();
    let cost = |count, taken: &str| {
        let choice = on(&topology, taken).choose(count, Any, Preferred).unwrap();
        (choice.n_numa, choice.breaks_core)
    };
    assert_eq!(cost(4, ""), (1, false));
    assert_eq!(cost(3, ""), (1, true));
    assert_eq!(cost(3, "0"), (1, false));
    assert_eq!(cost(10, ""), (2, false));
}

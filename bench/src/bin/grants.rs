//! The batch engine alone: how long a decision takes, events per second, how full the machines are, and how long a new
//! engine needs to learn everything after a failover. Usage: `grants [MACHINES]...` (5,000 and 100,000 if none is given).
//!
//! Machines are synthetic: 96 cores and 384 GiB, 40 to a rack. 1,000 jobs in 20 quotas have five kinds of worker each, of
//! 0.5 to 4 cores with 2 to 6 GiB for each core; a third of them are for one rack or one machine only. They hold what
//! there is for them, and 500,000 workers wait. Then workers end at random, and for each another one is asked for.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::cast_possible_truncation, reason = "numbers of units and jobs, which are small")]

use std::time::Duration;

use fuxi::grants::{
    Decision, Definition, Event, GrantId, Ledger, MachineId, PartyId, Place, Quota, QuotaId, QuotaTree,
    RackId, ResourceNames, Resources, Truth, UnitId,
};
use model::{Bytes, MilliCpu};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// As in the program that is measured here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 1;
const JOBS: u64 = 1_000;
const QUOTAS: u32 = 20;
const WAITING: u64 = 500_000;
const CHURN: usize = 500_000;
const MACHINES_PER_RACK: u32 = 40;
const MACHINE: Resources =
    Resources { cpu: MilliCpu(96_000), memory: Bytes(384 << 30), workers: 1000, extended: [0; 5] };

/// How the waiting are cut into units, and whether shapes repeat.
#[derive(Clone, Copy)]
struct Input {
    name: &'static str,
    units_per_job: u64,
    /// CPU is a multiple of this, and memory of as many MiB.
    grain: u64,
}

const INPUTS: [Input; 3] = [
    Input { name: "1,000 jobs of 5 kinds of worker, 40 shapes", units_per_job: 5, grain: 500 },
    Input { name: "1,000 jobs of 5 kinds of worker, a shape each", units_per_job: 5, grain: 1 },
    Input { name: "1,000 jobs of 500 single workers, 40 shapes", units_per_job: 500, grain: 500 },
];

fn main() -> anyhow::Result<()> {
    let sizes: Vec<u32> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() { vec![5_000, 100_000] } else { sizes };
    println!("synthetic machines and jobs, seed {SEED}, one thread");
    for input in &INPUTS {
        let mut first = None;
        for &n_machines in &sizes {
            println!("{}, {n_machines} machines", input.name);
            let mut bed = Bed::new(*input, n_machines)?;
            bed.fill();
            let micros = bed.churn();
            let slower = micros / *first.get_or_insert(micros);
            println!("  {slower:.2} times the time of the first size, {:.2} of the limit", slower / 2.0);
            bed.make_room();
            bed.fail_over()?;
        }
    }
    Ok(())
}

/// A ledger and the other side of it.
struct Bed {
    input: Input,
    n_machines: u32,
    random: StdRng,
    ledger: Ledger,
    definitions: Vec<Definition>,
    sequences: Vec<u64>,
    live: Vec<(GrantId, UnitId, MachineId)>,
    used: Resources,
}

/// What limits what: the figure beside it.
fn report(what: &str, figure: f64, (limit, unit): (f64, &str)) {
    println!("  {what}: {figure:.2} {unit}, {:.3} of the limit", figure / limit);
}

impl Bed {
    fn new(input: Input, n_machines: u32) -> anyhow::Result<Self> {
        let mut bed = Self {
            input,
            n_machines,
            random: StdRng::seed_from_u64(SEED),
            ledger: Ledger::new(Duration::from_secs(10)),
            definitions: Vec::new(),
            sequences: Vec::new(),
            live: Vec::new(),
            used: Resources::default(),
        };
        bed.definitions = (0..JOBS * input.units_per_job).map(|unit| bed.definition(unit)).collect();
        bed.sequences = vec![0; bed.definitions.len()];
        bed.ledger = bed.prepared()?;
        Ok(bed)
    }

    fn definition(&mut self, unit: u64) -> Definition {
        let grain = self.input.grain;
        let cpu = self.random.random_range(500 / grain..=4000 / grain) * grain;
        let gib_per_core = self.random.random_range(2000 / grain..=6000 / grain) * grain;
        let memory = cpu * gib_per_core / 1000 * 1024 / 1000;
        let job = unit / self.input.units_per_job;
        Definition {
            shape: Resources {
                cpu: MilliCpu(cpu),
                memory: Bytes(memory << 20),
                workers: 1,
                ..Resources::default()
            },
            priority: (job % 3) as i32,
            maximum: u32::MAX,
            quota: Some(QuotaId((job % u64::from(QUOTAS)) as u32)),
            party: Some(PartyId(job)),
            gang: None,
        }
    }

    /// A ledger that knows the quotas, the machines and the units.
    fn prepared(&self) -> anyhow::Result<Ledger> {
        let mut ledger = Ledger::new(Duration::from_secs(10));
        let quota = |id| Quota {
            id: QuotaId(id),
            name: format!("group-{id}"),
            parent: None,
            min: Resources::default(),
            max: Resources::UNLIMITED,
            weight: 1 + id % 3,
        };
        let tree = QuotaTree::try_new((0..QUOTAS).map(quota).collect(), &ResourceNames::default(), None)?;
        ledger.set_quotas(&tree, Duration::ZERO);
        for machine in 0..self.n_machines {
            let (machine, rack) = (MachineId(machine), RackId(machine / MACHINES_PER_RACK));
            let event = Event::Machine { machine, rack, capacity: MACHINE, is_open: true };
            ledger.step(event, Duration::ZERO);
        }
        for (unit, definition) in self.definitions.iter().enumerate() {
            let unit = UnitId(unit as u64);
            ledger.step(Event::Define { unit, definition: *definition }, Duration::ZERO);
        }
        Ok(ledger)
    }

    /// Lets an event happen, and says how long the ledger took.
    fn step(&mut self, event: Event) -> (usize, Duration) {
        let start = kit::clock::monotonic();
        let decisions = self.ledger.step(event, Duration::ZERO);
        let spent = start.elapsed();
        for decision in &decisions {
            if let Decision::Grant { grant, unit, machine } = *decision {
                self.live.push((grant, unit, machine));
                self.used = self.used.plus(self.definitions[unit.0 as usize].shape);
            }
        }
        (decisions.len(), spent)
    }

    fn ask(&mut self, unit: u64, place: Place, delta: i64) -> Event {
        let sequence = &mut self.sequences[unit as usize];
        *sequence += 1;
        Event::Ask { unit: UnitId(unit), sequence: *sequence, place, delta }
    }

    fn any_place(&mut self) -> Place {
        let machine = self.random.random_range(0..self.n_machines);
        match self.random.random_range(0..6) {
            0 => Place::Machine(MachineId(machine)),
            1 => Place::Rack(RackId(machine / MACHINES_PER_RACK)),
            _ => Place::Cluster,
        }
    }

    /// Asks until the machines are full and `WAITING` workers wait.
    fn fill(&mut self) {
        let (mut n_asked, mut spent) = (0, Duration::ZERO);
        let n_units = self.definitions.len() as u64;
        let each = (WAITING / n_units).max(1);
        while n_asked < WAITING + self.live.len() as u64 {
            for unit in 0..n_units {
                let place = self.any_place();
                let ask = self.ask(unit, place, each as i64);
                spent += self.step(ask).1;
                n_asked += each;
            }
        }
        let rate = self.live.len() as f64 / spent.as_secs_f64();
        println!("  filled with {} grants: {rate:.0} grants/s", self.live.len());
        self.tell_use();
    }

    fn tell_use(&self) {
        let total = self.ledger.total();
        let percent = |used: u64, total: u64| used as f64 / total as f64 * 100.0;
        report("scheduled CPU", percent(self.used.cpu.0, total.cpu.0), (97.0, "%"));
        report("scheduled memory", percent(self.used.memory.0, total.memory.0), (97.0, "%"));
    }

    /// Lets workers end and others be asked for; the mean decision, in microseconds.
    fn churn(&mut self) -> f64 {
        let n_units = self.definitions.len() as u64;
        let (mut n_events, mut asking, mut each) = (0, Duration::ZERO, Vec::with_capacity(CHURN));
        for _ in 0..CHURN {
            let pick = self.random.random_range(0..self.live.len());
            let (grant, unit, _) = self.live.swap_remove(pick);
            self.used = self.used.minus(self.definitions[unit.0 as usize].shape);
            let (n_decided, spent) = self.step(Event::Return { grant });
            each.push(spent);
            let (unit, place) = (self.random.random_range(0..n_units), self.any_place());
            let ask = self.ask(unit, place, 1);
            asking += self.step(ask).1;
            n_events += 1 + n_decided;
        }
        let returning: Duration = each.iter().sum();
        each.sort_unstable();
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        let mean = micros(returning) / CHURN as f64;
        report("decision, mean", mean, (10.0, "us"));
        let at = |per_mille: usize| micros(each[CHURN / 1000 * per_mille]);
        println!("  decision, p50 {:.2} us, p90 {:.2} us, p99 {:.2} us", at(500), at(900), at(990));
        report("decision, p99.9", at(999), (100.0, "us"));
        let rate = n_events as f64 / returning.as_secs_f64();
        report("grants and releases", rate, (1_000_000.0, "per second"));
        println!("  an ask, with what can be granted at once: {:.2} us", micros(asking) / CHURN as f64);
        self.tell_use();
        mean
    }

    /// One tick long after everybody has begun to wait: higher priorities take from lower ones.
    fn make_room(&mut self) {
        const LIMIT: f64 = 100.0;
        let start = kit::clock::monotonic();
        let decisions = self.ledger.step(Event::Tick, Duration::from_secs(60));
        let spent = start.elapsed().as_secs_f64();
        let n_revoked =
            decisions.iter().filter(|decision| matches!(decision, Decision::Revoke { .. })).count();
        let each = spent * 1e6 / n_revoked.max(1) as f64;
        report(
            &format!("{n_revoked} revoked for higher priorities in {:.1} ms", spent * 1e3),
            each,
            (LIMIT, "us each"),
        );
    }

    /// Tells a new ledger all that the old one knew, until it has granted something.
    fn fail_over(&mut self) -> anyhow::Result<()> {
        const LIMIT: f64 = 3.0;
        let n_units = self.definitions.len();
        let mut truths: Vec<Truth> = (0..n_units)
            .map(|unit| {
                let (sequence, seen) = (self.sequences[unit], self.ledger.last_grant());
                let wanted = vec![(Place::Cluster, self.ledger.n_waiting(UnitId(unit as u64)))];
                Truth { sequence, seen, wanted, held: Vec::new(), avoided: Vec::new() }
            })
            .collect();
        for (grant, unit, machine) in &self.live {
            truths[unit.0 as usize].held.push((*grant, *machine));
        }
        let n_held = self.live.len();
        let start = kit::clock::monotonic();
        self.ledger = self.prepared()?;
        self.ledger.step(Event::Recover, Duration::ZERO);
        for (unit, truth) in truths.into_iter().enumerate() {
            self.ledger.step(Event::Sync { unit: UnitId(unit as u64), truth }, Duration::ZERO);
        }
        self.ledger.step(Event::Recovered, Duration::ZERO);
        // Nobody may wait for as little as one place that comes back.
        let mut returned = self.live.iter().map(|(grant, ..)| Event::Return { grant: *grant });
        let granted = returned.any(|event| !self.ledger.step(event, Duration::ZERO).is_empty());
        let seconds = start.elapsed().as_secs_f64();
        anyhow::ensure!(granted, "the new ledger goes on granting");
        report(&format!("failover with {n_held} held and {WAITING} waiting"), seconds, (LIMIT, "s"));
        Ok(())
    }
}

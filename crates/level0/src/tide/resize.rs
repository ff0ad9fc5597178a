//! Which service on a host that was handed over gets which size, and which gets back what it had.
//!
//! ```text
//!   rule, room on the host ──► Grow: marked, then resized ──► Grown ──host goes back──► Return: resized, then unmarked
//!                         └──► Deferred, Infeasible: as it is, and looked at again
//! ```
//!
//! Only what still is as the tide made it is put back: what somebody else changed meanwhile is theirs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Size;

/// Amounts of containers by `CONTAINER/requests/cpu` and the like; processor time in milli-cores, memory in bytes.
pub type Amounts = BTreeMap<String, u64>;

/// In percent of what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    pub cpu: u32,
    pub memory: u32,
}

/// A Pod of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub id: String,
    pub priority: i32,
    pub made: Timestamp,
    /// What its containers ask for now.
    pub amounts: Amounts,
    /// What it is reckoned with on its host.
    pub takes: Size,
    /// What it is to have while its host is the services'; none where it is to be as it was.
    pub factor: Option<Factor>,
    pub mark: Option<Marked>,
}

/// What a Pod was and was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub from: Amounts,
    pub to: Amounts,
    pub is_refused: bool,
}

/// What becomes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resize {
    /// It gets these amounts.
    Grow(Amounts),
    /// It has them.
    Grown,
    /// The others on its host leave no room.
    Deferred,
    /// Its host is too small.
    Infeasible,
    /// The server refused it.
    Refused,
    /// These amounts are what they were before.
    Return(Vec<String>),
}

/// What becomes of the services of one host; those of whom nothing is owed are left out. `others` is what is taken by Pods
/// that are not among `services`.
pub fn resize(allocatable: Size, others: Size, services: &[Service]) -> BTreeMap<String, Resize> {
    let mut taken = services.iter().fold(others, |sum, service| plus(sum, service.takes));
    let mut sorted: Vec<&Service> = services.iter().collect();
    sorted.sort_by_key(|service| (std::cmp::Reverse(service.priority), service.made, &service.id));
    let mut told = BTreeMap::new();
    for service in sorted {
        let Some(resize) = one(allocatable, taken, service) else { continue };
        if let Resize::Grow(to) = &resize {
            taken = plus(taken, growth(&service.amounts, to));
        }
        told.insert(service.id.clone(), resize);
    }
    told
}

fn one(allocatable: Size, taken: Size, service: &Service) -> Option<Resize> {
    let Some(factor) = service.factor else {
        let mark = service.mark.as_ref()?;
        return Some(Resize::Return(to_put_back(&service.amounts, mark)));
    };
    let to = match &service.mark {
        Some(mark) if mark.is_refused => return Some(Resize::Refused),
        // Marked, and then whoever did it was stopped.
        Some(mark) if service.amounts == mark.from => mark.to.clone(),
        Some(_) => return Some(Resize::Grown),
        None => service
            .amounts
            .iter()
            .map(|(place, amount)| (place.clone(), grown(place, *amount, factor)))
            .collect(),
    };
    if to == service.amounts {
        return None;
    }
    let more = growth(&service.amounts, &to);
    let fits = |taken: Size| within(plus(taken, more), allocatable, more);
    Some(if fits(taken) {
        Resize::Grow(to)
    } else if fits(service.takes) {
        Resize::Deferred
    } else {
        Resize::Infeasible
    })
}

fn grown(place: &str, amount: u64, factor: Factor) -> u64 {
    let percent = match place.rsplit('/').next() {
        Some("cpu") => factor.cpu,
        Some("memory") => factor.memory,
        _ => 100,
    };
    let grown = (u128::from(amount) * u128::from(percent.max(100))).div_ceil(100);
    u64::try_from(grown).unwrap_or(u64::MAX)
}

/// Those that are as the tide made them, and were not so before.
fn to_put_back(now: &Amounts, mark: &Marked) -> Vec<String> {
    let is_ours = |place: &&String| {
        let (from, to) = (mark.from.get(*place), mark.to.get(*place));
        from.is_some() && from != to && now.get(*place) == to
    };
    mark.from.keys().filter(is_ours).cloned().collect()
}

/// How much more is asked for; limits take no room.
fn growth(from: &Amounts, to: &Amounts) -> Size {
    let more = |resource: &str| {
        let end = format!("/requests/{resource}");
        let places = to.iter().filter(|(place, _)| place.ends_with(&end));
        places.fold(0_u64, |sum, (place, amount)| {
            sum.saturating_add(amount.saturating_sub(from.get(place).copied().unwrap_or(0)))
        })
    };
    Size { milli_cpu: more("cpu"), memory: more("memory") }
}

fn plus(one: Size, other: Size) -> Size {
    Size {
        milli_cpu: one.milli_cpu.saturating_add(other.milli_cpu),
        memory: one.memory.saturating_add(other.memory),
    }
}

/// Of what does not grow there may be too little already.
fn within(size: Size, most: Size, more: Size) -> bool {
    (more.milli_cpu == 0 || size.milli_cpu <= most.milli_cpu)
        && (more.memory == 0 || size.memory <= most.memory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: Size = Size { milli_cpu: 1000, memory: 1000 };

    fn amounts(requests: u64, limits: u64) -> Amounts {
        let one =
            |field: &str, cpu: u64| [(format!("web/{field}/cpu"), cpu), (format!("web/{field}/memory"), cpu)];
        one("requests", requests).into_iter().chain(one("limits", limits)).collect()
    }

    fn service(id: &str, priority: i32, request: u64) -> Service {
        Service {
            id: id.to_owned(),
            priority,
            made: Timestamp::UNIX_EPOCH,
            amounts: amounts(request, request * 2),
            takes: Size { milli_cpu: request, memory: request },
            factor: Some(Factor { cpu: 200, memory: 100 }),
            mark: None,
        }
    }

    fn told(others: u64, services: &[Service]) -> Vec<(String, Resize)> {
        resize(HOST, Size { milli_cpu: others, memory: 0 }, services).into_iter().collect()
    }

    fn marked(request: u64, is_refused: bool) -> Service {
        let before = service("a", 0, request);
        let Resize::Grow(to) = told(0, std::slice::from_ref(&before)).remove(0).1 else { panic!("it grows") };
        Service { mark: Some(Marked { from: before.amounts.clone(), to, is_refused }), ..before }
    }

    /// As it is after it was resized.
    fn grown_up(request: u64) -> Service {
        let mut service = marked(request, false);
        service.amounts = service.mark.as_ref().unwrap().to.clone();
        service.takes.milli_cpu *= 2;
        service
    }

    #[test]
    fn each_gets_what_it_is_to_have() {
        let check = |others: u64, service: Service, expected: Option<Resize>| {
            let told = told(others, std::slice::from_ref(&service)).pop();
            assert_eq!(told.map(|(_, resize)| resize), expected, "{others} {service:?}");
        };
        let mut doubled = amounts(300, 600);
        doubled.insert("web/requests/cpu".to_owned(), 600);
        doubled.insert("web/limits/cpu".to_owned(), 1200);
        check(0, service("a", 0, 300), Some(Resize::Grow(doubled.clone())));
        check(400, service("a", 0, 300), Some(Resize::Grow(doubled.clone())));
        check(401, service("a", 0, 300), Some(Resize::Deferred));
        check(0, service("a", 0, 501), Some(Resize::Infeasible));
        check(0, Service { amounts: Amounts::new(), ..service("a", 0, 300) }, None);
        check(0, Service { factor: None, ..service("a", 0, 300) }, None);
        check(0, marked(300, false), Some(Resize::Grow(doubled)));
        check(0, marked(300, true), Some(Resize::Refused));
        // A host that has shrunk takes nothing back.
        check(900, grown_up(300), Some(Resize::Grown));
        let places = ["web/limits/cpu", "web/requests/cpu"].map(str::to_owned).to_vec();
        check(900, Service { factor: None, ..grown_up(300) }, Some(Resize::Return(places)));
        check(0, Service { factor: None, ..marked(300, false) }, Some(Resize::Return(Vec::new())));
        let mut theirs = Service { factor: None, ..grown_up(300) };
        theirs.amounts.insert("web/limits/cpu".to_owned(), 5);
        check(0, theirs, Some(Resize::Return(vec!["web/requests/cpu".to_owned()])));
    }

    #[test]
    fn room_goes_to_those_of_higher_priority_first() {
        let all = [service("a", 0, 300), service("b", 7, 300)];
        let told = told(0, &all);
        assert!(matches!(&told[..], [(_, Resize::Deferred), (_, Resize::Grow(_))]), "{told:?}");
    }

    fn any_service() -> impl Strategy<Value = Service> {
        (0_u64..400, 0_i32..3, 100_u32..400, 100_u32..400).prop_map(|(request, priority, cpu, memory)| {
            Service { factor: Some(Factor { cpu, memory }), ..service("", priority, request) }
        })
    }

    proptest! {
        /// Nobody grows beyond the host, nobody shrinks, and all come back to what they were, however far they came.
        #[test]
        fn a_window_leaves_no_trace(mut services in prop::collection::vec(any_service(), 1..6), stopped in any::<u8>()) {
            (0..).zip(&mut services).for_each(|(number, service): (usize, _)| service.id = number.to_string());
            let before = services.clone();
            let none = Size { milli_cpu: 0, memory: 0 };
            let sum = |services: &[Service]| services.iter().fold(none, |sum, service| plus(sum, service.takes));
            for (id, resize) in resize(HOST, none, &services) {
                let Resize::Grow(to) = resize else { continue };
                let at: usize = id.parse().unwrap();
                let service = &mut services[at];
                prop_assert!(to.iter().all(|(place, amount)| *amount >= service.amounts[place]));
                service.mark = Some(Marked { from: service.amounts.clone(), to: to.clone(), is_refused: false });
                // Some were marked when their controller was killed, and not resized.
                if stopped >> at & 1 == 0 {
                    service.takes = plus(service.takes, growth(&service.amounts, &to));
                    service.amounts = to;
                }
            }
            let (first, after) = (sum(&before), sum(&services));
            prop_assert!(after.milli_cpu <= HOST.milli_cpu.max(first.milli_cpu));
            prop_assert!(after.memory <= HOST.memory.max(first.memory));
            services.iter_mut().for_each(|service| service.factor = None);
            for (id, resize) in resize(HOST, none, &services) {
                let Resize::Return(places) = resize else { panic!("{resize:?} of what is over") };
                let service = &mut services[id.parse::<usize>().unwrap()];
                let from = service.mark.take().unwrap().from;
                places.into_iter().for_each(|place| { service.amounts.insert(place.clone(), from[&place]); });
            }
            for (service, before) in services.iter().zip(&before) {
                prop_assert_eq!((&service.amounts, &service.mark), (&before.amounts, &None));
            }
        }
    }
}

//! A world with hosts, batch that comes and goes, and somebody who grants it places and keeps to what Nodes say.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::*;
use super::{at, seconds};

/// What else happens in a second.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Nothing,
    /// The controller ends when it has decided, and nobody knows.
    EndsBefore,
    /// It ends when its status stands, and nothing was done.
    EndsAfter,
    /// A host fails, or is well again.
    Flips(usize),
    /// The clock of the controller jumps, and jumps back when it comes to it.
    Jumps(i64),
    Wants(usize),
    /// The window is undone, or wanted all the same.
    Undone(bool),
}

pub(super) fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => Just(Happening::Nothing),
        2 => Just(Happening::EndsBefore),
        2 => Just(Happening::EndsAfter),
        1 => (0usize..7).prop_map(Happening::Flips),
        1 => (-600i64..600).prop_map(Happening::Jumps),
        1 => (0usize..7).prop_map(Happening::Wants),
        1 => any::<bool>().prop_map(Happening::Undone),
    ]
}

#[derive(Debug)]
struct Work {
    unit: Unit,
    /// Until its present instance ends; of some nobody knows when.
    left: Option<i64>,
}

#[derive(Debug)]
struct Place {
    name: String,
    is_able: bool,
    mark: Option<TideMark>,
    works: Vec<Work>,
}

pub(super) struct World {
    places: Vec<Place>,
    /// What was granted and is not there yet, by place.
    coming: Vec<(usize, Work)>,
    pub(super) terms: Terms,
    pub(super) window: Window,
    pub(super) undone: bool,
    pub(super) now: Timestamp,
    pub(super) held: Vec<Held>,
    pub(super) turn: Option<Turn>,
    /// The most hosts that were wanted so far.
    most: usize,
    random: u64,
    n_units: usize,
}

const CPU: u64 = 4000;

impl World {
    pub(super) fn new(n_hosts: usize, terms: Terms, seed: u64) -> Self {
        let place = |index| Place { name: format!("h{index}"), is_able: true, mark: None, works: Vec::new() };
        let from = at(10_000);
        let mut world = Self {
            places: (0..n_hosts).map(place).collect(),
            coming: Vec::new(),
            terms,
            window: Window { from, to: after(from, seconds(30)) },
            undone: false,
            now: before(from, terms.lead + seconds(20)),
            held: Vec::new(),
            turn: None,
            most: terms.wanted,
            random: seed | 1,
            n_units: 0,
        };
        (0..10).for_each(|_| world.grant());
        world
    }

    /// A number that looks random.
    fn random(&mut self, below: u64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        i64::try_from((self.random >> 16) % below).unwrap()
    }

    pub(super) fn second(&mut self, happening: Happening) {
        match happening {
            Happening::Nothing | Happening::EndsBefore | Happening::EndsAfter => {}
            Happening::Flips(index) => {
                let index = index % self.places.len();
                self.places[index].is_able ^= true;
            }
            Happening::Jumps(by) => self.now = after(self.now, seconds(by)),
            Happening::Wants(wanted) => {
                self.terms.wanted = wanted.min(self.places.len());
                self.most = self.most.max(self.terms.wanted);
            }
            Happening::Undone(undone) => self.undone = undone,
        }
        self.now = after(self.now, seconds(1));
        for (index, work) in std::mem::take(&mut self.coming) {
            self.places[index].works.push(work);
        }
        self.work();
        self.grant();
        self.control(happening);
    }

    /// Instances end, and others begin where they may.
    fn work(&mut self) {
        let lengths: Vec<i64> = (0..64).map(|_| self.random(1 << 16)).collect();
        for place in &mut self.places {
            let drains = place.mark.as_ref().is_some_and(|mark| mark.state != MarkState::Announced);
            let mut number = 0;
            place.works.retain_mut(|work| {
                number += 1;
                work.unit.age += seconds(1);
                if let Some(going) = &mut work.unit.going {
                    *going -= seconds(1);
                }
                if let (Pace::Once { left }, None) = (&mut work.unit.pace, work.unit.going) {
                    *left = (*left - seconds(1)).max(seconds(1));
                }
                work.left = work.left.map(|left| left - 1);
                if work.left.is_none_or(|left| left > 0) {
                    return true;
                }
                let Pace::Repeats { each: Some(each) } = work.unit.pace else { return false };
                work.left = Some(1 + lengths[number % lengths.len()] % each.as_secs());
                work.unit.going.is_none() && !drains
            });
        }
    }

    /// Whoever grants places keeps to the marks that it sees; what it grants is there a second later.
    fn grant(&mut self) {
        for index in 0..self.places.len() {
            let place = &self.places[index];
            let offer = match &place.mark {
                None => CPU,
                Some(mark) if mark.is_whole() || mark.state == MarkState::Announced => 0,
                Some(mark) => TideMark::left_of(mark.percent, CPU),
            };
            let used = u64::try_from(place.works.len()).unwrap() * 1000;
            if used + 1000 > offer || self.random(3) > 0 {
                continue;
            }
            self.n_units += 1;
            let length = 1 + self.random(90);
            let (pace, left) = match self.random(3) {
                0 => (Pace::Unknown, None),
                1 => (Pace::Repeats { each: Some(seconds(length)) }, Some(1 + self.random(90) % length)),
                _ => (Pace::Once { left: seconds(length) }, Some(1 + self.random(120))),
            };
            let priority = i32::try_from(self.random(3)).unwrap();
            let unit = super::unit(&format!("u{}", self.n_units), priority, 0, pace);
            self.coming.push((index, Work { unit, left }));
        }
    }

    fn control(&mut self, happening: Happening) {
        let offer = Size { milli_cpu: CPU, memory: 1 << 30 };
        let host = |place: &Place| Host {
            name: place.name.clone(),
            is_selected: true,
            is_able: place.is_able,
            mark: place.mark.clone(),
            offer,
            units: place.works.iter().map(|work| work.unit.clone()).collect(),
        };
        let hosts: Vec<Host> = self.places.iter().map(host).collect();
        let window = (!self.undone).then_some(self.window);
        let turn = step(&self.held, &Sight { terms: self.terms, window, hosts: &hosts, now: self.now });
        if !matches!(happening, Happening::EndsBefore) {
            self.held.clone_from(&turn.held);
            if !matches!(happening, Happening::EndsAfter) {
                self.act(&turn);
            }
        }
        self.turn = Some(turn);
    }

    fn act(&mut self, turn: &Turn) {
        let percent = self.terms.percent;
        for index in 0..self.places.len() {
            let random = self.random(1 << 16);
            let place = &mut self.places[index];
            let phase = turn.held.iter().find(|held| held.name == place.name).map(|held| held.phase);
            place.mark = phase.and_then(mark_state).map(|state| TideMark::new("t", state, percent));
            for work in &mut place.works {
                if let Some(grace) = turn.revoked.get(&work.unit.id) {
                    work.unit.going = Some(*grace);
                    work.left = Some((random % (grace.as_secs() + 1)).max(1));
                }
            }
        }
    }

    pub(super) fn n_handed_over(&self) -> usize {
        let states = self.places.iter().filter_map(|place| place.mark.as_ref());
        states.filter(|mark| mark.state == MarkState::HandedOver).count()
    }

    pub(super) fn is_as_before(&self) -> bool {
        self.held.is_empty() && self.places.iter().all(|place| place.mark.is_none())
    }

    pub(super) fn check(&self) -> Result<(), TestCaseError> {
        let n_closed = self.places.iter().filter(|place| place.mark.is_some()).count();
        prop_assert!(n_closed <= self.most, "{n_closed} closed, {} wanted", self.most);
        let turn = self.turn.as_ref().unwrap();
        let names: BTreeSet<&String> = turn.held.iter().map(|held| &held.name).collect();
        prop_assert_eq!(names.len(), turn.held.len());
        for place in &self.places {
            let handed = place.mark.as_ref().is_some_and(|mark| mark.state == MarkState::HandedOver);
            if !handed {
                continue;
            }
            let phase = self.held.iter().find(|held| held.name == place.name).map(|held| held.phase);
            prop_assert!(
                matches!(phase, Some(TidePhase::HandedOver | TidePhase::Returning)),
                "{} is handed over and {phase:?}",
                place.name
            );
            let is_whole = self.terms.percent >= 100;
            prop_assert!(!is_whole || place.works.is_empty(), "batch is on {}", place.name);
        }
        Ok(())
    }
}

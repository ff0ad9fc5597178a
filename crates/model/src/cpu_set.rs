//! Sets of CPUs by their numbers, in the kernel's list format: `0-3,8`.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// More CPUs than any kernel is built for; a list that names larger numbers is a mistake.
pub const MOST_CPUS: usize = 8192;

/// CPUs of one machine. Equal sets compare equal, whatever was in them before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CpuSet {
    /// Bit by bit from CPU 0 on; the last word is never zero.
    words: Vec<u64>,
}

/// A list of CPUs that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is not a CPU number below {MOST_CPUS}, nor a range of them such as 4-7")]
pub struct CpuListError {
    part: String,
}

impl CpuSet {
    /// Numbers from [`MOST_CPUS`] on are left out.
    pub fn insert(&mut self, cpu: usize) {
        if cpu >= MOST_CPUS {
            return;
        }
        if self.words.len() <= cpu / 64 {
            self.words.resize(cpu / 64 + 1, 0);
        }
        self.words[cpu / 64] |= 1 << (cpu % 64);
    }

    pub fn contains(&self, cpu: usize) -> bool {
        self.words.get(cpu / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let bits = |word: u64| (0..64).filter(move |bit| word & (1 << bit) != 0);
        self.words
            .iter()
            .enumerate()
            .flat_map(move |(place, &word)| bits(word).map(move |bit| place * 64 + bit))
    }

    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    /// Takes all of `other` out.
    pub fn subtract(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, less)| *word &= !less);
        self.trim();
    }

    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// What both have.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let words = self.words.iter().zip(&other.words).map(|(one, other)| one & other).collect();
        let mut common = Self { words };
        common.trim();
        common
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        self.without(other).is_empty()
    }

    fn trim(&mut self) {
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        let mut set = Self::default();
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

impl FromStr for CpuSet {
    type Err = CpuListError;

    /// An empty list is an empty set.
    fn from_str(list: &str) -> Result<Self, CpuListError> {
        let mut set = Self::default();
        for part in list.trim().split(',').filter(|part| !part.is_empty()) {
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&cpu| cpu < MOST_CPUS);
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
            let (first, last) = range.ok_or_else(|| CpuListError { part: part.to_owned() })?;
            (first..=last).for_each(|cpu| set.insert(cpu));
        }
        Ok(set)
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CpuSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(list: &str, expected: Option<&[usize]>) {
        let set: Option<Vec<usize>> = list.parse::<CpuSet>().ok().map(|set| set.iter().collect());
        assert_eq!(set.as_deref(), expected, "{list}");
    }

    #[test]
    fn lists_as_the_kernel_writes_them() {
        check("", Some(&[]));
        check("\n", Some(&[]));
        check("0-3,8\n", Some(&[0, 1, 2, 3, 8]));
        check("63-65,128", Some(&[63, 64, 65, 128]));
        check("8191", Some(&[8191]));
        check("8192", None);
        check("3-1", None);
        check("0-99999999999", None);
        check("-1", None);
        check("a", None);
        check("0x3", None);
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(one: BTreeSet<u8>, other: BTreeSet<u8>) {
            let set = |plain: &BTreeSet<u8>| plain.iter().map(|&cpu| usize::from(cpu)).collect::<CpuSet>();
            let plain = |set: &CpuSet| set.iter().map(|cpu| u8::try_from(cpu).unwrap()).collect::<BTreeSet<u8>>();
            let (a, b) = (set(&one), set(&other));
            prop_assert_eq!(a.len(), one.len());
            prop_assert_eq!(plain(&a.without(&b)), &one - &other);
            prop_assert_eq!(plain(&a.common(&b)), &one & &other);
            prop_assert_eq!(a.is_subset(&b), one.is_subset(&other));
            let mut both = a.clone();
            both.add(&b);
            prop_assert_eq!(plain(&both), &one | &other);
            // What was put in and taken out again leaves no trace.
            both.subtract(&b.without(&a));
            prop_assert_eq!(&both, &a);
            prop_assert_eq!(a.to_string().parse::<CpuSet>(), Ok(a.clone()));
            prop_assert_eq!(a.is_empty(), one.is_empty());
        }
    }
}

//! What a Pod that wants CPUs of its own asks for, and whether it may.
//!
//! It says so by annotations: `crest.dev/cpu-policy` and, if it likes, `crest.dev/numa-policy`. As with Kubernetes'
//! static CPU manager and Koordinator's LSR class, only a Guaranteed Pod with whole CPUs may: what is shared with
//! nobody must be asked for in full.

use std::collections::BTreeMap;
use std::fmt;

use crate::names::{CPU_POLICY, NUMA_POLICY};

/// CPUs of its own that a Pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pinning {
    pub count: u16,
    pub shape: CoreShape,
    pub numa: NumaPolicy,
}

/// How the CPUs of a Pod lie on physical cores: the values of [`CPU_POLICY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CoreShape {
    /// `pinned`: whole cores as far as that goes.
    Any,
    /// `full-cores`: with all hyper-threads, so that nobody else is on its cores.
    Full,
    /// `spread-cores`: each on a core of its own, so that they do not share one with each other.
    Spread,
}

/// How near to each other the CPUs must be: the values of [`NUMA_POLICY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NumaPolicy {
    /// `preferred`: on as few NUMA nodes as can be.
    #[default]
    Preferred,
    /// `single`: on one, and its memory there as well.
    Single,
}

/// What the annotations say, before it is known how much the Pod asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    shape: CoreShape,
    numa: NumaPolicy,
}

/// Why a Pod cannot have CPUs of its own, as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum PinningError {
    #[error("`{0}` is not one of pinned, full-cores, spread-cores")]
    CpuPolicy(String),
    #[error("`{0}` is not one of preferred, single")]
    NumaPolicy(String),
    #[error("needs {CPU_POLICY} beside it, which says how CPUs are pinned")]
    NumaAlone,
    #[error(
        "needs a pod of class Guaranteed, with limits equal to requests for cpu and memory in every container; \
         this one is {0}"
    )]
    Class(String),
    #[error("needs a whole number of CPUs; this pod asks for {0}m")]
    Fraction(u64),
    #[error("asks for more CPUs than any machine has")]
    TooMany,
}

impl Wish {
    pub fn numa(self) -> NumaPolicy {
        self.numa
    }

    /// `None` where nothing is asked for.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, PinningError> {
        let numa = match annotations.get(NUMA_POLICY).map(String::as_str) {
            None => None,
            Some("preferred") => Some(NumaPolicy::Preferred),
            Some("single") => Some(NumaPolicy::Single),
            Some(other) => return Err(PinningError::NumaPolicy(other.to_owned())),
        };
        let shape = match annotations.get(CPU_POLICY).map(String::as_str) {
            None if numa.is_some() => return Err(PinningError::NumaAlone),
            None => return Ok(None),
            Some("pinned") => CoreShape::Any,
            Some("full-cores") => CoreShape::Full,
            Some("spread-cores") => CoreShape::Spread,
            Some(other) => return Err(PinningError::CpuPolicy(other.to_owned())),
        };
        Ok(Some(Self { shape, numa: numa.unwrap_or_default() }))
    }

    /// `class` is Kubernetes' own, `cpu_milli` what the Pod asks for in all.
    pub fn granted(self, class: &str, cpu_milli: u64) -> Result<Pinning, PinningError> {
        if class != "Guaranteed" {
            return Err(PinningError::Class(class.to_owned()));
        }
        if cpu_milli == 0 || !cpu_milli.is_multiple_of(1000) {
            return Err(PinningError::Fraction(cpu_milli));
        }
        let count = u16::try_from(cpu_milli / 1000).map_err(|_| PinningError::TooMany)?;
        Ok(Pinning { count, shape: self.shape, numa: self.numa })
    }
}

impl PinningError {
    /// The annotation that it is about.
    pub fn annotation(&self) -> &'static str {
        match self {
            Self::NumaPolicy(_) | Self::NumaAlone => NUMA_POLICY,
            Self::CpuPolicy(_) | Self::Class(_) | Self::Fraction(_) | Self::TooMany => CPU_POLICY,
        }
    }
}

impl fmt::Display for CoreShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "pinned",
            Self::Full => "full-cores",
            Self::Spread => "spread-cores",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = Result<Option<Pinning>, PinningError>;

    fn check(policies: [Option<&str>; 2], class: &str, cpu_milli: u64, expected: Asked) {
        let named = [CPU_POLICY, NUMA_POLICY].into_iter().zip(policies);
        let annotations =
            named.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
        let asked = Wish::of(&annotations)
            .and_then(|wish| wish.map(|wish| wish.granted(class, cpu_milli)).transpose());
        assert_eq!(asked, expected, "{policies:?} {class} {cpu_milli}");
    }

    #[test]
    fn who_may_ask_for_what() {
        let granted = |count, shape, numa| Ok(Some(Pinning { count, shape, numa }));
        let refused = Err::<Option<Pinning>, _>;
        check([None, None], "Burstable", 500, Ok(None));
        check([Some("pinned"), None], "Guaranteed", 3000, granted(3, CoreShape::Any, NumaPolicy::Preferred));
        check(
            [Some("full-cores"), Some("single")],
            "Guaranteed",
            4000,
            granted(4, CoreShape::Full, NumaPolicy::Single),
        );
        check(
            [Some("spread-cores"), Some("preferred")],
            "Guaranteed",
            1000,
            granted(1, CoreShape::Spread, NumaPolicy::Preferred),
        );
        check(
            [Some("Pinned"), None],
            "Guaranteed",
            1000,
            refused(PinningError::CpuPolicy("Pinned".to_owned())),
        );
        check(
            [Some("pinned"), Some("")],
            "Guaranteed",
            1000,
            refused(PinningError::NumaPolicy(String::new())),
        );
        check([None, Some("single")], "Guaranteed", 1000, refused(PinningError::NumaAlone));
        check(
            [Some("pinned"), None],
            "Burstable",
            1000,
            refused(PinningError::Class("Burstable".to_owned())),
        );
        check([Some("pinned"), None], "Guaranteed", 1500, refused(PinningError::Fraction(1500)));
        check([Some("pinned"), None], "Guaranteed", 0, refused(PinningError::Fraction(0)));
        check([Some("pinned"), None], "Guaranteed", 70_000_000, refused(PinningError::TooMany));
    }
}

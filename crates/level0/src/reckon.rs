//! How online's Pods count against what batch may have, one by one.
//!
//! | | measured | not measured |
//! |---|---|---|
//! | shares its CPUs | by use, or by its request, as the policy says | by its request, or what it uses while it is new |
//! | its CPUs are its own | by its request, or its use if that is more | the same |
//!
//! What the host uses and no Pod is the system's, and never less than what is reserved for it.

use crate::peak::amount;

/// By what online's Pods count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Basis {
    /// What they use: batch lives on what they leave idle.
    #[default]
    Use,
    /// What they ask for: nothing that was promised is lent. The system counts by what is reserved for it.
    Request,
    /// Whatever is more.
    Larger,
}

/// An online Pod and one resource, in milli-cores or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pod {
    pub request: f64,
    /// What it uses now; `None` before it could be measured.
    pub measured: Option<f64>,
    /// What it uses before that tells what it will use: its own, and not the system's.
    pub while_new: f64,
    /// Of what it uses, what the host takes for unused: pages of files that can be dropped, though not at once.
    pub cache: f64,
    /// What it may want at its peak; `None` while its app is not known well enough.
    pub predicted: Option<f64>,
    /// Whether nobody else may use what it leaves idle.
    pub is_pinned: bool,
    /// Whether it lives on what other services requested and do not use.
    pub is_mid: bool,
}

/// One resource of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    pub capacity: f64,
    /// All that is in use, by whomever.
    pub used: f64,
    /// Of that, by batch: without its cache, where that is not in use to the host.
    pub batch: f64,
    /// What is kept for the system whether it uses it or not.
    pub reserved: f64,
    pub online: Vec<Pod>,
}

/// What is not batch's, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub capacity: f64,
    /// As the basis has it.
    pub system: f64,
    /// What nobody else uses or is kept for the system, whatever the basis.
    pub system_in_use: f64,
    /// Of those who count by use: what they use now.
    pub measured: f64,
    /// And what they may want at their peak.
    pub predicted: f64,
    /// Of those who count by what they ask for.
    pub requested: f64,
}

/// Adds up what is not batch's.
pub fn reckon(basis: Basis, host: &Host) -> Sum {
    let mut sum = Sum { capacity: amount(host.capacity), ..Sum::default() };
    let mut in_use = amount(host.batch);
    for pod in &host.online {
        let request = amount(pod.request);
        let measured = pod.measured.map(amount);
        let predicted = pod.predicted.map(amount);
        let used = measured.unwrap_or(amount(pod.while_new));
        in_use += (used - amount(pod.cache)).max(0.0);
        match (basis, measured) {
            (Basis::Request, _) => sum.requested += request,
            (Basis::Use, Some(measured)) if !pod.is_pinned => {
                sum.measured += measured;
                // One that wants more than its history tells does not make room for the peaks of others.
                sum.predicted += predicted.unwrap_or(0.0).max(measured);
            }
            (Basis::Use, _) => sum.requested += request.max(used),
            (Basis::Larger, _) => sum.requested += request.max(used).max(predicted.unwrap_or(0.0)),
        }
    }
    let unaccounted = (amount(host.used) - in_use).max(0.0);
    sum.system_in_use = unaccounted.max(amount(host.reserved));
    sum.system = match basis {
        Basis::Request => amount(host.reserved),
        Basis::Use | Basis::Larger => sum.system_in_use,
    };
    sum
}

#[cfg(test)]
mod tests;

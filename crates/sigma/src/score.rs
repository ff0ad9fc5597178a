//! Scores by part: what speaks for a node, and how much. The engine decides by the sum of these very parts, so that what
//! is told of a decision cannot differ from it.

use std::ops::Add;

use serde::Serialize;

use crate::policy::Weights;
use crate::view::FULL;

/// Who has room reserved goes there before all else.
const RESERVED_WEIGHT: u64 = 64;
/// A pinned pod that is split over NUMA nodes is slower wherever it is: more than all that is about room.
const CPUS_WEIGHT: u64 = 8;

/// One of the things that speak for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// How empty the node is, or how full: as the policy has it.
    Fill,
    /// How evenly CPU and memory are used.
    Balance,
    /// How few of the pod's like are on the node.
    Apart,
    /// How few are in its zone and in other domains of several nodes.
    ApartInDomains,
    /// How many of the pods are on the node that it prefers.
    Company,
    /// How many are in its zone and in other domains of several nodes.
    CompanyInDomains,
    NodeAffinity,
    /// How few taints there are that only dislike.
    Taints,
    Images,
    /// Room there is reserved for the pod.
    Reserved,
    /// How little the node is measured to use.
    Coolness,
    /// How near to each other the CPUs are that a pinned pod would get.
    Cpus,
    /// How usable its GPUs stay; outranks all else where there are any.
    Gpus,
}

impl Part {
    pub const ALL: [Self; 13] = [
        Self::Fill,
        Self::Balance,
        Self::Apart,
        Self::ApartInDomains,
        Self::Company,
        Self::CompanyInDomains,
        Self::NodeAffinity,
        Self::Taints,
        Self::Images,
        Self::Reserved,
        Self::Coolness,
        Self::Cpus,
        Self::Gpus,
    ];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Balance => "balance",
            Self::Apart => "apart",
            Self::ApartInDomains => "apartInDomains",
            Self::Company => "company",
            Self::CompanyInDomains => "companyInDomains",
            Self::NodeAffinity => "nodeAffinity",
            Self::Taints => "taints",
            Self::Images => "images",
            Self::Reserved => "reserved",
            Self::Coolness => "coolness",
            Self::Cpus => "cpus",
            Self::Gpus => "gpus",
        }
    }

    fn weight(self, weights: Weights) -> u64 {
        match self {
            Self::Fill => weights.fill.into(),
            Self::Balance => weights.balance.into(),
            Self::Apart | Self::ApartInDomains => weights.apart.into(),
            Self::Company | Self::CompanyInDomains => weights.company.into(),
            Self::NodeAffinity => weights.node_affinity.into(),
            Self::Taints => weights.taints.into(),
            Self::Images => weights.images.into(),
            Self::Reserved => RESERVED_WEIGHT,
            Self::Cpus => CPUS_WEIGHT,
            Self::Coolness | Self::Gpus => 1,
        }
    }
}

const N_PARTS: usize = Part::ALL.len();

/// How much each part counts under one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartWeights([u64; N_PARTS]);

impl PartWeights {
    pub(crate) fn of(weights: Weights) -> Self {
        Self(Part::ALL.map(|part| part.weight(weights)))
    }
}

/// What speaks for a node, each part from 0 to [`FULL`] (GPUs reach further).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score([u64; N_PARTS]);

impl Score {
    pub(crate) fn of<const N: usize>(parts: [(Part, u64); N]) -> Self {
        let mut score = Self::default();
        parts.into_iter().for_each(|(part, value)| score.0[part as usize] = value);
        score
    }

    /// What the engine compares.
    pub(crate) fn total(&self, weights: &PartWeights) -> u64 {
        self.0.iter().zip(weights.0).map(|(value, weight)| value * weight).sum()
    }
}

impl Add for Score {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(value, more)| *value += more);
        self
    }
}

/// What speaks for a node, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeScore {
    pub node: String,
    /// From 1, which is the node that the pod would go to.
    pub rank: usize,
    /// The sum of all points.
    pub total: f64,
    pub parts: Vec<PartScore>,
}

/// A part of a node's score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartScore {
    pub part: Part,
    /// From 0 to 100; for GPUs, what is lost, in thousandths of a GPU, below nothing.
    pub score: f64,
    pub weight: u64,
    /// Score times weight.
    pub points: f64,
}

impl NodeScore {
    /// `base` is what all nodes have for their GPUs: it says nothing.
    pub(crate) fn new(node: &str, rank: usize, base: u64, (score, weights): (&Score, &PartWeights)) -> Self {
        let rated = Part::ALL.into_iter().zip(score.0).zip(weights.0).map(|((part, value), weight)| {
            let base = if part == Part::Gpus { base } else { 0 };
            (part, i128::from(value) - i128::from(base), weight)
        });
        let parts: Vec<(Part, i128, u64)> = rated.collect();
        let total = parts.iter().map(|(_, value, weight)| value * i128::from(*weight)).sum();
        let told = |(part, value, weight): (Part, i128, u64)| PartScore {
            part,
            score: points(value),
            weight,
            points: points(value * i128::from(weight)),
        };
        Self {
            node: node.to_owned(),
            rank,
            total: points(total),
            parts: parts.into_iter().map(told).collect(),
        }
    }
}

/// In hundredths of [`FULL`], to three digits.
fn points(value: i128) -> f64 {
    // Far below 2^53, where whole numbers end to be exact.
    (value as f64 * 100_000.0 / FULL as f64).round() / 1_000.0
}

//! A view from nothing: every row is judged once by labels and taints, and every pod that matters is counted.

use crate::cluster::{Cluster, CountId, CountKey, Row, Template};
use crate::node::{Effect, Taint};
use crate::pod::{InclusionPolicy, Pod, PodTerm, SpreadConstraint, WhenUnsatisfiable};
use crate::reason::Reason;
use crate::score::{Part, PartWeights, Score};
use crate::volume::Place;

use super::forest::Forest;
use super::local::Wishes;
use super::rules::{Level, Limit, Rules, Spread};
use super::tally::{Tally, Topology};
use super::{Cell, FULL, NOWHERE, Seat, View, share};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// What holds for every pod of a class on one row, whatever runs there.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) refused: Option<Reason>,
    matches_affinity: bool,
    tolerates_taints: bool,
    /// Sum of the weights of the preferred terms that match.
    preference: u64,
    /// How many `PreferNoSchedule` taints the pod does not tolerate.
    n_disliked_taints: u64,
}

/// The most that any seat has of what is the same for all pods of a class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Most {
    disliked: u64,
    preferred: u64,
}

impl Fixed {
    /// What taints and preferred labels say for the row.
    pub(super) fn score(&self, most: &Most) -> Score {
        Score::of([
            (Part::Taints, FULL - share(self.n_disliked_taints, most.disliked)),
            (Part::NodeAffinity, share(self.preference, most.preferred)),
        ])
    }
}

/// Judges a row by labels, taints and cordon.
pub(super) fn judge(cluster: &Cluster, pod: &Pod, row: Row) -> Fixed {
    let host = &cluster.hosts[row];
    let label = |key: &str| cluster.labels.get(row, key);
    let selected = pod.node_selector.iter().all(|(key, value)| label(key) == Some(value));
    let required = pod.required_nodes.as_ref();
    let matches_affinity =
        selected && required.is_none_or(|terms| terms.iter().any(|term| term.matches(&host.name, label)));
    let repels = |taint: &&Taint| taint.effect != Effect::PreferNoSchedule && !is_tolerated(pod, taint);
    let untolerated = host.taints.iter().find(repels);
    let refused = if host.is_unschedulable && !tolerates_unschedulable(pod) {
        Some(Reason::Unschedulable)
    } else if let Some(taint) = untolerated {
        Some(Reason::UntoleratedTaint(taint.clone()))
    } else {
        (!matches_affinity).then_some(Reason::NodeAffinity)
    };
    let reaches = |place: &&Place| place.terms.iter().any(|term| term.matches(&host.name, label));
    let unreached = || pod.volumes.places.iter().find(|place| !reaches(place));
    let refused = refused.or_else(|| {
        unreached().map(|place| if place.is_bound { Reason::VolumeAffinity } else { Reason::NoVolume })
    });
    let preferred = pod.preferred_nodes.iter().filter(|each| each.term.matches(&host.name, label));
    let disliked = |taint: &&Taint| taint.effect == Effect::PreferNoSchedule && !is_tolerated(pod, taint);
    Fixed {
        refused,
        matches_affinity,
        tolerates_taints: untolerated.is_none(),
        preference: preferred.map(|each| u64::from(each.weight)).sum(),
        n_disliked_taints: host.taints.iter().filter(disliked).count() as u64,
    }
}

fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

/// A cordoned node is one with this taint, for pods that tolerate it.
fn tolerates_unschedulable(pod: &Pod) -> bool {
    let key = "node.kubernetes.io/unschedulable".to_owned();
    is_tolerated(pod, &Taint { key, value: String::new(), effect: Effect::NoSchedule })
}

impl View {
    pub(crate) fn build(cluster: &Cluster, template: &Template) -> Self {
        let rows: Vec<Row> = cluster.rows_in_order().collect();
        let fixed: Vec<Fixed> = rows.iter().map(|&row| judge(cluster, &template.pod, row)).collect();
        let mut builder = Builder::new(cluster, template);
        builder.spread(&rows, &fixed);
        builder.company();
        builder.interferences();
        let Builder { topologies, tallies, rules, .. } = builder;
        let mut view = Self {
            structure: cluster.structure,
            policy: template.pod.policy,
            weights: PartWeights::of(template.pod.policy.weights),
            most: Most::default(),
            seen: cluster.changes.end(),
            topologies,
            tallies,
            rules,
            wishes: Wishes::default(),
            images: cluster.images.wanted(&template.pod.images),
            seats: Vec::new(),
            seat_of: vec![NOWHERE; cluster.hosts.len()],
            cells: Vec::new(),
            forest: Forest::default(),
            no_fit: None,
            costs: None,
        };
        view.seat(&rows, &fixed);
        view.rules.note_leaning(&view.topologies, &view.tallies);
        let is_any = view.rules.wishes_on_rows(&view.topologies, &view.tallies);
        view.wishes = Wishes::new(view.seats.len(), is_any);
        for (seat, Seat { row, .. }) in view.seats.iter().enumerate() {
            view.wishes.set(seat, view.rules.wish(&view.topologies, &view.tallies, Level::Row, *row));
        }
        view.rules.settle(&view.topologies, &view.tallies);
        view.wishes.settle();
        view.judge_all(cluster, template);
        view
    }

    /// Gives seats to the rows that are not refused, those of a cell beside each other.
    fn seat(&mut self, rows: &[Row], fixed: &[Fixed]) {
        let admitted =
            || rows.iter().zip(fixed).enumerate().filter(|(_, (_, fixed))| fixed.refused.is_none());
        let most =
            |value: fn(&Fixed) -> u64| admitted().map(|(_, (_, fixed))| value(fixed)).max().unwrap_or(0);
        self.most = Most {
            disliked: most(|fixed| fixed.n_disliked_taints),
            preferred: most(|fixed| fixed.preference),
        };
        let mut seats: Vec<Seat> = Vec::new();
        let mut cells = std::collections::HashMap::new();
        for (rank, (&row, fixed)) in admitted() {
            let shared = self.topologies.iter().filter(|topology| !topology.is_single);
            let domains: Vec<Option<usize>> = shared.map(|topology| topology.domain(row)).collect();
            let n_cells = cells.len();
            let cell = *cells.entry(domains).or_insert(n_cells);
            if cell == self.cells.len() {
                self.cells.push(Cell { sample: row });
            }
            let base = fixed.score(&self.most).total(&self.weights);
            seats.push(Seat { row, cell, rank, base });
        }
        seats.sort_by_key(|seat| seat.cell);
        let mut sizes = vec![0; self.cells.len()];
        for (place, seat) in seats.iter().enumerate() {
            sizes[seat.cell] += 1;
            self.seat_of[seat.row] = u32::try_from(place).unwrap_or(NOWHERE);
        }
        self.forest = Forest::new(&sizes);
        self.seats = seats;
    }
}

/// Gathers what the class asks of other pods.
struct Builder<'a> {
    cluster: &'a Cluster,
    template: &'a Template,
    keys: Vec<String>,
    topologies: Vec<Topology>,
    tallies: Vec<Tally>,
    rules: Rules,
}

impl<'a> Builder<'a> {
    fn new(cluster: &'a Cluster, template: &'a Template) -> Self {
        let (keys, topologies, tallies) = (Vec::new(), Vec::new(), Vec::new());
        Self { cluster, template, keys, topologies, tallies, rules: Rules::default() }
    }

    fn topology(&mut self, key: &str) -> usize {
        if let Some(known) = self.keys.iter().position(|each| each == key) {
            return known;
        }
        self.keys.push(key.to_owned());
        self.topologies.push(Topology::of(self.cluster, key));
        self.topologies.len() - 1
    }

    fn tally(&mut self, count: CountId, key: &str, eligible: Option<Vec<bool>>) -> usize {
        let place = self.topology(key);
        self.tallies.push(Tally::new(count, (place, &self.topologies[place]), eligible, self.cluster));
        self.tallies.len() - 1
    }

    /// The constraints of the pod, or, where it has none, a leaning away from its siblings.
    fn spread(&mut self, rows: &[Row], fixed: &[Fixed]) {
        let pod = &*self.template.pod;
        for constraint in &pod.spread {
            let eligible = self.eligible(constraint, rows, fixed);
            let selector = constraint.selector.clone();
            let key =
                selector.map(|selector| CountKey::Selected { namespace: pod.namespace.clone(), selector });
            // A constraint without a selector counts nobody.
            let count = key.and_then(|key| self.cluster.counts.find(&key)).unwrap_or(CountId::NOBODY);
            let tally = self.tally(count, &constraint.topology_key, Some(eligible));
            let is_own = constraint.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels));
            self.rules.spread.push(Spread {
                tally,
                unsatisfiable: constraint.unsatisfiable,
                max_skew: u64::from(constraint.max_skew),
                own: u64::from(is_own),
                min_domains: constraint.min_domains.map_or(0, |least| least as usize),
            });
        }
        let owner = pod.owner.clone().filter(|_| pod.leans_apart());
        let siblings = owner.and_then(|owner| self.cluster.counts.find(&CountKey::Owned { owner }));
        if let Some(count) = siblings {
            [HOST, ZONE].into_iter().for_each(|key| self.lean(count, key));
        }
    }

    fn lean(&mut self, count: CountId, key: &str) {
        // Nodes without zones are all alike.
        let is_known = self.cluster.rows_in_order().any(|row| self.cluster.labels.get(row, key).is_some());
        if !is_known {
            return;
        }
        let tally = self.tally(count, key, None);
        let unsatisfiable = WhenUnsatisfiable::ScheduleAnyway;
        self.rules.spread.push(Spread { tally, unsatisfiable, max_skew: 1, own: 1, min_domains: 0 });
    }

    /// The rows whose pods a constraint counts: those that have the labels of all constraints like it, the hard ones
    /// or the soft ones.
    fn eligible(&self, constraint: &SpreadConstraint, rows: &[Row], fixed: &[Fixed]) -> Vec<bool> {
        let labels = &self.cluster.labels;
        let is_alike = |each: &&SpreadConstraint| each.unsatisfiable == constraint.unsatisfiable;
        let has_all = |row: Row| {
            let spread = self.template.pod.spread.iter().filter(is_alike);
            let mut keys = spread.map(|each| each.topology_key.as_str());
            keys.all(|key| labels.get(row, key).is_some())
        };
        let mut eligible = vec![false; self.cluster.hosts.len()];
        for (&row, fixed) in rows.iter().zip(fixed) {
            eligible[row] = (constraint.affinity_policy == InclusionPolicy::Ignore || fixed.matches_affinity)
                && (constraint.taints_policy == InclusionPolicy::Ignore || fixed.tolerates_taints)
                && has_all(row);
        }
        eligible
    }

    /// The rules against interference that say something about the pod.
    fn interferences(&mut self) {
        let cluster = self.cluster;
        for (name, side) in cluster.interferences.binding(&self.template.pod, &cluster.namespaces) {
            let Some(rule) = cluster.interferences.get(&name) else { continue };
            let [limited, guarded, both] = CountKey::of_interference(rule).map(|key| {
                let count = cluster.counts.find(&key).unwrap_or(CountId::NOBODY);
                self.tally(count, &rule.pods.topology_key, None)
            });
            let at_most = rule.at_most;
            self.rules.limits.push(Limit { name, side, at_most, limited, guarded, both });
        }
    }

    /// The terms of the pod, and those that other pods have declared about it.
    fn company(&mut self) {
        let (cluster, template) = (self.cluster, self.template);
        let pod = &*template.pod;
        let named = |term: &PodTerm| cluster.counts.find(&CountKey::named(term)).unwrap_or(CountId::NOBODY);
        let together = CountKey::Named { terms: pod.required_pods.clone() };
        self.rules.may_be_first = together.matches(pod, &cluster.namespaces);
        let together = cluster.counts.find(&together).unwrap_or(CountId::NOBODY);
        for term in &pod.required_pods {
            let tally = self.tally(together, &term.topology_key, None);
            self.rules.required.push(tally);
        }
        for term in &pod.forbidden_pods {
            let tally = self.tally(named(term), &term.topology_key, None);
            self.rules.forbidden.push(tally);
        }
        for each in &pod.preferred_pods {
            let tally = self.tally(named(&each.term), &each.term.topology_key, None);
            self.rules.wishes.push((i64::from(each.weight), tally));
        }
        for &count in &template.heard {
            let Some(key) = cluster.counts.key(count) else { continue };
            let Some(term) = key.declared() else { continue };
            let tally = self.tally(count, &term.topology_key, None);
            match key {
                CountKey::Attracting { weight, .. } => self.rules.wishes.push((i64::from(*weight), tally)),
                _ => self.rules.repelling.push(tally),
            }
        }
    }
}

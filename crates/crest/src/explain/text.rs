//! What is said of a pod, as people read it.

use std::fmt::Write as _;

use control::sigma::PodExplanation;
use sigma::explain::{Comparison, Count, Explanation};
use sigma::score::{NodeScore, Part};

/// The whole answer.
pub(super) fn told(told: &PodExplanation) -> String {
    let mut lines = vec![format!("pod {}: {}", told.pod, told.message)];
    lines.extend(told.notes.iter().map(|note| format!("note: {note}")));
    if let Some(waiting) = &told.waiting {
        lines.extend(of_waiting(waiting));
    }
    if let Some(preemption) = &told.preemption {
        lines.push(format!(
            "lesser pods would go for it: from node {} {}",
            preemption.node,
            preemption.victims.join(", ")
        ));
    }
    if let Some(placed) = &told.placed {
        lines.extend(of_placed(placed));
    }
    lines.join("\n") + "\n"
}

fn of_waiting(explanation: &Explanation) -> Vec<String> {
    let Explanation { n_nodes, n_feasible, reasons, changes } = explanation;
    let mut lines = vec![match n_feasible {
        0 => format!("none of {n_nodes} nodes would take it by itself"),
        _ => format!("{n_feasible} of {n_nodes} nodes would take it by itself now"),
    }];
    lines.extend(reasons.iter().map(counted));
    if !changes.is_empty() {
        lines.push("what would place it, the smallest change first:".to_owned());
    }
    for change in changes {
        let remedies: Vec<String> = change.remedies.iter().map(ToString::to_string).collect();
        let nodes = match change.n_nodes {
            1 => format!("node {}", change.node),
            count => format!("{count} nodes, such as {}", change.node),
        };
        lines.push(format!("  {}: {nodes}", remedies.join(", and ")));
    }
    lines
}

fn counted(count: &Count) -> String {
    format!("  {:>6}  {}", count.nodes, count.reason)
}

fn of_placed(comparison: &Comparison) -> Vec<String> {
    let Comparison { node, n_nodes, n_feasible, rank, refusals, scores, reasons } = comparison;
    let mut lines = vec![
        "as of today, as if the pod were not there: what counted when it was placed is not kept".to_owned(),
        match rank {
            Some(1) => {
                format!("{node} is the best of {n_feasible} nodes that would take it, of {n_nodes} in all")
            }
            Some(rank) => {
                format!(
                    "{node} is number {rank} of {n_feasible} nodes that would take it, of {n_nodes} in all"
                )
            }
            None if refusals.is_empty() => format!("{node} would not take it again"),
            None => format!("{node} would not take it again: {}", refusals.join(", ")),
        },
    ];
    lines.extend(table(scores, node));
    if !reasons.is_empty() {
        lines.push("nodes that would not:".to_owned());
    }
    lines.extend(reasons.iter().map(counted));
    lines
}

/// A row for each node; a column for each part that tells any two of something.
fn table(scores: &[NodeScore], own: &str) -> Vec<String> {
    let Some(first) = scores.first() else { return Vec::new() };
    let says_something = |part: Part| {
        scores.iter().flat_map(|score| &score.parts).any(|each| each.part == part && each.score != 0.0)
    };
    let shown: Vec<_> = first.parts.iter().filter(|each| says_something(each.part)).collect();
    let width = scores.iter().map(|score| score.node.len()).max().unwrap_or(0).max(4);
    let mut header = format!("  {:>4}    {:width$}  {:>10}", "RANK", "NODE", "SUM");
    let titles: Vec<String> =
        shown.iter().map(|each| format!("{}*{}", each.part.name(), each.weight)).collect();
    for title in &titles {
        write!(header, "  {title:>9}").expect("a string takes all text");
    }
    let row = |score: &NodeScore| {
        let mark = if score.node == own { "*" } else { " " };
        let mut row = format!("  {:>4}  {mark} {:width$}  {:>10.1}", score.rank, score.node, score.total);
        let parts = score.parts.iter().filter(|each| says_something(each.part));
        for (part, title) in parts.zip(&titles) {
            write!(row, "  {:>1$.1}", part.score, title.len().max(9)).expect("a string takes all text");
        }
        row
    };
    std::iter::once(header.clone()).chain(scores.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use sigma::score::PartScore;

    use super::*;

    fn score(node: &str, rank: usize, fill: f64, taints: f64) -> NodeScore {
        let part =
            |part, score, weight: u64| PartScore { part, score, weight, points: score * weight as f64 };
        let parts =
            vec![part(Part::Fill, fill, 1), part(Part::Images, 0.0, 1), part(Part::Taints, taints, 3)];
        let total = parts.iter().map(|part| part.points).sum();
        NodeScore { node: node.to_owned(), rank, total, parts }
    }

    #[test]
    fn scores_are_a_table() {
        let comparison = Comparison {
            node: "worker-10".to_owned(),
            n_nodes: 3,
            n_feasible: 2,
            rank: Some(2),
            refusals: Vec::new(),
            scores: vec![score("a", 1, 62.5, 100.0), score("worker-10", 2, 37.5, 0.0)],
            reasons: vec![Count { reason: "Insufficient cpu".to_owned(), nodes: 1 }],
        };
        expect![[r#"
            as of today, as if the pod were not there: what counted when it was placed is not kept
            worker-10 is number 2 of 2 nodes that would take it, of 3 in all
              RANK    NODE              SUM     fill*1   taints*3
                 1    a               362.5       62.5      100.0
                 2  * worker-10        37.5       37.5        0.0
            nodes that would not:
                   1  Insufficient cpu"#]]
        .assert_eq(&of_placed(&comparison).join("\n"));
    }
}

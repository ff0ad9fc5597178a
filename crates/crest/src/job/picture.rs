//! A job as a page: its tasks as a graph from left to right, each with how far it is. Nothing is loaded from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use kube::ResourceExt;
use model::dagjob::{DagJob, Task};

use super::progress;

const WIDTH: usize = 180;
const HEIGHT: usize = 56;
const ACROSS: usize = WIDTH + 70;
const DOWN: usize = HEIGHT + 20;
const MARGIN: usize = 20;

/// Column and row of every task, by name: a task stands right of all that it depends on.
fn places(tasks: &[Task]) -> BTreeMap<&str, (usize, usize)> {
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    // A valid job has no cycles, so that nothing moves after as many rounds as there are tasks.
    for _ in 0..tasks.len() {
        let mut is_settled = true;
        for task in tasks {
            let after = task.depends_on.iter().filter_map(|name| columns.get(name.as_str())).max();
            let column = after.map_or(0, |column| column + 1).min(tasks.len());
            is_settled &= columns.insert(&task.name, column) == Some(column);
        }
        if is_settled {
            break;
        }
    }
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let place = |task: &&Task| columns.get(task.name.as_str()).copied().unwrap_or(0);
    let mut places = BTreeMap::new();
    for task in tasks {
        let column = place(&task);
        let row = rows.entry(column).or_default();
        places.insert(task.name.as_str(), (column, *row));
        *row += 1;
    }
    places
}

/// The whole page.
pub(super) fn page(job: &DagJob, now: Timestamp) -> String {
    let status = job.status.clone().unwrap_or_default();
    let places = places(&job.spec.tasks);
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or(1);
    let rows = places.values().map(|(_, row)| row + 1).max().unwrap_or(1);
    let (width, height) = (columns * ACROSS + MARGIN, rows * DOWN + MARGIN);
    let (done, all) = progress::instances(&job.spec, &status);
    let left = progress::estimate(&job.spec, &status, now);
    let left = left.map(|left| format!(", about {} left", progress::span(left))).unwrap_or_default();
    let title = escaped(&format!("{} — {:?}, {done} of {all} instances{left}", job.name_any(), status.phase));
    let style = "body{font:14px sans-serif;margin:20px}text{font:13px sans-serif}\
                 rect{rx:6}path{fill:none;stroke:#888;stroke-width:1.5}";
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{style}</style></head>\n<body><h1>{title}</h1>\n\
         <svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n"
    );
    for task in &job.spec.tasks {
        for parent in &task.depends_on {
            if let (Some(from), Some(to)) = (places.get(parent.as_str()), places.get(task.name.as_str())) {
                page.push_str(&arrow(*from, *to));
            }
        }
    }
    for task in progress::tasks(&job.spec, &status) {
        if let Some(place) = places.get(task.name) {
            page.push_str(&node(&task, *place));
        }
    }
    page.push_str("</svg></body></html>\n");
    page
}

fn corner((column, row): (usize, usize)) -> (usize, usize) {
    (MARGIN + column * ACROSS, MARGIN + row * DOWN)
}

fn arrow(from: (usize, usize), to: (usize, usize)) -> String {
    let ((left, top), (right, bottom)) = (corner(from), corner(to));
    let (x1, y1, x2, y2) = (left + WIDTH, top + HEIGHT / 2, right, bottom + HEIGHT / 2);
    let middle = usize::midpoint(x1, x2);
    format!("<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\"/>\n")
}

fn node(task: &progress::TaskProgress<'_>, place: (usize, usize)) -> String {
    let (x, y) = corner(place);
    let (frame, fill) = match task.word() {
        "done" => ("#2e7d32", "#c8e6c9"),
        "running" => ("#1565c0", "#bbdefb"),
        _ => ("#757575", "#e0e0e0"),
    };
    let share = u64::from(task.ended()) * WIDTH as u64;
    let bar = share / u64::from(task.instances.unwrap_or(0).max(1));
    let (name, word) = (escaped(task.name), task.word());
    let counts = format!("{} {word}", task.counts());
    let mut text = String::new();
    // Writing to a text does not fail.
    let _written = writeln!(
        text,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\" stroke=\"{frame}\"/>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{bar}\" height=\"{HEIGHT}\" fill=\"{fill}\"/>\
         <text x=\"{}\" y=\"{}\">{name}</text><text x=\"{}\" y=\"{}\">{counts}</text>",
        x + 10,
        y + 23,
        x + 10,
        y + 43
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use model::dagjob::DagJob;

    use super::super::progress::tests::{spec, status};
    use super::{escaped, page, places};

    #[test]
    fn tasks_stand_right_of_what_they_wait_for() {
        let mut spec = spec();
        spec.tasks[2].depends_on.push("split".to_owned());
        spec.tasks.reverse();
        let places = places(&spec.tasks);
        assert_eq!((places["split"], places["count"], places["merge"]), ((0, 0), (1, 0), (2, 0)));
    }

    #[test]
    fn a_cycle_ends_nothing() {
        let mut spec = spec();
        spec.tasks[0].depends_on.push("merge".to_owned());
        assert_eq!(places(&spec.tasks).len(), 3);
    }

    #[test]
    fn the_page_shows_every_task_and_every_dependency() {
        let mut job = DagJob::new("words", spec());
        job.status = Some(status());
        let page = page(&job, "2030-01-01T00:00:08Z".parse().unwrap());
        assert_eq!(page.matches("<path").count(), 2);
        for text in ["split", "2/8 running", "4 of 11 instances, about 14s left", "</svg>"] {
            assert!(page.contains(text), "{text}: {page}");
        }
        assert_eq!(escaped("a<b & \"c\">"), "a&lt;b &amp; &quot;c&quot;&gt;");
    }
}

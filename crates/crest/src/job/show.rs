//! Jobs as text, JSON or a page.

use std::fmt::Write as _;

use anyhow::Context;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use model::dagjob::DagJob;
use serde_json::json;

use super::{GetOptions, JobOutput, LOOK_INTERVAL, ListOptions, Place, picture, progress};
use crate::cli::Output;
use crate::settings::Settings;

pub(super) async fn list(settings: &Settings, options: &ListOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let jobs = if options.all_namespaces { Api::all(place.client.clone()) } else { place.jobs() };
    let jobs: Vec<DagJob> = jobs.list(&ListParams::default()).await.context("cannot list jobs")?.items;
    match options.output {
        Output::Json => println!("{}", json!({ "items": jobs })),
        Output::Text if jobs.is_empty() && options.all_namespaces => println!("There are no jobs."),
        Output::Text if jobs.is_empty() => println!("No jobs in namespace `{}`.", place.namespace),
        Output::Text => print!("{}", table(&jobs, kit::clock::wall())),
    }
    Ok(())
}

fn table(jobs: &[DagJob], now: Timestamp) -> String {
    let mut rows =
        vec![["NAMESPACE", "NAME", "STATUS", "INSTANCES", "RUNNING", "DURATION", "LEFT"].map(str::to_owned)];
    rows.extend(jobs.iter().map(|job| {
        let status = job.status.clone().unwrap_or_default();
        let (done, all) = progress::instances(&job.spec, &status);
        let running: u64 = status.tasks.values().map(|task| u64::from(task.running)).sum();
        let span = |span: Option<std::time::Duration>| span.map_or_else(|| "-".to_owned(), progress::span);
        [
            job.namespace().unwrap_or_default(),
            job.name_any(),
            format!("{:?}", status.phase),
            format!("{done}/{all}"),
            running.to_string(),
            span(progress::elapsed(&status, now)),
            span(progress::estimate(&job.spec, &status, now)),
        ]
    }));
    columns(&rows)
}

/// Rows with their cells below each other, two blanks apart.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

pub(super) async fn get(settings: &Settings, options: &GetOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let mut shown = String::new();
    loop {
        let job = if options.watch {
            place.there(&options.name, super::patiently(&place.jobs(), &options.name).await?)?
        } else {
            place.job(&options.name).await?
        };
        let told = match options.output {
            JobOutput::Text => text(&job, kit::clock::wall()),
            JobOutput::Json => serde_json::to_string(&job)? + "\n",
            JobOutput::Html => picture::page(&job, kit::clock::wall()),
        };
        if told != shown {
            print!("{told}");
            shown = told;
        }
        if !options.watch || super::phase(&job).is_ended() {
            return Ok(());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A job, task by task.
pub(super) fn text(job: &DagJob, now: Timestamp) -> String {
    let status = job.status.clone().unwrap_or_default();
    let (done, all) = progress::instances(&job.spec, &status);
    let mut text = format!("{}: {:?}, {done} of {all} instances", job.name_any(), status.phase);
    if let Some(elapsed) = progress::elapsed(&status, now) {
        // Writing to a text does not fail.
        let _written = write!(text, ", {}", progress::span(elapsed));
    }
    if let Some(left) = progress::estimate(&job.spec, &status, now) {
        let _written = write!(text, ", about {} left", progress::span(left));
    }
    text.push('\n');
    let mut rows = vec![
        ["TASK", "STATUS", "INSTANCES", "RUNNING", "FAILED", "FAILED ATTEMPTS", "AFTER"].map(str::to_owned),
    ];
    for (task, definition) in progress::tasks(&job.spec, &status).iter().zip(&job.spec.tasks) {
        rows.push([
            task.name.to_owned(),
            task.word().to_owned(),
            task.counts(),
            task.status.running.to_string(),
            task.status.failed.to_string(),
            task.status.failed_attempts.to_string(),
            definition.depends_on.join(","),
        ]);
    }
    text + &columns(&rows)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::dagjob::DagJob;

    use super::super::progress::tests::{spec, status};
    use super::{table, text};

    fn job() -> DagJob {
        let mut job = DagJob::new("words", spec());
        job.metadata.namespace = Some("lab".to_owned());
        job.status = Some(status());
        job
    }

    #[test]
    fn a_job_is_told_task_by_task() {
        let now = "2030-01-01T00:00:08Z".parse().unwrap();
        expect![[r#"
            words: Running, 4 of 11 instances, 8s, about 14s left
            TASK   STATUS        INSTANCES  RUNNING  FAILED  FAILED ATTEMPTS  AFTER
            split  done          2/2        0        0       1
            count  running       2/8        3        0       1                split
            merge  after others  0/1        0        0       1                count
        "#]]
        .assert_eq(&text(&job(), now));
    }

    #[test]
    fn jobs_are_told_line_by_line() {
        let now = "2030-01-01T00:00:08Z".parse().unwrap();
        expect![[r#"
            NAMESPACE  NAME   STATUS   INSTANCES  RUNNING  DURATION  LEFT
            lab        words  Running  4/11       3        8s        14s
                       new    Pending  0/11       0        -         -
        "#]]
        .assert_eq(&table(&[job(), DagJob::new("new", spec())], now));
    }
}

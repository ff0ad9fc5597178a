//! `crest demo`: a web service and a batch job share this machine, in three phases, measured.
//!
//! ```text
//!   alone ──► beside the same batch started plainly ──► beside the batch through Crest ──► report
//! ```
//! The service and its load are the same in every phase. Nothing is assumed about the outcome: what was
//! measured is printed.

mod batch;
mod image;
mod phase;
mod service;

use std::fs;
use std::time::Duration;

use anyhow::Context;
use drill::company;
use drill::report::Report;
use indicatif::ProgressBar;

use crate::cli::{DemoOptions, Output};
use crate::settings::Settings;
use crate::status;

/// Of the whole machine, what the service's load should keep busy.
const SERVICE_SHARE: f64 = 0.30;

pub(crate) fn demo(settings: &Settings, options: &DemoOptions) -> anyhow::Result<()> {
    anyhow::ensure!(options.seconds > 0, "a phase needs at least one second: give --seconds 1 or more");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let progress = ProgressBar::new_spinner();
    progress.enable_steady_tick(Duration::from_millis(120));
    let said = |text: &str| progress.set_message(text.to_owned());

    let client = runtime.block_on(status::client(settings))?;
    said("building the image from Debian's packages");
    let rootfs = image::ensure(settings)?;
    said("starting the service");
    let target = runtime.block_on(service::start(&client))?;

    let mut plan = phase::plan(target, 1, Duration::from_secs(options.seconds));
    plan.requests_per_second = match options.requests_per_second {
        Some(rate) => rate,
        None => {
            said("finding the rate that keeps 30% of the machine busy");
            company::rate_for(&plan, SERVICE_SHARE)?
        }
    };
    let measure =
        |name: &str, finished: &dyn Fn() -> anyhow::Result<u64>| company::measure(name, &plan, finished);
    said("phase 1 of 3: the service alone");
    let alone = measure("service alone", &|| Ok(0))?;
    said("phase 2 of 3: the same batch, started plainly beside it");
    let plain = {
        let crowd = batch::Plain::start(&rootfs)?;
        measure("beside plain batch", &|| Ok(crowd.finished()))?
    };
    said("phase 3 of 3: the batch as a DagJob, through Crest");
    let job = batch::Job::start(&runtime, &client, settings)?;
    let through_crest = measure("with batch through Crest", &|| job.finished())?;
    said("waiting for the job to end");
    let outcome = job.wait()?;

    let report = Report {
        machine: phase::machine(),
        at: kit::clock::wall().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        requests_per_second: plan.requests_per_second,
        phases: vec![alone, plain, through_crest],
    };
    progress.finish_and_clear();
    runtime.block_on(service::remove(&client))?;
    publish(&report, options, &outcome)
}

fn publish(report: &Report, options: &DemoOptions, outcome: &str) -> anyhow::Result<()> {
    let folder = &options.report_dir;
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let json = serde_json::to_string_pretty(report)?;
    for (name, text) in [("report.json", &json), ("report.html", &report.to_html())] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    match options.output {
        Output::Json => println!("{json}"),
        Output::Text => {
            println!("{}\n{outcome}\nReport: {}", report.to_text(), folder.join("report.html").display());
        }
    }
    Ok(())
}

//! `crest job submit`: manifests become jobs, and people see how these get on.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use model::dagjob::{DagJob, JobPhase};
use serde::Deserialize;
use serde_json::Value;

use super::{LOOK_INTERVAL, NOT_SUCCEEDED, Place, SubmitOptions, patiently, progress};
use crate::settings::Settings;

pub(super) async fn submit(settings: &Settings, options: &SubmitOptions) -> anyhow::Result<ExitCode> {
    // All are read before one is made: a mistake in the last file leaves nothing half done.
    let mut jobs = Vec::new();
    for path in &options.files {
        jobs.extend(read(path)?);
    }
    let place = Place::open(settings, &options.cluster).await?;
    let mut made = Vec::new();
    for mut job in jobs {
        job.spec.parameters.extend(options.parameters.iter().cloned());
        let namespace = job.namespace().unwrap_or_else(|| place.namespace.clone());
        let api: Api<DagJob> = Api::namespaced(place.client.clone(), &namespace);
        let job = api
            .create(&PostParams::default(), &job)
            .await
            .with_context(|| format!("cannot create the job `{}`", job.name_any()))?;
        println!("dagjob/{} submitted", job.name_any());
        made.push((api, job.name_any()));
    }
    let mut all_succeeded = true;
    if options.wait {
        for (api, name) in &made {
            all_succeeded &= follow(api, name).await? == JobPhase::Succeeded;
        }
    }
    Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitCode::from(NOT_SUCCEEDED) })
}

fn read(path: &Path) -> anyhow::Result<Vec<DagJob>> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    jobs_of(&text).with_context(|| format!("`{}` holds no jobs that can be submitted", path.display()))
}

fn jobs_of(text: &str) -> anyhow::Result<Vec<DagJob>> {
    let mut jobs = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).context("this is no YAML")?;
        if value.is_null() {
            continue;
        }
        let kind = value["kind"].as_str().unwrap_or_default();
        anyhow::ensure!(
            kind == "DagJob",
            "it holds a `{kind}`; `kubectl apply` takes other kinds than DagJob"
        );
        jobs.push(serde_json::from_value(value).context("this is no DagJob")?);
    }
    anyhow::ensure!(!jobs.is_empty(), "there is no document in it");
    Ok(jobs)
}

/// Shows how a job gets on until it has ended.
async fn follow(jobs: &Api<DagJob>, name: &str) -> anyhow::Result<JobPhase> {
    let bar = ProgressBar::new(0);
    let style = "{prefix} [{bar:30}] {pos}/{len} {msg}";
    bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    loop {
        let job = patiently(jobs, name).await?;
        let job = job.with_context(|| format!("job `{name}` was deleted"))?;
        let status = job.status.clone().unwrap_or_default();
        let (done, all) = progress::instances(&job.spec, &status);
        bar.set_length(all);
        bar.set_position(done);
        let left = progress::estimate(&job.spec, &status, kit::clock::wall());
        let left = left.map(|left| format!(", about {} left", progress::span(left))).unwrap_or_default();
        bar.set_message(format!("{:?}{left}", status.phase));
        if status.phase.is_ended() {
            bar.finish_and_clear();
            let why = status.conditions.iter().find(|condition| condition.type_ == "Failed");
            match why {
                None => println!("dagjob/{name} succeeded: {done} of {all} instances"),
                Some(why) => println!("dagjob/{name} {:?}: {}", status.phase, why.message),
            }
            return Ok(status.phase);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::jobs_of;

    #[test]
    fn what_is_no_job_is_refused_with_a_reason() {
        let job = "apiVersion: crest.dev/v1alpha1\nkind: DagJob\nmetadata: {name: a}\nspec: {tasks: []}\n";
        assert_eq!(jobs_of(&format!("{job}---\n{job}")).unwrap().len(), 2);
        let check = |text: &str, expected: &str| {
            let said = format!("{:#}", jobs_of(text).unwrap_err());
            assert!(said.contains(expected), "{said}");
        };
        check("", "no document");
        check("a: [", "no YAML");
        check("kind: Pod", "holds a `Pod`");
        check("kind: DagJob\nmetadata: {name: a}\nspec: {tasks: 1}", "no DagJob");
    }
}

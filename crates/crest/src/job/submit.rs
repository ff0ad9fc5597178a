//! `crest job submit`: manifests become jobs, and people see how these get on.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use kube::api::Api;
use kube::{Resource, ResourceExt};
use model::dagjob::{DagJob, JobPhase};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LOOK_INTERVAL, NOT_SUCCEEDED, Place, SubmitOptions, patiently, progress};
use crate::settings::Settings;

pub(super) async fn submit(settings: &Settings, options: &SubmitOptions) -> anyhow::Result<ExitCode> {
    // All are read, and looked at by the server, before one is made: a mistake in the last leaves nothing half done.
    let mut jobs = Vec::new();
    for path in &options.files {
        jobs.extend(read(path)?);
    }
    let place = Place::open(settings, &options.cluster).await?;
    for job in &mut jobs {
        set_parameters(job, &options.parameters);
        create(&place, job, Kept::No).await?;
    }
    let mut made = Vec::new();
    for job in &jobs {
        let job = create(&place, job, Kept::Yes).await?;
        println!("dagjob/{} submitted", job.name_any());
        let namespace = job.namespace().unwrap_or_default();
        made.push((Api::namespaced(place.client.clone(), &namespace), job.name_any()));
    }
    let mut all_succeeded = true;
    if options.wait {
        for (api, name) in &made {
            all_succeeded &= follow(api, name).await? == JobPhase::Succeeded;
        }
    }
    Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitCode::from(NOT_SUCCEEDED) })
}

fn set_parameters(job: &mut Value, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return;
    }
    // What is no object is the server's to refuse.
    let Some(spec) = job["spec"].as_object_mut() else { return };
    let all = spec.entry("parameters").or_insert(Value::Null);
    if all.is_null() {
        *all = json!({});
    }
    let all = all.as_object_mut().into_iter();
    all.for_each(|all| {
        all.extend(parameters.iter().map(|(name, value)| (name.clone(), value.clone().into())))
    });
}

/// Whether a job is made, or only looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    No,
    Yes,
}

/// As it is written, so that the server tells of fields that it does not know.
async fn create(place: &Place, job: &Value, kept: Kept) -> anyhow::Result<DagJob> {
    let namespace = job["metadata"]["namespace"].as_str().unwrap_or(&place.namespace);
    let mut path = format!("{}?fieldValidation=Strict", DagJob::url_path(&(), Some(namespace)));
    if kept == Kept::No {
        path.push_str("&dryRun=All");
    }
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let made = place.client.request(request.body(serde_json::to_vec(job)?)?).await;
    let name = job["metadata"]["name"].as_str().unwrap_or("without a name");
    made.with_context(|| format!("cannot create the job `{name}`"))
}

fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    jobs_of(&text).with_context(|| format!("`{}` holds no jobs that can be submitted", path.display()))
}

fn jobs_of(text: &str) -> anyhow::Result<Vec<Value>> {
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
        jobs.push(value);
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
    }
}

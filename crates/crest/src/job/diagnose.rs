//! `crest job diagnose`: why a job waits or has failed, each reason with what to do. What is read decides nothing here:
//! [`findings`] does, from the job, its workers, its quota and the machines' offers.

mod quota;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use model::Quantity;
use model::batch_quota::BatchQuota;
use model::dagjob::{DagJob, DesiredState, JobPhase, Task};
use model::names::{BATCH_AVOIDED, BATCH_CPU, BATCH_MEMORY, TASK_LABEL};
use serde::Serialize;
use serde_json::json;

use super::{Place, phase, progress, workers};
use crate::cli::Output;
use crate::explain::OneOptions;
use crate::settings::Settings;

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// A task's name, or nothing for the whole job.
    #[serde(skip_serializing_if = "String::is_empty")]
    task: String,
    what: String,
    /// What would mend it.
    remedy: String,
}

/// What a machine offers to batch, in milli-cores and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    cpu: i128,
    memory: i128,
    /// Why nobody gets anything new there, if so.
    avoided: Option<String>,
}

pub(super) async fn diagnose(settings: &Settings, options: &OneOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let job = place.job(&options.name).await?;
    let pods = workers::pods(&place, &job, None).await?;
    let nodes: Api<Node> = Api::all(place.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.context("cannot list nodes")?.items;
    let offers: Vec<Offer> = nodes.iter().filter_map(offer).collect();
    let quotas = if job.spec.quota.is_some() { quotas(&place).await? } else { Vec::new() };
    let found = findings(&job, &pods, (&offers, &quotas));
    match options.output {
        Output::Json => println!("{}", json!({"phase": phase(&job), "findings": found})),
        Output::Text => {
            println!("{}: {:?}", job.name_any(), phase(&job));
            for Finding { task, what, remedy } in found {
                let of = if task.is_empty() { String::new() } else { format!("task {task}: ") };
                println!("- {of}{what}\n  {remedy}");
            }
        }
    }
    Ok(())
}

fn offer(node: &Node) -> Option<Offer> {
    let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
    let milli =
        |name: &str| Quantity::parse(&allocatable.get(name)?.0).ok().map(|quantity| quantity.to_milli());
    // The name counts milli-cores already.
    let conditions = node.status.as_ref()?.conditions.iter().flatten();
    let mut avoided = conditions.filter(|each| each.type_ == BATCH_AVOIDED && each.status == "True");
    let avoided = avoided
        .next()
        .map(|each| format!("{}: {}", node.name_any(), each.message.as_deref().unwrap_or_default()));
    Some(Offer { cpu: milli(BATCH_CPU)? / 1000, memory: milli(BATCH_MEMORY)? / 1000, avoided })
}

async fn quotas(place: &Place) -> anyhow::Result<Vec<BatchQuota>> {
    let quotas: Api<BatchQuota> = Api::all(place.client.clone());
    Ok(quotas.list(&ListParams::default()).await.context("cannot list BatchQuotas")?.items)
}

fn findings(job: &DagJob, pods: &[Pod], (offers, quotas): (&[Offer], &[BatchQuota])) -> Vec<Finding> {
    let status = job.status.clone().unwrap_or_default();
    let whole = |what: String, remedy: String| Finding { task: String::new(), what, remedy };
    let name = job.name_any();
    let mut found: Vec<Finding> = match (status.phase, job.spec.desired_state) {
        (JobPhase::Succeeded, _) => {
            vec![whole("all instances ended well".to_owned(), "Nothing to do.".to_owned())]
        }
        (JobPhase::Failed | JobPhase::Cancelled, _) => {
            let why = status.conditions.iter().find(|condition| condition.type_ == "Failed");
            let why = why.map_or_else(|| "it failed".to_owned(), |condition| condition.message.clone());
            vec![whole(
                why,
                format!(
                    "Mend what the instance says, then `crest job retry {name}`: what is finished is kept."
                ),
            )]
        }
        (_, DesiredState::Paused) => {
            vec![whole("it is paused".to_owned(), format!("`crest job resume {name}` goes on with it."))]
        }
        _ if offers.is_empty() => {
            let remedy = format!(
                "Batch runs where nodes publish {BATCH_CPU}: `kubectl get nodes` and their agents' logs tell more."
            );
            vec![whole("no node offers anything to batch".to_owned(), remedy)]
        }
        _ => Vec::new(),
    };
    if status.phase.is_ended() {
        return found;
    }
    for avoided in offers.iter().filter_map(|offer| offer.avoided.clone()) {
        found.push(whole(
            format!("nobody gets new batch workers on {avoided}"),
            "Look after the machine: `kubectl describe node` and its agent's log tell more.".to_owned(),
        ));
    }
    found.extend(quota::finding(job, quotas).map(|(what, remedy)| whole(what, remedy)));
    for (task, progress) in job.spec.tasks.iter().zip(progress::tasks(&job.spec, &status)) {
        found.extend(of_task(task, &progress, pods, offers));
    }
    if found.is_empty() {
        found.push(whole(
            "it runs".to_owned(),
            format!("`crest job get {name} --watch` shows how it gets on."),
        ));
    }
    found
}

fn of_task(
    task: &Task,
    progress: &progress::TaskProgress<'_>,
    pods: &[Pod],
    offers: &[Offer],
) -> Vec<Finding> {
    let finding =
        |what: String, remedy: &str| Finding { task: task.name.clone(), what, remedy: remedy.to_owned() };
    if progress.is_finished() || progress.waits {
        return Vec::new();
    }
    let mut found = Vec::new();
    found.extend(of_input(task, progress));
    if progress.status.failed > 0 {
        let first = progress.status.failures.iter().map(|failure| failure.index.to_string());
        let what = format!(
            "{} of {} instances have failed for good, and {} may; the first: {}",
            progress.status.failed,
            progress.instances.unwrap_or(0),
            progress.tolerated,
            first.collect::<Vec<_>>().join(", ")
        );
        found.push(finding(what, "`status.tasks` of the job says what each of them said (`failures`)."));
    }
    if let Some(failure) = &progress.status.last_failure {
        let what = format!("{} attempts failed; the last: {failure}", progress.status.failed_attempts);
        found.push(finding(what, "`crest job logs` shows what the instances wrote."));
    }
    if !progress.status.avoided_nodes.is_empty() {
        let nodes = progress.status.avoided_nodes.join(", ");
        let what = format!("it avoids {nodes}: its instances fail or are late there, and not elsewhere");
        found.push(finding(
            what,
            "Look after the machine; it is tried again within minutes. `crest job logs` shows what failed.",
        ));
    }
    if !offers.is_empty() && !offers.iter().any(|offer| offer.holds(task)) {
        let largest = |of: fn(&Offer) -> i128| offers.iter().map(of).max().unwrap_or(0);
        let what = format!(
            "no node has room for one instance of {} CPU and {} memory; the largest offers are {}m and {}Mi",
            task.resources.cpu.0,
            task.resources.memory.0,
            largest(|offer| offer.cpu),
            largest(|offer| offer.memory) >> 20
        );
        found.push(finding(
            what,
            "Ask for less, or wait until services use less: the offer follows them every second.",
        ));
    } else if progress.status.running == 0 {
        let why = stuck(task, pods).map(|why| format!("its workers do not start: {why}"));
        found.extend(why.or(progress.status.obstacle.clone()).map(|why| {
            finding(why, "`kubectl describe pod` of the worker tells more; another is looked for elsewhere every 20 s.")
        }));
    }
    found
}

/// What its input list has to do with it.
fn of_input(task: &Task, progress: &progress::TaskProgress<'_>) -> Option<Finding> {
    let input = task.input.as_ref().filter(|_| progress.instances.is_none())?;
    let what = match (&input.files, &input.objects) {
        (Some(files), _) => format!("its first worker is to list the files of `{files}`"),
        (None, Some(objects)) => format!("its first worker is to list the objects of `{}`", objects.url),
        (None, None) => return None,
    };
    let remedy =
        "No instance begins before the list is taken; `crest job logs` shows what went wrong, if anything.";
    Some(Finding { task: task.name.clone(), what, remedy: remedy.to_owned() })
}

/// What keeps a worker of the task from starting.
fn stuck(task: &Task, pods: &[Pod]) -> Option<String> {
    let is_of_task = |pod: &&Pod| pod.labels().get(TASK_LABEL).is_some_and(|name| *name == task.name);
    pods.iter().filter(is_of_task).find_map(|pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
        let waiting = statuses.iter().find_map(|status| status.state.as_ref()?.waiting.as_ref())?;
        let reason = waiting.reason.as_deref().filter(|reason| *reason != "ContainerCreating")?;
        Some(format!("{}: {reason} {}", pod.name_any(), waiting.message.as_deref().unwrap_or_default()))
    })
}

impl Offer {
    fn holds(&self, task: &Task) -> bool {
        quota::needs(task, "cpu") <= self.cpu && quota::needs(task, "memory") / 1000 <= self.memory
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use model::dagjob::{DagJob, DagJobStatus, DesiredState, JobPhase};
    use serde_json::json;

    use super::super::progress::tests::{spec, status};
    use super::{Offer, findings};

    fn job(status: DagJobStatus) -> DagJob {
        let mut job = DagJob::new("words", spec());
        job.status = Some(status);
        job
    }

    fn check(job: &DagJob, pods: &[Pod], offers: &[Offer], expected: &[&str]) {
        let found = findings(job, pods, (offers, &[]));
        let told: Vec<String> =
            found.iter().map(|finding| format!("{} {}", finding.task, finding.what)).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.contains(expected), "{told}: {expected}");
        }
        assert!(
            found.iter().all(|finding| finding.remedy.ends_with(['.', '?']) && finding.remedy.len() > 10)
        );
    }

    #[test]
    fn every_state_has_its_reason() {
        let large = Offer { cpu: 4000, memory: 8 << 30, avoided: None };
        let small = Offer { cpu: 100, ..large.clone() };
        let large = std::slice::from_ref(&large);
        check(&job(status()), &[], large, &["it runs"]);
        check(&job(status()), &[], &[], &["no node offers"]);
        check(&job(status()), &[], &[small], &["count no node has room for one instance of 1 CPU"]);
        let mut failing = status();
        failing.tasks.get_mut("count").unwrap().last_failure = Some("exit code 3".to_owned());
        check(&job(failing), &[], large, &["count 1 attempts failed; the last: exit code 3"]);
        let mut avoiding = status();
        avoiding.tasks.get_mut("count").unwrap().avoided_nodes = vec!["n1".to_owned(), "n3".to_owned()];
        check(&job(avoiding), &[], large, &["count it avoids n1, n3: its instances fail"]);
        let closed = Offer { avoided: Some("n1: 3 jobs found it faulty".to_owned()), ..large[0].clone() };
        check(&job(status()), &[], &[closed], &["new batch workers on n1: 3 jobs found it faulty"]);
        let ended = |phase: JobPhase| job(DagJobStatus { phase, ..status() });
        check(&ended(JobPhase::Succeeded), &[], large, &["ended well"]);
        check(&ended(JobPhase::Failed), &[], large, &["it failed"]);
        let mut paused = job(status());
        paused.spec.desired_state = DesiredState::Paused;
        check(&paused, &[], large, &["paused"]);
    }

    #[test]
    fn a_worker_that_does_not_start_is_named() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "w-1", "labels": {"crest.dev/task": "split"}},
            "status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}}))
        .unwrap();
        let large = Offer { cpu: 4000, memory: 8 << 30, avoided: None };
        check(
            &job(DagJobStatus::default()),
            &[pod],
            &[large],
            &["split its workers do not start: w-1: ErrImagePull"],
        );
    }
}

//! A job's workers, which are Pods: what they wrote, and what they use.

use std::io::Write;

use anyhow::Context;
use futures::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams};
use kube::core::Request;
use model::Quantity;
use model::dagjob::{DagJob, TaskUsage};
use model::names::{JOB_LABEL, TASK_LABEL, label_value};
use serde_json::{Value, json};

use super::{LogsOptions, Place, show};
use crate::cli::Output;
use crate::explain::OneOptions;
use crate::settings::Settings;

/// Selects the Pods of a job's workers, or of one task's; those of a job of nearly the same long name as well.
fn selector(job: &str, task: Option<&str>) -> ListParams {
    let task = task.map(|task| format!(",{TASK_LABEL}={task}")).unwrap_or_default();
    ListParams::default().labels(&format!("{JOB_LABEL}={}{task}", label_value(job)))
}

/// The Pods of a job's workers, or of one task's.
pub(super) async fn pods(place: &Place, job: &DagJob, task: Option<&str>) -> anyhow::Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(place.client.clone(), &place.namespace);
    let listed = api.list(&selector(&job.name_any(), task)).await;
    let mut pods = listed.context("cannot list the job's workers")?.items;
    pods.retain(|pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == job.uid().as_ref()));
    Ok(pods)
}

fn task_of(pod: &Pod) -> &str {
    pod.labels().get(TASK_LABEL).map(String::as_str).unwrap_or_default()
}

pub(super) async fn logs(settings: &Settings, options: &LogsOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let job = place.job(&options.name).await?;
    if let Some(task) = &options.task {
        let known: Vec<&str> = job.spec.tasks.iter().map(|task| task.name.as_str()).collect();
        anyhow::ensure!(
            known.contains(&task.as_str()),
            "job `{}` has no task `{task}`; its tasks are {}",
            options.name,
            known.join(", ")
        );
    }
    let pods = pods(&place, &job, options.task.as_deref()).await?;
    if pods.is_empty() {
        let kept = job.spec.keep_workers_seconds.unwrap_or(0);
        eprintln!(
            "No worker is there: they go {kept} s after their task has ended. `spec.keepWorkersSeconds` keeps them longer."
        );
    }
    let api: Api<Pod> = Api::namespaced(place.client.clone(), &place.namespace);
    let (n_pods, mut n_failed) = (pods.len(), 0);
    for pod in pods {
        let (name, task) = (pod.name_any(), task_of(&pod).to_owned());
        let parameters = LogParams { tail_lines: options.tail, ..LogParams::default() };
        let prefix = format!("{task} {name}: ");
        let written = match api.log_stream(&name, &parameters).await {
            Ok(log) => {
                copy(log, prefix.as_bytes(), &mut std::io::stdout()).await.map_err(anyhow::Error::from)
            }
            // One that has not begun has nothing to say.
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            eprintln!("{prefix}{error:#}");
            n_failed += 1;
        }
    }
    anyhow::ensure!(n_pods == 0 || n_failed < n_pods, "the log of no worker could be read");
    Ok(())
}

/// Writes what is read, whatever it is, with `prefix` before each line.
async fn copy(log: impl AsyncBufRead, prefix: &[u8], out: &mut impl Write) -> std::io::Result<()> {
    let mut log = std::pin::pin!(log);
    let mut is_new = true;
    loop {
        let read = log.fill_buf().await?;
        if read.is_empty() {
            break;
        }
        let n_read = read.len();
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            if is_new {
                out.write_all(prefix)?;
            }
            out.write_all(piece)?;
            is_new = piece.ends_with(b"\n");
        }
        log.as_mut().consume(n_read);
    }
    if !is_new {
        out.write_all(b"\n")?;
    }
    out.flush()
}

pub(super) async fn top(settings: &Settings, options: &OneOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let job = place.job(&options.name).await?;
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}", place.namespace);
    let request = Request::new(format!("{path}/pods"))
        .list(&selector(&options.name, None))
        .map_err(kube::Error::BuildRequest)?;
    let measured: Value = place
        .client
        .request(request)
        .await
        .context("cannot read what the workers use: is `metrics.k8s.io` served here?")?;
    let workers = pods(&place, &job, None).await?;
    let items = measured["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let header =
        ["TASK", "WORKERS", "CPU", "MEMORY", "ASKED CPU", "ASKED MEMORY", "CPU TIME EACH", "MEMORY EACH"];
    let mut rows = vec![header.map(str::to_owned)];
    let mut told = Vec::new();
    for task in &job.spec.tasks {
        let of_task: Vec<&Pod> = workers.iter().filter(|pod| task_of(pod) == task.name).collect();
        let is_of_task = |item: &&Value| of_task.iter().any(|pod| item["metadata"]["name"] == pod.name_any());
        let used = usage(items.iter().filter(is_of_task));
        let each = status.tasks.get(&task.name).and_then(|task| task.usage.as_ref());
        told.push(json!({
            "task": task.name, "workers": of_task.len(), "cpuMilli": used.0, "memoryBytes": used.1, "each": each,
        }));
        let [cpu, memory] = each.map_or_else(|| ["-", "-"].map(str::to_owned), of_each);
        rows.push([
            task.name.clone(),
            of_task.len().to_string(),
            format!("{}m", used.0),
            format!("{}Mi", used.1 >> 20),
            task.resources.cpu.0.clone(),
            task.resources.memory.0.clone(),
            cpu,
            memory,
        ]);
    }
    match options.output {
        Output::Text => print!("{}", show::columns(&rows)),
        Output::Json => println!("{}", json!({ "tasks": told })),
    }
    Ok(())
}

/// What an instance takes on average, and at most.
fn of_each(usage: &TaskUsage) -> [String; 2] {
    let (cpu, memory) = (usage.cpu_micros, usage.memory_kib);
    let millis = |micros: u64| micros.div_ceil(1000);
    let mebibytes = |kib: u64| kib.div_ceil(1024);
    [
        format!("{}ms, most {}ms", millis(cpu.mean), millis(cpu.max)),
        format!("{}Mi, most {}Mi", mebibytes(memory.mean), mebibytes(memory.max)),
    ]
}

/// Milli-cores and bytes that the containers of some Pods use together.
fn usage<'a>(pods: impl Iterator<Item = &'a Value>) -> (u64, u64) {
    let containers = pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
    containers.fold((0, 0), |(cpu, memory), container| {
        let of = |name: &str| {
            let text = container["usage"][name].as_str().unwrap_or("0");
            Quantity::parse(text).map_or(0, |quantity| u64::try_from(quantity.to_milli()).unwrap_or(0))
        };
        (cpu + of("cpu"), memory + of("memory") / 1000)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use model::dagjob::{MeanAndMax, TaskUsage};

    use super::{copy, of_each, usage};

    #[tokio::test]
    async fn a_log_is_written_as_it_is_line_by_line() {
        let check = async |log: &[u8], expected: &[u8]| {
            let mut out = Vec::new();
            // Pieces of three bytes: a line does not come at once.
            let pieces = futures::io::BufReader::with_capacity(3, log);
            copy(pieces, b"a: ", &mut out).await.unwrap();
            assert_eq!(out, expected);
        };
        check(b"", b"").await;
        check(b"one\ntwo and more\n", b"a: one\na: two and more\n").await;
        check(b"\xff\xfe\n\nlast", b"a: \xff\xfe\na: \na: last\n").await;
    }

    #[test]
    fn what_an_instance_takes_is_told_in_words() {
        let usage = TaskUsage {
            cpu_micros: MeanAndMax { mean: 1200, max: 9000 },
            memory_kib: MeanAndMax { mean: 900, max: 70_000 },
            ..TaskUsage::default()
        };
        assert_eq!(of_each(&usage), ["2ms, most 9ms", "1Mi, most 69Mi"]);
    }

    #[test]
    fn what_containers_use_is_added() {
        let pod = json!({"containers": [{"usage": {"cpu": "250m", "memory": "1Mi"}},
            {"usage": {"cpu": "1", "memory": "1024"}}, {"usage": {}}]});
        assert_eq!(usage([&pod, &pod].into_iter()), (2500, 2 * ((1 << 20) + 1024)));
    }
}

//! `crest job`: DagJobs from their submission to their end, on any cluster that runs them.

mod diagnose;
mod import;
mod picture;
mod progress;
pub(crate) mod show;
mod submit;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use model::dagjob::{DagJob, DesiredState, JobPhase};
use serde_json::{Value, json};

use crate::cli::Output;
use crate::explain::{ClusterOptions, OneOptions, config};
use crate::settings::Settings;

/// How a job that did not succeed is told to scripts.
const NOT_SUCCEEDED: u8 = 2;
/// How often a verb that waits looks at the job.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a verb that waits asks a cluster that does not answer, as while it is started anew, and how often.
const PATIENCE: Duration = Duration::from_secs(300);
const ASK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum JobVerb {
    /// Create jobs from manifests; with --wait, show how they get on until they end
    #[command(
        after_help = "Examples:\n  crest job submit -f words.yaml --wait\n  crest job import tasks.csv --job j_7 | \
                            crest job submit -f -"
    )]
    Submit(SubmitOptions),
    /// List jobs with how far they are
    List(ListOptions),
    /// Show a job task by task; as a picture of its tasks with --output html
    Get(GetOptions),
    /// Print what the instances of a job wrote, worker by worker
    Logs(LogsOptions),
    /// Show what the workers of a job use now, task by task
    Top(OneOptions),
    /// Say why a job waits or has failed, and what to do
    Diagnose(OneOptions),
    /// Let instances that run end, and hand out no more until `resume`
    Pause(OneOptions),
    /// Go on with a paused job
    Resume(OneOptions),
    /// End a job at once; what is finished stays finished
    Cancel(OneOptions),
    /// Go on with the unfinished instances of a job that failed or was cancelled
    Retry(OneOptions),
    /// Print the manifest of a job from a table of tasks with names such as M1, R2_1 and J3_1_2
    Import(import::ImportOptions),
}

#[derive(Debug, Args)]
pub(crate) struct SubmitOptions {
    /// Manifest in YAML or JSON, `-` for standard input; repeat for more
    #[arg(long = "filename", short, value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Sets a parameter of every job, as DAY=2026-11-27; repeat for more
    #[arg(long = "parameter", short, value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, String)>,
    /// Wait until the jobs have ended; exit with 2 when one did not succeed
    #[arg(long, short)]
    wait: bool,
    #[command(flatten)]
    cluster: ClusterOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct GetOptions {
    name: String,
    /// Go on showing it until it has ended
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[arg(long, short, value_enum, default_value_t = JobOutput::Text)]
    output: JobOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum JobOutput {
    Text,
    Json,
    /// A page of its own with the graph of the tasks
    Html,
}

#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    name: String,
    /// Only of this task
    #[arg(long)]
    task: Option<String>,
    /// Only the last lines of each worker
    #[arg(long)]
    tail: Option<i64>,
    #[command(flatten)]
    cluster: ClusterOptions,
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The cluster, and the namespace in it.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    async fn open(settings: &Settings, options: &ClusterOptions) -> anyhow::Result<Self> {
        let config = config(settings, options).await?;
        let namespace = options.namespace().map_or_else(|| config.default_namespace.clone(), str::to_owned);
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    fn jobs(&self) -> Api<DagJob> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn job(&self, name: &str) -> anyhow::Result<DagJob> {
        self.there(name, self.jobs().get_opt(name).await.context("cannot read the job")?)
    }

    fn there(&self, name: &str, found: Option<DagJob>) -> anyhow::Result<DagJob> {
        found.with_context(|| {
            format!("no job `{name}` in namespace `{}`; `crest job list -A` lists all", self.namespace)
        })
    }
}

/// A job, if it is there. A cluster that does not answer is asked again for a while.
async fn patiently(jobs: &Api<DagJob>, name: &str) -> anyhow::Result<Option<DagJob>> {
    let since = kit::clock::monotonic();
    let mut is_told = false;
    loop {
        match jobs.get_opt(name).await {
            Err(error) if may_pass(&error) && since.elapsed() < PATIENCE => {
                if !std::mem::replace(&mut is_told, true) {
                    let error = kit::Chain(&error);
                    eprintln!(
                        "the cluster does not answer, asking again for {} s: {error}",
                        PATIENCE.as_secs()
                    );
                }
                tokio::time::sleep(ASK_INTERVAL).await;
            }
            found => return found.context("cannot read the job"),
        }
    }
}

/// Whether it may be otherwise a moment later.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500,
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}

pub(crate) fn execute(settings: &Settings, verb: JobVerb) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            JobVerb::Submit(options) => return submit::submit(settings, &options).await,
            JobVerb::List(options) => show::list(settings, &options).await,
            JobVerb::Get(options) => show::get(settings, &options).await,
            JobVerb::Logs(options) => workers::logs(settings, &options).await,
            JobVerb::Top(options) => workers::top(settings, &options).await,
            JobVerb::Diagnose(options) => diagnose::diagnose(settings, &options).await,
            JobVerb::Pause(options) => want(settings, &options, DesiredState::Paused).await,
            JobVerb::Resume(options) => want(settings, &options, DesiredState::Running).await,
            JobVerb::Cancel(options) => want(settings, &options, DesiredState::Cancelled).await,
            JobVerb::Retry(options) => retry(settings, &options).await,
            JobVerb::Import(options) => import::import(&options),
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn want(settings: &Settings, options: &OneOptions, desired: DesiredState) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let job = place.job(&options.name).await?;
    let (phase, begun) = (phase(&job), begun(&job));
    // One that was told to begin again may still say how it ended before.
    anyhow::ensure!(
        !phase.is_ended() || job.spec.retry > begun,
        "job `{}` has ended ({phase:?}); `crest job retry {}` goes on with what is unfinished",
        options.name,
        options.name
    );
    patched(&place, options, &json!({"spec": {"desiredState": desired}})).await
}

async fn retry(settings: &Settings, options: &OneOptions) -> anyhow::Result<()> {
    let place = Place::open(settings, &options.cluster).await?;
    let job = place.job(&options.name).await?;
    let phase = phase(&job);
    anyhow::ensure!(
        matches!(phase, JobPhase::Failed | JobPhase::Cancelled),
        "job `{}` is {phase:?}: only one that failed or was cancelled can begin again",
        options.name
    );
    let spec = json!({"desiredState": DesiredState::Running, "retry": begun(&job).saturating_add(1)});
    patched(&place, options, &json!({ "spec": spec })).await
}

async fn patched(place: &Place, options: &OneOptions, patch: &Value) -> anyhow::Result<()> {
    let name = &options.name;
    let patched = place.jobs().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    let job = patched.with_context(|| format!("cannot change the job `{name}`"))?;
    let desired = job.spec.desired_state;
    match options.output {
        Output::Text => println!("dagjob/{name} is to be {desired:?}"),
        Output::Json => println!("{}", json!({"name": name, "desiredState": desired})),
    }
    Ok(())
}

/// How often it has begun again.
fn begun(job: &DagJob) -> u32 {
    job.status.as_ref().map_or(0, |status| status.retry)
}

fn phase(job: &DagJob) -> JobPhase {
    job.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

//! `crest tide`: hosts that leave batch for a window and come back, as their owner sees and steers them.

mod show;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use control::tide::{Jobs, Listed};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use model::dagjob::DagJob;
use model::tide::{Tide, TideStatus, TideWindow};
use serde_json::{Value, json};

use crate::cli::Output;
use crate::explain::{ClusterOptions, OneOptions, config};
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum TideVerb {
    /// List tides with what they are at
    List(ListOptions),
    /// Show a tide host by host
    Show(OneOptions),
    /// Say which hosts a tide would take, in order, what batch loses on each and when each is free; nothing is changed
    Plan(PlanOptions),
    /// Begin a window now: its hosts are free once the tide's lead has passed
    Start(StartOptions),
    /// Take back the window that is announced or has begun: batch has its hosts at once
    Undo(OneOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    cluster: ClusterOptions,
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    /// As if it were started now, for so long; by default its present or next window
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<SignedDuration>,
    #[command(flatten)]
    one: OneOptions,
}

#[derive(Debug, Args)]
pub(crate) struct StartOptions {
    /// How long the hosts stay with services, as 90m or 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: SignedDuration,
    #[command(flatten)]
    one: OneOptions,
}

fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let duration: Option<SignedDuration> = text.parse().ok();
    let sound = duration.filter(|duration| *duration >= SignedDuration::from_secs(1));
    sound.ok_or_else(|| "write a duration of at least a second, as 90m or 2h".to_owned())
}

pub(crate) fn execute(settings: &Settings, verb: TideVerb) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            TideVerb::List(options) => list(settings, &options).await,
            TideVerb::Show(options) => show(settings, &options).await,
            TideVerb::Plan(options) => plan(settings, &options).await,
            TideVerb::Start(options) => start(settings, &options).await,
            TideVerb::Undo(options) => undo(settings, &options).await,
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn open(settings: &Settings, cluster: &ClusterOptions) -> anyhow::Result<Client> {
    Ok(Client::try_from(config(settings, cluster).await?)?)
}

async fn find(client: &Client, name: &str) -> anyhow::Result<Tide> {
    let tides: Api<Tide> = Api::all(client.clone());
    let found = tides.get_opt(name).await.context("cannot read the tide")?;
    found.with_context(|| format!("no tide `{name}`; `crest tide list` lists all"))
}

async fn list(settings: &Settings, options: &ListOptions) -> anyhow::Result<()> {
    let tides: Api<Tide> = Api::all(open(settings, &options.cluster).await?);
    let tides = tides.list(&ListParams::default()).await.context("cannot list tides")?.items;
    match options.output {
        Output::Json => println!("{}", json!({ "items": tides })),
        Output::Text if tides.is_empty() => println!("There are no tides."),
        Output::Text => print!("{}", show::table(&tides)),
    }
    Ok(())
}

async fn show(settings: &Settings, options: &OneOptions) -> anyhow::Result<()> {
    let tide = find(&open(settings, &options.cluster).await?, &options.name).await?;
    match options.output {
        Output::Json => println!("{}", serde_json::to_string(&tide)?),
        Output::Text => print!("{}", show::text(&tide)),
    }
    Ok(())
}

async fn plan(settings: &Settings, options: &PlanOptions) -> anyhow::Result<()> {
    let client = open(settings, &options.one.cluster).await?;
    let tide = find(&client, &options.one.name).await?;
    let listed = listed(&client).await?;
    let now = kit::clock::wall();
    let begins = options.duration.map(|duration| window(&tide, now, duration)).transpose()?;
    let begins = begins.map(|window| (window.from.0, window.to.0));
    let predicted = tide.status.as_ref().and_then(|status| status.prediction.as_ref());
    let why = predicted.map_or(String::new(), |predicted| format!(" ({})", predicted.message));
    let plan = control::tide::plan(&tide, &listed, begins, now)?.with_context(|| {
        let name = &options.one.name;
        format!("tide `{name}` has no window to come{why}; `--for 2h` plans one that is started now")
    })?;
    match options.one.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&plan)?),
        Output::Text => print!("{}", show::plan(&options.one.name, &plan)),
    }
    Ok(())
}

async fn listed(client: &Client) -> anyhow::Result<Listed> {
    let all = ListParams::default();
    let jobs: Vec<DagJob> = Api::all(client.clone()).list(&all).await.context("cannot list jobs")?.items;
    Ok(Listed {
        nodes: Api::<Node>::all(client.clone()).list(&all).await.context("cannot list nodes")?.items,
        pods: Api::<Pod>::all(client.clone()).list(&all).await.context("cannot list pods")?.items,
        jobs: jobs.into_iter().map(|job| (control::key::ObjectKey::of(&job), job)).collect::<Jobs>(),
    })
}

/// A window that is announced now.
fn window(tide: &Tide, now: Timestamp, duration: SignedDuration) -> anyhow::Result<TideWindow> {
    // The API keeps whole seconds, and what is left of one is not taken from the lead.
    let now = Timestamp::from_second(now.as_second().saturating_add(1))?;
    let from = now.checked_add(tide.spec.lead())?;
    Ok(TideWindow::new(from, from.checked_add(duration)?))
}

async fn start(settings: &Settings, options: &StartOptions) -> anyhow::Result<()> {
    let OneOptions { name, cluster, .. } = &options.one;
    let client = open(settings, cluster).await?;
    let tide = find(&client, name).await?;
    anyhow::ensure!(!tide.spec.suspend, "tide `{name}` is suspended; set spec.suspend to false first");
    let status = tide.status.clone().unwrap_or_default();
    if let Some(TideWindow { from, to }) = &status.window {
        anyhow::bail!(
            "tide `{name}` has a window from {} to {}; `crest tide undo {name}` takes it back",
            from.0,
            to.0
        );
    }
    let now = kit::clock::wall();
    let window = window(&tide, now, options.duration)?;
    // Those that are over are of no use to anybody.
    let mut windows: Vec<TideWindow> =
        tide.spec.windows.iter().filter(|window| window.to.0 > now).cloned().collect();
    windows.push(window.clone());
    let skip_until = tide.spec.skip_until.clone().map(|until| until.min(window.from.clone()));
    change(&client, &tide, json!({ "windows": windows, "skipUntil": skip_until })).await?;
    let (from, to) = (window.from.0, window.to.0);
    let text = format!("tide/{name}: hosts are to be free from {from} to {to}");
    tell(options.one.output, &text, json!({ "name": name, "window": window }));
    Ok(())
}

async fn undo(settings: &Settings, options: &OneOptions) -> anyhow::Result<()> {
    let client = open(settings, &options.cluster).await?;
    let (name, tide) = (&options.name, find(&client, &options.name).await?);
    let TideStatus { window, next, .. } = tide.status.clone().unwrap_or_default();
    let window = window.with_context(|| {
        let next = next.map_or("there is none to come".to_owned(), |next| {
            format!("the next begins at {}, and spec.skipUntil passes it over", next.0)
        });
        format!("tide `{name}` has no window now: {next}")
    })?;
    change(&client, &tide, json!({ "skipUntil": window.to })).await?;
    let text = format!(
        "tide/{name}: batch gets its hosts back; windows that begin before {} are passed over",
        window.to.0
    );
    tell(options.output, &text, json!({ "name": name, "skipUntil": window.to }));
    Ok(())
}

/// Changes what a tide is asked for, if nobody else did since it was read.
async fn change(client: &Client, tide: &Tide, spec: Value) -> anyhow::Result<()> {
    let name = tide.name_any();
    let patch = json!({ "metadata": { "resourceVersion": tide.resource_version() }, "spec": spec });
    let tides: Api<Tide> = Api::all(client.clone());
    let patched = tides.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).with_context(|| format!("cannot change the tide `{name}`"))
}

fn tell(output: Output, text: &str, object: Value) {
    match output {
        Output::Text => println!("{text}"),
        Output::Json => println!("{object}"),
    }
}

//! One client with 500 requests in flight beside one with one: how much longer does the quiet one wait than alone?
//! Both are service accounts, of the same priority level. Usage: `fair_queuing [FOLDER]
//! [SEATS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bench::lane::{Lane, Road};
use bench::objects;
use bench::server::{Server, parent_folder};
use bench::summary::{Summary, millis};
use futures::future::try_join_all;
use http::{Method, StatusCode};
use kube::Client;
use serde_json::json;

/// Of the loud client.
const IN_FLIGHT: usize = 500;
/// What a list of the loud client goes through.
const MAPS: usize = 1_000;
/// It is taken to be at work once so many of its requests were answered.
const SETTLED: u64 = 4 * IN_FLIGHT as u64;
/// The quiet client asks so many times, once in every period.
const ASKS: usize = 1_000;
const PERIOD: Duration = Duration::from_millis(10);
const LIST: &str = "/api/v1/namespaces/default/configmaps";
/// Not where the lists are: these would grow with every one.
const CREATE: &str = "/api/v1/namespaces/loud/configmaps";
/// The first argument of the program when it is the loud client itself.
const LOUD: &str = "loud";
/// How much less of the processor the load wants: what is measured is the server, not the load.
const NICENESS: i32 = 15;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == LOUD => be_loud(rest),
        _ => measure(arguments.get(1).map(String::as_str)),
    }
}

#[tokio::main]
async fn measure(seats: Option<&str>) -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    if let Some(seats) = seats {
        server = server.with_options(&["--max-requests-inflight", seats]);
    }
    server.start().await?;
    let admin = server.client().await?;
    objects::create(&admin, "/api/v1/namespaces", (1, 1), |_| json!({"metadata": {"name": "loud"}})).await?;
    let map = |number: usize| json!({"metadata": {"name": format!("map-{number}")}, "data": {"k": "v".repeat(500)}});
    objects::create(&admin, LIST, (MAPS, 64), map).await?;
    let quiet = server.client_with_token(&account(&admin, "quiet").await?).await?;
    let loud = account(&admin, "loud").await?;
    let alone = ask(&quiet).await?;
    println!("quiet client alone:                         {alone}");
    for (name, load, token) in [
        ("lists", "lists", Some(loud.as_str())),
        ("creates", "creates", Some(loud.as_str())),
        ("lists, as an exempt administrator", "lists", None),
    ] {
        let running = Running::start(&server, token, load)?;
        let beside = ask(&quiet).await?;
        let counts = running.stop()?;
        let ratio = millis(beside.percentile(99)) / millis(alone.percentile(99));
        println!(
            "beside {IN_FLIGHT} {name}: {beside}; p99 is {ratio:.1} times that alone (the loud one: {counts})"
        );
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Load {
    Lists,
    Creates,
}

/// The token of a service account with all rights, which is no administrator.
async fn account(admin: &Client, name: &str) -> anyhow::Result<String> {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    objects::create(admin, accounts, (1, 1), |_| json!({"metadata": {"name": name}})).await?;
    let binding = json!({"metadata": {"name": name},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    objects::create(admin, bindings, (1, 1), |_| binding.clone()).await?;
    let request = http::Request::post(format!("{accounts}/{name}/token"))
        .header("content-type", "application/json")
        .body(br#"{"spec": {"expirationSeconds": 3600}}"#.to_vec())?;
    let answer: serde_json::Value = admin.request(request).await?;
    Ok(answer["status"]["token"].as_str().context("an answer without a token")?.to_owned())
}

/// Asks once in every period, whatever became of the questions before.
async fn ask(client: &Client) -> anyhow::Result<Summary> {
    let mut clock = tokio::time::interval(PERIOD);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..ASKS {
        clock.tick().await;
        let client = client.clone();
        asked.spawn(async move {
            let begun = kit::clock::monotonic();
            objects::get(&client, &format!("{LIST}/map-0")).await?;
            anyhow::Ok(begun.elapsed())
        });
    }
    let mut waits = Vec::with_capacity(ASKS);
    while let Some(wait) = asked.join_next().await {
        waits.push(wait??);
    }
    Ok(Summary::new(waits))
}

/// The loud client, a process of its own: nothing that it does to its memory may hold up the quiet one.
struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts it, and waits until all its connections are made and at work: that they are made is not what is measured.
    fn start(server: &Server, token: Option<&str>, load: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([LOUD, load]).arg(server.kubeconfig()).args(token);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        said.next().context("the load gave up")??;
        Ok(Self { child, said })
    }

    /// How many requests were answered, and how many refused.
    fn stop(mut self) -> anyhow::Result<String> {
        drop(self.child.stdin.take());
        let counts = self.said.next().context("the load broke off")??;
        anyhow::ensure!(self.child.wait()?.success(), "the load failed");
        Ok(counts)
    }
}

/// The loud client's own program: it says when it has settled, and its counts once its input is closed.
fn be_loud(arguments: &[String]) -> anyhow::Result<()> {
    let [load, kubeconfig, token @ ..] = arguments else {
        anyhow::bail!("usage: {LOUD} LOAD KUBECONFIG [TOKEN]")
    };
    rustix::process::nice(NICENESS)?;
    let load = if load == "lists" { Load::Lists } else { Load::Creates };
    let state = Arc::new(State::default());
    let told = Arc::clone(&state);
    std::thread::spawn(move || {
        // Whatever it reads, the end is what it waits for.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        told.is_over.store(true, Ordering::Relaxed);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = bench::server::config(Path::new(kubeconfig)).await?;
        let road = Road::new(&config, token.first().map(String::as_str))?;
        let lanes = try_join_all((0..IN_FLIGHT).map(|_| road.lane())).await?.into_iter().enumerate();
        try_join_all(lanes.map(|(number, lane)| shout(lane, load, number, &state))).await
    })?;
    let [answered, refused] = [&state.answered, &state.refused].map(|count| count.load(Ordering::Relaxed));
    println!("{answered} answered, {refused} sent away");
    Ok(())
}

#[derive(Debug, Default)]
struct State {
    is_over: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

impl State {
    fn count(&self, is_refused: bool) {
        let (mine, other) =
            if is_refused { (&self.refused, &self.answered) } else { (&self.answered, &self.refused) };
        if mine.fetch_add(1, Ordering::Relaxed) + 1 + other.load(Ordering::Relaxed) == SETTLED {
            println!("settled");
        }
    }
}

/// One request after the other, until told to stop; does as it is told when it is sent away.
async fn shout(mut lane: Lane, load: Load, lane_number: usize, state: &State) -> anyhow::Result<()> {
    let mut number = 0;
    while !state.is_over.load(Ordering::Relaxed) {
        number += 1;
        let status = match load {
            Load::Lists => lane.send(Method::GET, LIST, &[]).await?,
            Load::Creates => {
                let map = json!({"metadata": {"name": format!("loud-{lane_number}-{number}")}});
                lane.send(Method::POST, CREATE, map.to_string().as_bytes()).await?
            }
        };
        let is_refused = status == StatusCode::TOO_MANY_REQUESTS;
        state.count(is_refused);
        if is_refused {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

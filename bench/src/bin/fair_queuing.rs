//! One client with 500 requests in flight beside one with one: how much longer does the quiet one wait than alone?
//! Both are service accounts, of the same priority level. Usage: `fair_queuing [FOLDER]
//! [SEATS]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bench::lane::{Lane, Road};
use bench::objects;
use bench::server::{Server, parent_folder};
use bench::summary::{Summary, millis};
use bytes::Bytes;
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
/// How much less of the processor the load's own thread wants: what is measured is the server, not the load.
const NICENESS: i32 = 15;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    if let Some(seats) = std::env::args().nth(2) {
        server = server.with_options(&["--max-requests-inflight", &seats]);
    }
    server.start().await?;
    let admin = server.client().await?;
    let map = |number: usize| json!({"metadata": {"name": format!("map-{number}")}, "data": {"k": "v".repeat(500)}});
    objects::create(&admin, LIST, (MAPS, 64), map).await?;
    let quiet = server.client_with_token(&account(&admin, "quiet").await?).await?;
    let loud = server.road(Some(&account(&admin, "loud").await?)).await?;
    let administrator = server.road(None).await?;
    let alone = ask(&quiet).await?;
    println!("quiet client alone:                         {alone}");
    for (name, load, road) in [
        ("lists", Load::Lists, loud.clone()),
        ("creates", Load::Creates, loud),
        ("lists, as an exempt administrator", Load::Lists, administrator),
    ] {
        let running = Running::start(road, load);
        running.settled().await?;
        let beside = ask(&quiet).await?;
        let (answered, refused) = running.stop()?;
        let ratio = millis(beside.percentile(99)) / millis(alone.percentile(99));
        println!(
            "beside {IN_FLIGHT} {name}: {beside}; p99 is {ratio:.1} times that alone \
             (the loud one: {answered} answered, {refused} sent away)"
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

/// The loud client on a thread of its own.
struct Running {
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
    is_over: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Running {
    fn start(road: Road, load: Load) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
        let (stop, counted) = (Arc::clone(&is_over), Arc::clone(&counts));
        let thread = std::thread::spawn(move || {
            rustix::process::nice(NICENESS)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let lanes = try_join_all((0..IN_FLIGHT).map(|_| road.lane())).await?;
                let lanes = lanes.into_iter().enumerate();
                try_join_all(lanes.map(|(number, lane)| shout(lane, load, number, (&stop, &counted)))).await
            })?;
            Ok(())
        });
        Self { thread, is_over, counts }
    }

    /// Waits until all its connections are made and at work: that they are made is not what is measured.
    async fn settled(&self) -> anyhow::Result<()> {
        let answered = || self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        while answered() < SETTLED {
            anyhow::ensure!(!self.thread.is_finished(), "the load gave up");
            tokio::time::sleep(PERIOD).await;
        }
        Ok(())
    }

    /// How many requests were answered, and how many refused.
    fn stop(self) -> anyhow::Result<(u64, u64)> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(outcome) => outcome?,
            Err(_) => anyhow::bail!("the load panicked"),
        }
        Ok((self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed)))
    }
}

/// One request after the other, until told to stop; does as it is told when it is sent away.
async fn shout(
    mut lane: Lane,
    load: Load,
    lane_number: usize,
    (is_over, counts): (&AtomicBool, &[AtomicU64; 2]),
) -> anyhow::Result<()> {
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let status = match load {
            Load::Lists => lane.send(Method::GET, LIST, Bytes::new()).await?,
            Load::Creates => {
                let map = json!({"metadata": {"name": format!("loud-{lane_number}-{number}")}});
                lane.send(Method::POST, LIST, map.to_string().into()).await?
            }
        };
        let is_refused = status == StatusCode::TOO_MANY_REQUESTS;
        counts[usize::from(is_refused)].fetch_add(1, Ordering::Relaxed);
        if is_refused {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

//! CRDs with 1 MB of schema in all, and 10,000 custom resources of one of them: list, watch, apply, and what the server
//! holds in memory. Usage: `custom_resources [FOLDER]`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Context;
use bench::objects::{create, get, prepare_namespace};
use bench::server::{Server, parent_folder, resident_mib};
use bench::summary::{Summary, millis};
use futures::{AsyncBufReadExt, StreamExt};
use serde_json::{Value, json};

const DEFINITIONS: usize = 20;
/// What the schemas of all definitions have together, at least.
const SCHEMA_BYTES: usize = 1 << 20;
const OBJECTS: usize = 10_000;
const ROUNDS: usize = 10;
const APPLIES: usize = 1_000;
const PATH: &str = "/apis/bench.example.com/v1/namespaces/default/things0";
/// The limit of the same list of Pods; there is none of its own for custom resources.
const LIMIT_MS: f64 = 150.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut server = Server::prepare(&parent_folder())?.context("build crest first")?;
    server.start().await?;
    let client = server.client().await?;
    prepare_namespace(&client).await?;
    let empty = resident_mib(server.pid()?)?;
    let mut bytes = 0;
    let begun = kit::clock::monotonic();
    for number in 0..DEFINITIONS {
        let definition = definition(number);
        bytes += definition["spec"]["versions"][0]["schema"].to_string().len();
        create(&client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", (1, 1), |_| {
            definition.clone()
        })
        .await?;
        get(&client, &format!("/apis/bench.example.com/v1/things{number}?limit=1")).await?;
    }
    anyhow::ensure!(bytes >= SCHEMA_BYTES, "the schemas have {bytes} bytes only");
    println!(
        "{DEFINITIONS} definitions with {:.2} MB of schema, each served at once: {:.0} ms, +{:.0} MiB",
        megabytes(bytes),
        millis(begun.elapsed()),
        resident_mib(server.pid()?)? - empty
    );
    documents(&client).await?;
    let before = resident_mib(server.pid()?)?;
    let begun = kit::clock::monotonic();
    create(&client, PATH, (OBJECTS, 64), thing).await?;
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let per_second = OBJECTS as f64 / seconds;
    println!("{OBJECTS} custom resources made: {seconds:.1} s, {per_second:.0} per second");
    list(&client, "as JSON", PATH).await?;
    watch(&client).await?;
    apply(&client).await?;
    println!("memory: {before:.0} MiB with the definitions, {:.0} MiB now", resident_mib(server.pid()?)?);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "some megabytes")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// A schema with a few hundred fields, of every sort, with defaults and rules.
fn definition(number: usize) -> Value {
    let field = |index: usize| {
        let name = format!("field{index}");
        let schema = match index % 4 {
            0 => {
                json!({"type": "string", "maxLength": 64, "pattern": "^[a-z0-9-]*$", "description": "D".repeat(120)})
            }
            1 => json!({"type": "integer", "minimum": 0, "maximum": 1000, "default": index % 1000}),
            2 => json!({"type": "array", "maxItems": 16, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "maxLength": 63}, "value": {"type": "string"}}}}),
            _ => {
                json!({"type": "object", "additionalProperties": {"type": "string"}, "description": "D".repeat(200)})
            }
        };
        (name, schema)
    };
    let properties: serde_json::Map<String, Value> = (0..300).map(field).collect();
    let spec = json!({"type": "object", "properties": properties});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{number}.bench.example.com")},
        "spec": {"group": "bench.example.com", "scope": "Namespaced",
            "names": {"plural": format!("things{number}"), "kind": format!("Thing{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}]}})
}

fn thing(number: usize) -> Value {
    json!({"apiVersion": "bench.example.com/v1", "kind": "Thing0",
        "metadata": {"name": format!("thing-{number}"), "labels": {"app": format!("app-{}", number % 100)}},
        "spec": {"field0": "some-text", "field2": [{"name": "a", "value": "b"}, {"name": "c", "value": "d"}],
            "field3": {"k": "v"}, "field4": format!("text-{number}")}})
}

async fn documents(client: &kube::Client) -> anyhow::Result<()> {
    for path in
        ["/openapi/v3", "/openapi/v3/apis/bench.example.com/v1", "/openapi/v2", "/apis/bench.example.com/v1"]
    {
        let begun = kit::clock::monotonic();
        let bytes = get(client, path).await?.len();
        println!("  {path}, made anew: {:.0} ms, {:.2} MB", millis(begun.elapsed()), megabytes(bytes));
    }
    Ok(())
}

async fn list(client: &kube::Client, what: &str, path: &str) -> anyhow::Result<()> {
    let (mut took, mut bytes) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begun = kit::clock::monotonic();
        bytes = get(client, path).await?.len();
        took.push(begun.elapsed());
    }
    let summary = Summary::new(took);
    let p50 = millis(summary.percentile(50));
    println!("LIST {what}, {:.1} MB: {summary}", megabytes(bytes));
    println!("  p50 against {LIMIT_MS:.0} ms: ratio {:.2}", p50 / LIMIT_MS);
    Ok(())
}

async fn watch(client: &kube::Client) -> anyhow::Result<()> {
    let begun = kit::clock::monotonic();
    let path = format!("{PATH}?watch=true&timeoutSeconds=60");
    let mut lines = client.request_stream(http::Request::get(path).body(Vec::new())?).await?.lines();
    for _ in 0..OBJECTS {
        lines.next().await.context("the watch ended early")??;
    }
    println!("watch from the beginning, {OBJECTS} events: {:.0} ms", millis(begun.elapsed()));
    Ok(())
}

async fn apply(client: &kube::Client) -> anyhow::Result<()> {
    let mut took = Vec::new();
    for number in 0..APPLIES {
        let mut applied = thing(number);
        applied["spec"] = json!({"field0": "applied", "field1": number % 1000});
        let path = format!("{PATH}/thing-{number}?fieldManager=bench&force=true");
        let request = http::Request::patch(path).header("content-type", "application/apply-patch+yaml");
        let begun = kit::clock::monotonic();
        let response = client.send(request.body(applied.to_string().into_bytes().into())?).await?;
        anyhow::ensure!(response.status().is_success(), "an apply was answered {}", response.status());
        response.into_body().collect_bytes().await?;
        took.push(begun.elapsed());
    }
    println!("{APPLIES} server-side applies, one after another: {}", Summary::new(took));
    Ok(())
}

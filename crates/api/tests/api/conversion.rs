//! Custom resources in several versions, converted by a real program over HTTPS: one that works, hangs and lies.
//!
//! ```text
//!   v1  spec.sails: 3             stored
//!   v2  spec.rig.sails: 3
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::{AsyncBufReadExt, Stream, StreamExt};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::custom::{BOATS, DEFINITIONS, boat, boats};
use crate::harness::Cluster;
use crate::program::Program;

const NEW_BOATS: &str = "/apis/example.test/v2/namespaces/default/boats";

/// The program that converts, and how it behaves at present.
struct Converter {
    program: Program,
    state: Arc<Behaviour>,
}

#[derive(Default)]
struct Behaviour {
    name: Mutex<String>,
    /// How many objects it was asked to convert, by question.
    asked: Mutex<Vec<usize>>,
}

impl Converter {
    async fn start() -> Self {
        let state = Arc::<Behaviour>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        Self { program: Program::start(router).await, state }
    }

    /// From now on it behaves like this; empty for well.
    fn behave(&self, name: &str) {
        name.clone_into(&mut self.state.name.lock());
    }

    /// How many objects each question since the last time was about.
    fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.state.asked.lock())
    }

    /// The definition of boats in both versions.
    fn definition(&self) -> Value {
        let sails = json!({"sails": {"type": "integer"}});
        let old = json!({"type": "object", "properties": sails});
        let new = json!({"type": "object", "properties": {"rig": {"type": "object", "properties": sails}}});
        let mut definition = boats(&old, &json!({}));
        let mut second = boats(&new, &json!({}))["spec"]["versions"][0].take();
        second["name"] = json!("v2");
        second["storage"] = json!(false);
        definition["spec"]["versions"].as_array_mut().unwrap().push(second);
        definition["spec"]["conversion"] = json!({"strategy": "Webhook",
            "webhook": {"clientConfig": self.program.at("convert"), "conversionReviewVersions": ["v1"]}});
        definition
    }

    /// A server with the definition.
    async fn cluster(&self) -> Cluster {
        let cluster = Cluster::start().await;
        let (status, said) = cluster.request("POST", DEFINITIONS, &self.definition()).await;
        assert_eq!(status, 201, "{said}");
        cluster
    }
}

async fn answer(State(state): State<Arc<Behaviour>>, body: Bytes) -> Response {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    let objects = request["objects"].as_array().unwrap();
    state.asked.lock().push(objects.len());
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let converted: Vec<Value> = objects.iter().map(|object| convert(object, wanted)).collect();
    let mut response =
        json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted});
    let first = &mut response["convertedObjects"][0];
    let behaviour = state.name.lock().clone();
    match behaviour.as_str() {
        "" => {}
        "hangs" => std::future::pending().await,
        "breaks" => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "babbles" => return "{\"kind\":".into_response(),
        "answers fewer" => drop(response["convertedObjects"].as_array_mut().unwrap().pop()),
        "answers none" => response["convertedObjects"] = Value::Null,
        "answers another" => response["uid"] = json!("another"),
        "refuses" => response["result"] = json!({"status": "Failure", "message": "too windy"}),
        "answers no object" => *first = json!(5),
        "keeps the version" => *first = objects[0].clone(),
        "renames" => first["metadata"]["name"] = json!("other"),
        "moves" => first["metadata"]["namespace"] = json!("kube-system"),
        "changes the uid" => first["metadata"]["uid"] = json!("11111111-2222-3333-4444-555555555555"),
        "changes the kind" => first["kind"] = json!("Ship"),
        "labels badly" => first["metadata"]["labels"] = json!({"a": 5}),
        "labels wrongly" => first["metadata"]["labels"] = json!({"%": "a"}),
        // What follows is forgiven: it has no effect, or one that is its right.
        "drops finalizers" => drop(first["metadata"].as_object_mut().unwrap().remove("finalizers")),
        "labels" => first["metadata"]["labels"] = json!({"by": "webhook"}),
        "adds unknown fields" => first["spec"]["unknown"] = json!(1),
        other => assert_eq!(other, "", "nobody behaves like this"),
    }
    let review =
        json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response});
    review.to_string().into_response()
}

fn convert(object: &Value, wanted: &str) -> Value {
    let mut converted = object.clone();
    if object["apiVersion"] == wanted {
        return converted;
    }
    converted["apiVersion"] = json!(wanted);
    let spec = &object["spec"];
    converted["spec"] = match wanted.ends_with("/v2") {
        true => json!({"rig": {"sails": spec["sails"]}}),
        false => json!({"sails": spec["rig"]["sails"]}),
    };
    converted
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    let (status, body) = cluster.request("GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn new_boat(name: &str, sails: i64) -> Value {
    let mut boat = boat(name, &json!({"rig": {"sails": sails}}));
    boat["apiVersion"] = json!("example.test/v2");
    boat
}

/// The events of a watch in the newer version: type, name and number of sails.
async fn watch(
    cluster: &Cluster,
    query: &str,
) -> impl Stream<Item = (String, String, Value)> + Unpin + use<> {
    let request = http::Request::get(format!("{NEW_BOATS}?watch=true&{query}")).body(Vec::new()).unwrap();
    let lines = cluster.client.request_stream(request).await.unwrap().lines();
    Box::pin(lines.map(|line| {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let object = &event["object"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&object["metadata"]["name"]), object["spec"]["rig"]["sails"].clone())
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_and_written_in_every_version() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    let mut first = boat("a", &json!({"sails": 3}));
    first["metadata"]["labels"] = json!({"color": "red"});
    let (status, made) = cluster.request("POST", BOATS, &first).await;
    assert_eq!((status, &made["spec"]), (201, &json!({"sails": 3})));
    assert_eq!(converter.asked(), [0; 0], "it is stored in this version");
    let read = get(&cluster, &format!("{NEW_BOATS}/a")).await;
    assert_eq!(
        (&read["apiVersion"], &read["spec"]),
        (&json!("example.test/v2"), &json!({"rig": {"sails": 3}}))
    );
    assert_eq!(read["metadata"], made["metadata"]);

    // Written in the newer version, stored in the older.
    let (status, made) = cluster.request("POST", NEW_BOATS, &new_boat("b", 4)).await;
    assert_eq!(
        (status, &made["spec"], &made["apiVersion"]),
        (201, &json!({"rig": {"sails": 4}}), &json!("example.test/v2"))
    );
    converter.behave("hangs");
    assert_eq!(get(&cluster, &format!("{BOATS}/b")).await["spec"], json!({"sails": 4}));
    converter.behave("");

    let path = format!("{NEW_BOATS}/a");
    let (status, changed) = cluster.request("PATCH", &path, &json!({"spec": {"rig": {"sails": 5}}})).await;
    assert_eq!((status, &changed["spec"]), (200, &json!({"rig": {"sails": 5}})), "{changed}");
    let (status, changed) = cluster.request("PUT", &path, &changed).await;
    assert_eq!((status, &changed["metadata"]["generation"]), (200, &json!(2)), "nothing changed: {changed}");
    let apply = [("content-type", "application/apply-patch+yaml")];
    let body = new_boat("a", 6).to_string().into_bytes();
    let (status, conflict) =
        cluster.send("PATCH", &format!("{path}?fieldManager=m"), &apply, body.clone()).await;
    assert_eq!((status, conflict["reason"].as_str()), (409, Some("Conflict")), "{conflict}");
    let (status, applied) =
        cluster.send("PATCH", &format!("{path}?fieldManager=m&force=true"), &apply, body).await;
    assert_eq!((status, &applied["spec"]), (200, &json!({"rig": {"sails": 6}})), "{applied}");
    let body = new_boat("c", 7).to_string().into_bytes();
    let (status, applied) =
        cluster.send("PATCH", &format!("{NEW_BOATS}/c?fieldManager=m"), &apply, body).await;
    assert_eq!((status, &applied["spec"]), (201, &json!({"rig": {"sails": 7}})), "{applied}");
    assert_eq!(get(&cluster, &format!("{BOATS}/c")).await["spec"], json!({"sails": 7}));

    let (status, _) = cluster.request("DELETE", &path, &Value::Null).await;
    assert_eq!((status, cluster.request("GET", &format!("{BOATS}/a"), &Value::Null).await.0), (200, 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_watches_are_in_the_version_that_was_asked_for() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    for (name, sails) in [("a", 1), ("b", 2), ("c", 3)] {
        let mut boat = boat(name, &json!({"sails": sails}));
        boat["metadata"]["labels"] = json!({"kind": name});
        assert_eq!(cluster.request("POST", BOATS, &boat).await.0, 201);
    }
    let list = get(&cluster, NEW_BOATS).await;
    let sails: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["spec"]["rig"]["sails"]).collect();
    assert_eq!(sails, [1, 2, 3]);
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["apiVersion"] == "example.test/v2"));
    assert_eq!(converter.asked(), [3], "all at once");
    let page = get(&cluster, &format!("{NEW_BOATS}?limit=2")).await;
    assert_eq!(page["items"][1]["spec"], json!({"rig": {"sails": 2}}));
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = get(&cluster, &format!("{NEW_BOATS}?limit=2&continue={token}")).await;
    assert_eq!(rest["items"][0]["spec"], json!({"rig": {"sails": 3}}));
    let picked = get(&cluster, &format!("{NEW_BOATS}?labelSelector=kind%3Db")).await;
    assert_eq!(
        (picked["items"].as_array().unwrap().len(), &picked["items"][0]["spec"]["rig"]["sails"]),
        (1, &json!(2))
    );
    // Selectors look at what the client sees.
    converter.behave("labels");
    let one = format!("{NEW_BOATS}?labelSelector=by%3Dwebhook&fieldSelector=metadata.name%3Da");
    assert_eq!(get(&cluster, &one).await["items"].as_array().unwrap().len(), 1);
    converter.behave("");

    let mut events = watch(&cluster, "").await;
    for (name, sails) in [("a", 1), ("b", 2), ("c", 3)] {
        assert_eq!(events.next().await.unwrap(), ("ADDED".to_owned(), name.to_owned(), json!(sails)));
    }
    let (_, changed) = cluster.request("PATCH", &format!("{BOATS}/a"), &json!({"spec": {"sails": 9}})).await;
    assert_eq!(events.next().await.unwrap(), ("MODIFIED".to_owned(), "a".to_owned(), json!(9)), "{changed}");
    assert_eq!(cluster.request("DELETE", &format!("{BOATS}/a"), &Value::Null).await.0, 200);
    assert_eq!(events.next().await.unwrap(), ("DELETED".to_owned(), "a".to_owned(), json!(9)));
    let (status, gone) =
        cluster.request("DELETE", &format!("{NEW_BOATS}?labelSelector=kind%3Db"), &Value::Null).await;
    assert_eq!((status, &gone["items"][0]["spec"]), (200, &json!({"rig": {"sails": 2}})), "{gone}");
    assert_eq!(events.next().await.unwrap(), ("DELETED".to_owned(), "b".to_owned(), json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_lies_is_told_of_and_nothing_is_half_done() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    let (_, stands) = cluster.request("POST", BOATS, &boat("a", &json!({"sails": 3}))).await;
    let path = format!("{NEW_BOATS}/a");
    let patch = json!({"spec": {"rig": {"sails": 5}}});
    for behaviour in [
        "breaks",
        "babbles",
        "answers fewer",
        "answers none",
        "answers another",
        "refuses",
        "answers no object",
        "keeps the version",
        "renames",
        "moves",
        "changes the uid",
        "changes the kind",
        "labels badly",
        "labels wrongly",
    ] {
        converter.behave(behaviour);
        for (method, path, body) in [
            ("GET", path.as_str(), &Value::Null),
            ("GET", NEW_BOATS, &Value::Null),
            ("PATCH", path.as_str(), &patch),
            ("POST", NEW_BOATS, &new_boat("b", 1)),
            ("DELETE", path.as_str(), &Value::Null),
            ("DELETE", NEW_BOATS, &Value::Null),
        ] {
            let (status, said) = cluster.request(method, path, body).await;
            let message = said["message"].as_str().unwrap_or_default();
            assert_eq!(
                (status, said["reason"].as_str()),
                (500, Some("InternalError")),
                "{behaviour}: {method} {path}: {said}"
            );
            assert!(message.contains("conversion webhook for example.test/v"), "{behaviour}: {message}");
        }
        let list = get(&cluster, BOATS).await;
        assert_eq!(list["items"], json!([stands]), "{behaviour}");
    }
    converter.behave("refuses");
    let (_, said) = cluster.request("GET", &path, &Value::Null).await;
    assert!(said["message"].as_str().unwrap().ends_with("too windy"), "{said}");
    converter.behave("hangs");
    let (status, said) = cluster.request("PATCH", &format!("{path}?timeout=200ms"), &patch).await;
    assert_eq!((status, said["reason"].as_str()), (504, Some("Timeout")), "{said}");
    assert_eq!(get(&cluster, &format!("{BOATS}/a")).await, stands);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_must_not_change_stays() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    let mut held = boat("a", &json!({"sails": 3}));
    held["metadata"]["finalizers"] = json!(["example.test/hold"]);
    assert_eq!(cluster.request("POST", BOATS, &held).await.0, 201);
    let path = format!("{NEW_BOATS}/a");
    converter.behave("drops finalizers");
    assert_eq!(get(&cluster, &path).await["metadata"]["finalizers"], json!(["example.test/hold"]));
    converter.behave("labels");
    assert_eq!(get(&cluster, &path).await["metadata"]["labels"], json!({"by": "webhook"}));
    // What no schema knows is not let in by this door.
    converter.behave("adds unknown fields");
    assert_eq!(get(&cluster, &path).await["spec"], json!({"rig": {"sails": 3}}));
    assert_eq!(get(&cluster, NEW_BOATS).await["items"][0]["spec"], json!({"rig": {"sails": 3}}));
    let (status, _) = cluster.request("PATCH", &path, &json!({"spec": {"rig": {"sails": 4}}})).await;
    assert_eq!(
        (status, get(&cluster, &format!("{BOATS}/a")).await["spec"].clone()),
        (200, json!({"sails": 4}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_cannot_be_converted_ends_in_form() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    let (_, made) = cluster.request("POST", BOATS, &boat("a", &json!({"sails": 3}))).await;
    let revision = made["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = watch(&cluster, &format!("resourceVersion={revision}")).await;
    converter.behave("refuses");
    assert_eq!(cluster.request("PATCH", &format!("{BOATS}/a"), &json!({"spec": {"sails": 4}})).await.0, 200);
    assert_eq!(events.next().await.unwrap().0, "ERROR");
    assert!(events.next().await.is_none());
    converter.behave("");
    let mut again = watch(&cluster, &format!("resourceVersion={revision}")).await;
    assert_eq!(again.next().await.unwrap(), ("MODIFIED".to_owned(), "a".to_owned(), json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_with_their_definition_though_nobody_can_convert_them() {
    let converter = Converter::start().await;
    let cluster = converter.cluster().await;
    assert_eq!(cluster.request("POST", BOATS, &boat("a", &json!({"sails": 3}))).await.0, 201);
    let definition = format!("{DEFINITIONS}/boats.example.test");
    // The newer one is stored from now on, and the older is not served any more.
    let mut versions = converter.definition()["spec"]["versions"].take();
    (versions[0]["storage"], versions[1]["storage"]) = (json!(false), json!(true));
    versions[0]["served"] = json!(false);
    let (status, said) =
        cluster.request("PATCH", &definition, &json!({"spec": {"versions": versions}})).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(cluster.request("POST", NEW_BOATS, &new_boat("b", 1)).await.0, 201);
    converter.behave("refuses");
    assert_eq!(cluster.request("GET", &format!("{NEW_BOATS}/a"), &Value::Null).await.0, 500);
    assert_eq!(cluster.request("DELETE", &definition, &Value::Null).await.0, 200);
    let goes = async {
        while cluster.request("GET", &definition, &Value::Null).await.0 != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), goes).await.unwrap();
}

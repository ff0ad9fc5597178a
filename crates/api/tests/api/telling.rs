//! The most telling requests and their answers, as a table of ours: `telling/cases.txt`.
//!
//! ```text
//!   # what the case shows
//!   POST /api/v1/namespaces/default/services          a request; after `;` the type of its body
//!   {"metadata": {"name": "s"}}                       the body, in one line
//!   = 422 Invalid                                     status code and, of refusals, the reason
//!   = cause spec.ports FieldValueRequired             one of its causes
//!   = /spec/type "ClusterIP"                          a value of the answer, by JSON pointer
//!   = no /status/loadBalancer/ingress                 what is not in it
//! ```
//! Cases follow each other on one server, so each uses names of its own.

use serde_json::Value;

use crate::harness::Cluster;

const CASES: &str = include_str!("telling/cases.txt");

#[tokio::test(flavor = "multi_thread")]
async fn telling_requests_are_answered_as_clients_expect() {
    let cluster = Cluster::start().await;
    let mut answer = (0, Value::Null);
    let mut request: Option<(&str, &str, &str)> = None;
    let mut wrong = Vec::new();
    let mut case = "";
    for (number, line) in CASES.lines().enumerate() {
        let line = line.trim();
        match line.split_once(' ') {
            Some(("#", title)) => case = title,
            Some(("=", expected)) => {
                if let Some((method, path, media_type)) = request.take() {
                    answer = send(&cluster, method, path, media_type, "").await;
                }
                if !holds(&answer, expected) {
                    wrong.push(format!(
                        "line {}, {case}: {expected}\n  {} {}",
                        number + 1,
                        answer.0,
                        answer.1
                    ));
                }
            }
            Some((method @ ("DELETE" | "GET" | "PATCH" | "POST" | "PUT"), rest)) => {
                let (path, media_type) = rest.split_once(';').unwrap_or((rest, "application/json"));
                request = Some((method, path.trim(), media_type.trim()));
            }
            _ if line.is_empty() => {}
            _ => {
                let (method, path, media_type) = request.take().expect("a body follows a request");
                answer = send(&cluster, method, path, media_type, line).await;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn send(cluster: &Cluster, method: &str, path: &str, media_type: &str, body: &str) -> (u16, Value) {
    // A line has no room for the lines of YAML.
    let body = body.replace("\\n", "\n").into_bytes();
    cluster.send(method, path, &[("content-type", media_type)], body).await
}

fn holds((code, body): &(u16, Value), expected: &str) -> bool {
    let (first, rest) = expected.split_once(' ').unwrap_or((expected, ""));
    match first {
        "cause" => {
            let (field, reason) = rest.split_once(' ').expect("a cause has a field and a reason");
            let causes = body["details"]["causes"].as_array().into_iter().flatten();
            causes.clone().any(|cause| cause["field"] == field && cause["reason"] == reason)
        }
        "no" => body.pointer(rest).is_none(),
        pointer if pointer.starts_with('/') => {
            let wanted: Value = serde_json::from_str(rest).expect("a value is JSON");
            body.pointer(pointer) == Some(&wanted)
        }
        status => {
            let same = *code == status.parse::<u16>().expect("a status is a number");
            same && (rest.is_empty() || body["reason"] == rest)
        }
    }
}

//! Clients that mean ill, or are broken, over a real socket.

use std::fmt::Write as _;
use std::time::Duration;

use api::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Everything up to the end of the connection.
async fn exchange(cluster: &Cluster, request: &str) -> String {
    let mut stream = cluster.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _farewell = read.await.expect("the server does not let go");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    // Long enough for the requests that make the cluster.
    let limits = Limits { request_timeout: Duration::from_secs(2), ..Limits::default() };
    let cluster = Cluster::start_within(limits).await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{{"
    );
    let answer = exchange(&cluster, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":408"), "{answer}");
}

#[tokio::test]
async fn how_long_a_request_may_take_is_said_as_in_go() {
    let cluster = Cluster::start().await;
    let get = async |query: &str| cluster.request("GET", &format!("{MAPS}?{query}"), &Value::Null).await;
    assert_eq!(get("timeout=5s").await.0, 200);
    assert_eq!(get("timeout=0").await.0, 200);
    let (status, body) = get("timeout=soon").await;
    assert_eq!((status, body["reason"].as_str()), (400, Some("BadRequest")));
}

#[tokio::test]
async fn bodies_that_are_bottomless_or_bombs_are_refused() {
    let cluster = Cluster::start().await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    // A message of which each field holds another one, with lengths that fit.
    let mut nested = Vec::new();
    for _ in 0..10_000 {
        let length = u32::try_from(nested.len()).unwrap();
        let mut outer = vec![0x0a];
        let mut rest = length;
        while rest >= 0x80 {
            outer.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        outer.push(u8::try_from(rest).unwrap());
        outer.append(&mut nested);
        nested = outer;
    }
    let protobuf = [b"k8s\0".as_slice(), &nested].concat();
    for (media_type, body) in [
        ("application/json", deep("{\"metadata\":", "}").into_bytes()),
        (
            "application/json",
            format!("{{\"metadata\":{{\"name\":\"m\"}},\"data\":{}}}", deep("[", "]")).into_bytes(),
        ),
        ("application/yaml", deep("[", "]").into_bytes()),
        ("application/yaml", bomb.into_bytes()),
        (PROTOBUF, protobuf),
        (PROTOBUF, b"k8s\0".to_vec()),
    ] {
        let (status, answer) = cluster.send("POST", MAPS, &[("content-type", media_type)], body).await;
        assert!(matches!(status, 400 | 422), "{media_type}: {status} {answer}");
        assert_eq!(answer["kind"], "Status");
    }
    assert_eq!(cluster.request("GET", MAPS, &Value::Null).await.0, 200, "the server goes on");
}

#[tokio::test]
async fn a_body_may_have_three_mebibytes() {
    let cluster = Cluster::start().await;
    let limit = 3 << 20;
    let mut body = json!({"metadata": {"name": "m"}, "data": {"k": ""}}).to_string();
    let room = limit - body.len();
    body.insert_str(body.find("\"\"").unwrap() + 1, &"x".repeat(room));
    let json = [("content-type", "application/json")];
    let (status, answer) = cluster.send("POST", MAPS, &json, body.clone().into_bytes()).await;
    assert_eq!(
        (status, answer["reason"].as_str()),
        (422, Some("Invalid")),
        "read, and too much for the kind"
    );
    body.push(' ');
    let (status, answer) = cluster.send("POST", MAPS, &json, body.into_bytes()).await;
    assert_eq!((status, answer["reason"].as_str()), (413, Some("RequestEntityTooLarge")));
}

#[tokio::test]
async fn watches_are_ended_in_form_when_the_server_stops() {
    let cluster = Cluster::start().await;
    let mut stream = cluster.connect().await;
    let head = format!("GET {MAPS}?watch=true&resourceVersion=1 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    cluster.stop();
    let reading = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut answer));
    reading.await.expect("the watch goes on").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("0\r\n\r\n"), "{answer}");
}

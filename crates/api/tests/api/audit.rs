//! The audit log as an administrator sets it up: how much of which request is written, and when.

use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt};
use http::Request;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::Cluster;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: RequestResponse
  omitManagedFields: true
  resources: [{group: "", resources: [configmaps]}]
- level: Request
  omitStages: [ResponseComplete]
  resources: [{group: "", resources: [limitranges]}]
- level: Metadata
  resources: [{group: "", resources: [secrets]}]
"#;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The first `count` lines of the log, when they are there.
async fn lines(cluster: &Cluster, count: usize) -> Vec<Value> {
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(cluster.audit_log()).unwrap_or_default();
        let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
        let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() <= count, "more than was asked for: {lines:#?}");
        if lines.len() == count {
            return lines;
        }
        assert!(tokio::time::Instant::now() < patience, "{count} lines did not come: {lines:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn bodies_are_written_where_the_policy_wants_them() {
    let cluster = Cluster::start_audited(POLICY).await;
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(cluster.request("POST", MAPS, &map).await.0, 201);
    assert_eq!(cluster.request("POST", MAPS, &map).await.0, 409);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "hidden"}});
    assert_eq!(cluster.request("POST", "/api/v1/namespaces/default/secrets", &secret).await.0, 201);
    let patch = json!({"data": {"k": "w"}});
    assert_eq!(cluster.request("PATCH", &format!("{MAPS}/a"), &patch).await.0, 200);
    assert_eq!(cluster.request("GET", "/api/v1/namespaces/default/pods", &Value::Null).await.0, 200);
    let lines = lines(&cluster, 4).await;

    let [made, refused, secret, patched] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!((&made["level"], &made["stage"]), (&json!("RequestResponse"), &json!("ResponseComplete")));
    assert_eq!(made["requestObject"], map, "as it came");
    assert_eq!(made["responseObject"]["data"], map["data"]);
    assert_eq!(made["responseObject"]["metadata"]["name"], "a");
    assert_eq!(made["responseObject"]["metadata"]["managedFields"], Value::Null);
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));

    assert_eq!(refused["responseStatus"]["reason"], "AlreadyExists");
    assert_eq!(refused["responseStatus"]["code"], 409);
    assert_eq!(refused["responseObject"]["kind"], "Status");

    assert_eq!(secret["level"], "Metadata");
    assert!(!secret.to_string().contains("hidden"), "{secret}");
    assert_eq!((&secret["requestObject"], &secret["responseObject"]), (&Value::Null, &Value::Null));

    assert_eq!((&patched["verb"], &patched["requestObject"]), (&json!("patch"), &patch));
    assert_eq!(patched["responseObject"]["data"], patch["data"]);
}

#[tokio::test]
async fn a_stream_is_written_at_its_beginning_and_at_its_end() {
    let cluster = Cluster::start_audited(POLICY).await;
    let watch =
        Request::get(format!("{MAPS}?watch=true")).header("audit-id", "mine").body(Vec::new()).unwrap();
    let mut stream = cluster.client.request_stream(watch).await.unwrap();
    let begun = lines(&cluster, 1).await;
    assert_eq!((&begun[0]["stage"], &begun[0]["auditID"]), (&json!("ResponseStarted"), &json!("mine")));
    let map = json!({"metadata": {"name": "a"}});
    assert_eq!(cluster.request("POST", MAPS, &map).await.0, 201);
    let mut event = String::new();
    stream.read_line(&mut event).await.unwrap();
    assert!(event.contains("ADDED"), "{event}");
    assert_eq!(lines(&cluster, 2).await[1]["verb"], "create");
    drop(stream);
    let ended = &lines(&cluster, 3).await[2];
    assert_eq!((&ended["stage"], &ended["auditID"]), (&json!("ResponseComplete"), &json!("mine")));
    assert_eq!(ended["responseObject"], Value::Null, "what a watch has told is not written again");
}

#[tokio::test]
async fn a_switched_connection_is_written_at_its_beginning_and_at_its_end() {
    let cluster = Cluster::start_audited(POLICY).await;
    let request = format!("wss://localhost{MAPS}?watch=true").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, cluster.connect().await).await.unwrap();
    assert_eq!(lines(&cluster, 1).await[0]["stage"], "ResponseStarted");
    assert_eq!(cluster.request("POST", MAPS, &json!({"metadata": {"name": "a"}})).await.0, 201);
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().contains("ADDED"));
    assert_eq!(lines(&cluster, 2).await[1]["verb"], "create");
    drop(socket);
    let ended = &lines(&cluster, 3).await[2];
    assert_eq!(
        (&ended["stage"], &ended["responseStatus"]["code"]),
        (&json!("ResponseComplete"), &json!(101))
    );
    assert_eq!(ended["annotations"]["authorization.k8s.io/decision"], "allow");
}

#[tokio::test]
async fn stages_can_be_left_out() {
    let cluster = Cluster::start_audited(POLICY).await;
    let limits = "/api/v1/namespaces/default/limitranges";
    let (code, _) = cluster.request("GET", limits, &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(cluster.request("POST", MAPS, &json!({"metadata": {"name": "a"}})).await.0, 201);
    let made = &lines(&cluster, 1).await[0]["objectRef"];
    assert_eq!((&made["resource"], &made["name"]), (&json!("configmaps"), &json!("a")));
}

//! `log` and `exec`: passed on to the agent of the Pod's node. The agent here is a server that echoes.

use std::net::{IpAddr, Ipv4Addr};

use api::authority::Holder;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::Cluster;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Answers what it was asked, or, when asked to switch protocols, whatever it is sent.
async fn echo(mut request: Request) -> Response<Body> {
    if !request.headers().contains_key("upgrade") {
        return Response::new(Body::from(request.uri().to_string()));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    kit::task::spawn("echo", async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response.header("connection", "Upgrade").header("upgrade", "echo").body(Body::empty()).unwrap()
}

/// A cluster with the node `n1`, whose agent echoes, and the Pod `p` on it.
async fn cluster_with_node() -> (Cluster, DropGuard) {
    let cluster = Cluster::start().await;
    let holder = Holder::agent("n1", [LOOPBACK]);
    let pair = cluster.authority.certificate("n1", &holder, jiff::Timestamp::now()).unwrap();
    let tls = kit::tls::server(&pair, Some(&cluster.authority.certificate_path())).unwrap();
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let token = CancellationToken::new();
    let options = kit::serve::Options { tls: Some(tls), ..kit::serve::Options::default() };
    kit::task::spawn(
        "agent",
        kit::serve::serve(listener, Router::new().fallback(echo), options, token.clone()),
    );
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    assert_eq!(cluster.request("POST", "/api/v1/nodes", &node).await.0, 201);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(cluster.request("POST", PODS, &pod).await.0, 201);
    (cluster, token.drop_guard())
}

#[tokio::test]
async fn logs_are_asked_of_the_pods_node() {
    let (cluster, _agent) = cluster_with_node().await;
    let request =
        http::Request::get(format!("{PODS}/p/log?follow=true&tailLines=5")).body(Vec::new()).unwrap();
    let text = cluster.client.request_text(request).await.unwrap();
    assert_eq!(text, "/containerLogs/default/p/c?follow=true&tailLines=5");
    let none = format!("{PODS}/p/log?container=none");
    assert_eq!(cluster.request("GET", &none, &Value::Null).await.0, 400);
    assert_eq!(cluster.request("GET", &format!("{PODS}/q/log"), &Value::Null).await.0, 404);
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel() {
    let (cluster, _agent) = cluster_with_node().await;
    let mut stream = cluster.connect().await;
    let head = format!(
        "GET {PODS}/p/exec?command=ls&stdin=true HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
         upgrade: echo\r\n\r\nhello"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
}

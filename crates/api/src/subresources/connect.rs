//! `log`, `exec`, `attach`, `portforward`: passed on to the agent of the Pod's node, whatever is spoken there.
//!
//! Nothing is parsed here: after an upgrade the bytes of WebSocket or SPDY are copied both ways.

use axum::body::Body;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Incoming;
use kinds::status::Failure;
use kit::Chain;
use kit::tunnel::Upstream;
use serde_json::{Value, json};

use crate::admission::Review;
use crate::call::Call;
use crate::context::Context;
use crate::{admission, object, respond};

/// More than this no agent has to say about a refusal.
const LONGEST_REFUSAL: usize = 16 * 1024;
/// The port of a node that does not say where its agent listens.
const KUBELET_PORT: u64 = 10250;

pub(super) async fn handle(call: Call) -> Result<Response<Body>, Failure> {
    let is_log = call.path.subresource.as_deref() == Some("log");
    if is_log {
        super::log::check(&call)?;
    }
    let pod = call.context.registry.get(&call.path).await?;
    // Reading a log changes nothing; whoever connects to a Pod may do anything in it.
    let warnings = if is_log { Vec::new() } else { admitted(&call, &options(&call)).await? };
    let uri = uri(&call, &pod)?;
    if is_log && node_name(&pod).is_empty() {
        // Nothing ran yet, so nothing was said.
        return Ok(respond::bytes_of(StatusCode::OK, "text/plain", Body::empty()));
    }
    let node = node_name(&pod);
    if node.is_empty() {
        let message =
            format!("{} {} does not have a host assigned", call.path.kind.singular, call.path.name());
        return Err(Failure::bad_request(message));
    }
    let upstream = upstream(&call.context, node).await?;
    let mut request: Request<Body> = call.into_request();
    *request.uri_mut() = uri;
    match kit::tunnel::forward(request, &upstream).await {
        // Whoever reads a log reads a refusal as they read any other of ours.
        Ok(response) if is_log && response.status().as_u16() >= 400 => Err(refusal(response).await),
        Ok(response) => Ok(respond::with_warnings(passed_on(response), &warnings)),
        Err(error) => Err(Failure::internal(Chain(&error))),
    }
}

/// Asks admission about a connection; answers its warnings.
pub(super) async fn admitted(call: &Call, options: &[(&str, Value)]) -> Result<Vec<String>, Failure> {
    let part = call.path.subresource.as_deref().and_then(|name| call.path.kind.subresource(name));
    let mut object = json!({"kind": part.map_or("", |part| part.kind), "apiVersion": "v1"});
    for (name, value) in options {
        object[*name] = value.clone();
    }
    let review = admission::admit(Review::of_connect(call, object)).await?;
    Ok(review.warnings)
}

/// What is to be connected, from the query.
fn options(call: &Call) -> Vec<(&'static str, Value)> {
    let mut options = Vec::new();
    if call.path.subresource.as_deref() == Some("portforward") {
        let ports: Vec<u16> = call.query.all("ports").filter_map(|port| port.parse().ok()).collect();
        options.extend((!ports.is_empty()).then(|| ("ports", json!(ports))));
        return options;
    }
    for stream in ["stdin", "stdout", "stderr", "tty"] {
        options.extend(call.query.flag(stream).then_some((stream, json!(true))));
    }
    options.extend(call.query.get("container").map(|name| ("container", json!(name))));
    let command: Vec<&str> = call.query.all("command").collect();
    options.extend((!command.is_empty()).then(|| ("command", json!(command))));
    options
}

/// Why the agent does not give a log, as a `Status`.
async fn refusal(response: Response<Incoming>) -> Failure {
    let code = response.status();
    let body = Limited::new(response.into_body(), LONGEST_REFUSAL).collect().await;
    let bytes = body.map(Collected::to_bytes).unwrap_or_default();
    let said = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Failure::bad_request(said),
        StatusCode::NOT_FOUND => Failure::new(404, "NotFound", said),
        _ => Failure::internal(said),
    }
}

/// What the other side answered, for the client's connection.
pub(super) fn passed_on(mut response: Response<Incoming>) -> Response<Body> {
    // A tunnel's answer must be passed on whole, or the client would not switch.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().remove(http::header::CONNECTION);
    }
    response.map(Body::new)
}

/// The path at the agent, with the client's own query.
fn uri(call: &Call, pod: &Value) -> Result<Uri, Failure> {
    let subresource = call.path.subresource.as_deref().unwrap_or_default();
    let (namespace, name) = (call.namespace(), call.path.name());
    let path = match subresource {
        "portforward" => format!("/portForward/{namespace}/{name}"),
        "log" => format!("/containerLogs/{namespace}/{name}/{}", container(call, pod)?),
        other => format!("/{other}/{namespace}/{name}/{}", container(call, pod)?),
    };
    let mut query = call.query_text().to_owned();
    // The kubelet's own names for the streams of exec and attach.
    for (ours, kubelets) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error")] {
        if subresource != "log" && call.query.flag(ours) {
            query.push_str(&format!("&{kubelets}=1"));
        }
    }
    format!("{path}?{query}").parse().map_err(|_| Failure::bad_request("the request cannot be passed on"))
}

/// The container that the client names, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String, Failure> {
    let names: Vec<&str> = ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|field| pod["spec"][*field].as_array().into_iter().flatten())
        .filter_map(|container| container["name"].as_str())
        .collect();
    let pod_name = call.path.name();
    let wanted = call.query.get("container").unwrap_or_default();
    if wanted.is_empty() {
        let only = pod["spec"]["containers"].as_array().is_some_and(|containers| containers.len() == 1);
        return match names.first() {
            Some(first) if only => Ok((*first).to_owned()),
            _ => Err(Failure::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                names.join(" ")
            ))),
        };
    }
    if names.contains(&wanted) {
        return Ok(wanted.to_owned());
    }
    Err(Failure::bad_request(format!("container {wanted} is not valid for pod {pod_name}")))
}

fn node_name(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// Where the agent of a node listens.
pub(super) async fn upstream(context: &Context, node_name: &str) -> Result<Upstream, Failure> {
    let nodes = kinds::find("", "v1", "nodes").ok_or_else(Failure::no_such_path)?;
    let node = context.registry.find(nodes, "", node_name).await?;
    agent(context, &node.ok_or_else(|| Failure::not_found(nodes, node_name))?)
}

/// As [`upstream`] for a node that is at hand.
pub(crate) fn agent(context: &Context, node: &Value) -> Result<Upstream, Failure> {
    let node_name = object::name(node);
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses.clone().find(|address| address["type"] == "InternalIP");
    let host = internal.and_then(|address| address["address"].as_str()).unwrap_or_default();
    if host.is_empty() {
        return Err(Failure::unavailable(format!("node {node_name} has not told its address yet")));
    }
    let port =
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().filter(|port| *port != 0);
    let port = u16::try_from(port.unwrap_or(KUBELET_PORT))
        .map_err(|_| Failure::internal(format!("node {node_name} tells a port that is none")))?;
    Ok(Upstream { host: host.to_owned(), port, tls: Some(context.kubelet_tls.clone()) })
}

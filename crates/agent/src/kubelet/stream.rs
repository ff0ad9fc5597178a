//! Commands, attachments and forwarded ports: the engine serves the stream, the agent only joins the two ends.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{StatusCode, Uri};
use kit::tunnel::{Upstream, forward};
use pouch::cri;

use super::{Refusal, Server};
use crate::engine::EngineError;

type Target = (String, String, String);

/// The query of a stream request: kubelets say `input`, API servers may pass on `stdin`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    command: Vec<String>,
    ports: Vec<i32>,
    given: Vec<String>,
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut parsed = Self::default();
        for (key, value) in pairs(query) {
            match key.as_str() {
                "command" => parsed.command.push(value),
                "port" | "ports" => {
                    parsed.ports.extend(value.split(',').filter_map(|port| port.parse::<i32>().ok()))
                }
                _ if matches!(value.as_str(), "1" | "true") => parsed.given.push(key),
                _ => {}
            }
        }
        parsed
    }

    fn wants(&self, names: [&str; 2]) -> bool {
        self.given.iter().any(|given| names.contains(&given.as_str()))
    }
}

/// The decoded pairs of a query.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(key), decoded(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let code = hex.filter(|_| byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok());
        at += if code.is_some() { 3 } else { 1 };
        plain.push(code.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&plain).into_owned()
}

pub(super) async fn exec(
    State(server): State<Arc<Server>>,
    Path(target): Path<Target>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if query.command.is_empty() {
        return Err(Refusal::bad_request("you must specify at least 1 command for the container"));
    }
    let tty = query.wants(["tty", "tty"]);
    let order = cri::ExecRequest {
        container_id: container_id(&server, &target)?,
        tty,
        stdin: query.wants(["input", "stdin"]),
        stdout: query.wants(["output", "stdout"]),
        // A terminal has one output only.
        stderr: !tty && query.wants(["error", "stderr"]),
        cmd: query.command,
    };
    pass_on(request, server.context.engine.exec(order).await).await
}

pub(super) async fn attach(
    State(server): State<Arc<Server>>,
    Path(target): Path<Target>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let tty = query.wants(["tty", "tty"]);
    let order = cri::AttachRequest {
        container_id: container_id(&server, &target)?,
        tty,
        stdin: query.wants(["input", "stdin"]),
        stdout: query.wants(["output", "stdout"]),
        stderr: !tty && query.wants(["error", "stderr"]),
    };
    pass_on(request, server.context.engine.attach(order).await).await
}

pub(super) async fn port_forward(
    State(server): State<Arc<Server>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let entry = server.context.registry.find(&namespace, &pod);
    let sandbox = entry.and_then(|entry| entry.live.borrow().sandbox.clone());
    let sandbox = sandbox
        .ok_or_else(|| Refusal::not_found(format!("pod \"{namespace}/{pod}\" is not running here")))?;
    pass_on(request, server.context.engine.port_forward(&sandbox, query.ports).await).await
}

fn container_id(server: &Server, (namespace, pod, container): &Target) -> Result<String, Refusal> {
    let entry = server.context.registry.find(namespace, pod);
    let entry =
        entry.ok_or_else(|| Refusal::not_found(format!("pod \"{namespace}/{pod}\" is not on this node")))?;
    let live = entry.live.borrow();
    let running = live.running(container);
    let missing = || Refusal::bad_request(format!("container {container} is not running in pod {pod}"));
    running.map(|running| running.id.clone()).ok_or_else(missing)
}

/// Sends the very request on to the engine's stream server.
async fn pass_on(mut request: Request, url: Result<String, EngineError>) -> Result<Response, Refusal> {
    let url = url.map_err(|error| Refusal::internal(&error))?;
    let garbled = || Refusal {
        code: StatusCode::BAD_GATEWAY,
        message: format!("the engine answered with `{url}`, which is no address of a stream"),
    };
    let uri: Uri = url.parse().map_err(|_| garbled())?;
    let host = uri.host().ok_or_else(garbled)?.to_owned();
    let upstream = Upstream { host, port: uri.port_u16().unwrap_or(80), tls: None };
    *request.uri_mut() = uri;
    let response = forward(request, &upstream).await.map_err(|error| Refusal::internal(&error))?;
    Ok(response.map(Body::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse(
            "command=sh&command=-c&command=echo+%22a%20b%22%3D&input=1&tty=0&stdout=true&port=80,8080&port=x",
        );
        assert_eq!(query.command, ["sh", "-c", "echo \"a b\"="]);
        assert_eq!(query.ports, [80, 8080]);
        assert!(
            query.wants(["input", "stdin"])
                && query.wants(["output", "stdout"])
                && !query.wants(["tty", "tty"])
        );
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}

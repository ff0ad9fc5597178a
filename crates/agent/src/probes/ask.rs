//! Asks a container how it is: by a command in it, by HTTP or by a TCP connection.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use crate::engine::Engine;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Target {
    pub container_id: String,
    pub container: Container,
    pub ip: String,
}

/// The answer: what is wrong, if anything.
pub type Answer = Result<(), String>;

/// Asks once. Silence beyond the probe's timeout is a failure.
pub async fn ask(engine: &Engine, target: &Target, probe: &Probe) -> Answer {
    let limit = super::timeout(probe);
    let asked = async {
        if let Some(action) = &probe.exec {
            exec(engine, target, action.command.clone().unwrap_or_default(), limit).await
        } else if let Some(action) = &probe.http_get {
            http(target, action).await
        } else if let Some(action) = &probe.tcp_socket {
            let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
            connect(host, port(&action.port, &target.container)?).await.map(drop)
        } else if let Some(action) = &probe.grpc {
            // The health service answers only where the port is open, so this much can be said without it.
            connect(&target.ip, u16::try_from(action.port).unwrap_or(0)).await.map(drop)
        } else {
            Ok(())
        }
    };
    // The engine keeps the limit of commands itself; a little more lets it say so.
    let patience = if probe.exec.is_some() { limit + Duration::from_secs(2) } else { limit };
    tokio::time::timeout(patience, asked)
        .await
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {} s", limit.as_secs())))
}

async fn exec(engine: &Engine, target: &Target, command: Vec<String>, limit: Duration) -> Answer {
    let response = engine.exec_sync(&target.container_id, command, limit).await;
    let response = response.map_err(|error| error.message().to_owned())?;
    if response.exit_code == 0 {
        return Ok(());
    }
    let said = [response.stdout, response.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().chars().take(512).collect::<String>();
    Err(format!("command exited with {}: {said}", response.exit_code))
}

pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|error| format!("dial tcp {host}:{port}: {error}"))
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("no such port: {port:?}"))
}

async fn http(target: &Target, action: &HTTPGetAction) -> Answer {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
    let port = port(&action.port, &target.container)?;
    let stream = connect(host, port).await?;
    if action.scheme.as_deref() == Some("HTTPS") {
        // Whoever accepts the connection serves; its certificate is not for the prober to judge.
        return Ok(());
    }
    let path = action.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let status = get(stream, &format!("{host}:{port}"), &path, action).await?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(format!("HTTP probe failed with statuscode: {status}"))
    }
}

async fn get(stream: TcpStream, authority: &str, path: &str, action: &HTTPGetAction) -> Result<u16, String> {
    let own: Vec<_> = action.http_headers.iter().flatten().collect();
    let mut request =
        http::Request::get(path).header("user-agent", "kube-probe/crest").header("accept", "*/*");
    if !own.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
        request = request.header("host", authority);
    }
    for header in own {
        request = request.header(&header.name, &header.value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    exchange(stream, request, async |response| {
        let status = response.status().as_u16();
        let _rest = response.into_body().frame().await;
        Ok(status)
    })
    .await
}

/// Sends one request and hands its answer to `read`. The connection is driven beside that and ends with it: nothing is
/// left behind.
pub(crate) async fn exchange<T>(
    stream: TcpStream,
    request: http::Request<Empty<Bytes>>,
    read: impl AsyncFnOnce(http::Response<Incoming>) -> Result<T, String>,
) -> Result<T, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let exchange =
        async { read(sender.send_request(request).await.map_err(|error| error.to_string())?).await };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

//! A connection that costs its client as little as can be, so that what is measured is the server: made beforehand, used
//! by one request after the other, and what it answers is read and thrown away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::future::try_join_all;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where the lanes of a client lead, and who it is.
#[derive(Clone)]
pub struct Road {
    tls: TlsConnector,
    host: String,
    port: u16,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Road {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Road to {}:{}", self.host, self.port)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Lane {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

impl Road {
    /// The road of the client of `config`; of whoever `token` stands for, if there is one.
    pub fn new(config: &kube::Config, token: Option<&str>) -> anyhow::Result<Self> {
        let host = config.cluster_url.host().context("a cluster without a host")?.to_owned();
        let port = config.cluster_url.port_u16().context("a cluster without a port")?;
        let authorization =
            token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose()?;
        let mut config = config.clone();
        if token.is_some() {
            config.auth_info = kube::config::AuthInfo::default();
        }
        let tls = Arc::new(config.rustls_client_config()?).into();
        Ok(Self { tls, host, port, authorization })
    }

    pub async fn lane(&self) -> anyhow::Result<Lane> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(self.host.clone())?, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends when the lane does; the server may have ended before.
        kit::task::spawn("lane", async move { drop(connection.await) });
        let host = HeaderValue::from_str(&format!("{}:{}", self.host, self.port))?;
        Ok(Lane { sender, host, authorization: self.authorization.clone() })
    }

    /// Creates `count` objects at `path`, so many at a time; tells how long each took, and all together. Connections and
    /// bodies are made before the clock starts.
    pub async fn create(
        &self,
        path: &str,
        (count, in_flight): (usize, usize),
        object: impl Fn(usize) -> Value,
    ) -> anyhow::Result<(Vec<Duration>, Duration)> {
        let bodies: Vec<Bytes> = (0..count).map(|number| object(number).to_string().into()).collect();
        let lanes = try_join_all((0..in_flight).map(|_| self.lane())).await?;
        let next = AtomicUsize::new(0);
        let begun = kit::clock::monotonic();
        let runs = lanes.into_iter().map(|lane| create_all(lane, path, &bodies, &next));
        let durations = try_join_all(runs).await?.concat();
        Ok((durations, begun.elapsed()))
    }
}

async fn create_all(
    mut lane: Lane,
    path: &str,
    bodies: &[Bytes],
    next: &AtomicUsize,
) -> anyhow::Result<Vec<Duration>> {
    let mut durations = Vec::new();
    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begun = kit::clock::monotonic();
        let status = lane.send(Method::POST, path, body.clone()).await?;
        durations.push(begun.elapsed());
        anyhow::ensure!(status == StatusCode::CREATED, "a create at {path} was answered {status}");
    }
    Ok(durations)
}

impl Lane {
    /// Asks, and waits until the whole answer is here.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<StatusCode> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.header("content-type", "application/json").body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(status)
    }
}

//! A connection that costs its client as little as can be, so that what is measured is the server: made beforehand, used
//! by one request after the other, and what it answers is read and thrown away. Client and server share the cores; what
//! an HTTP library would do beside that is the client's work, too.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, StatusCode};
use kube::client::ConfigExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

/// Where the lanes of a client lead, and who it is.
#[derive(Clone)]
pub struct Road {
    tls: TlsConnector,
    host: String,
    port: u16,
    /// The headers that every request has.
    headers: String,
}

impl std::fmt::Debug for Road {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Road to {}:{}", self.host, self.port)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Lane {
    stream: TlsStream<TcpStream>,
    headers: String,
    /// What is sent, and then what came.
    buffer: Vec<u8>,
}

/// The most headers of an answer.
const MAX_HEADERS: usize = 32;

impl Road {
    /// The road of the client of `config`; of whoever `token` stands for, if there is one.
    pub fn new(config: &kube::Config, token: Option<&str>) -> anyhow::Result<Self> {
        let host = config.cluster_url.host().context("a cluster without a host")?.to_owned();
        let port = config.cluster_url.port_u16().context("a cluster without a port")?;
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let headers = format!(
            "host: {host}:{port}\r\ncontent-type: application/json\r\n{}",
            authorization.unwrap_or_default()
        );
        let mut config = config.clone();
        if token.is_some() {
            config.auth_info = kube::config::AuthInfo::default();
        }
        let tls = Arc::new(config.rustls_client_config()?).into();
        Ok(Self { tls, host, port, headers })
    }

    pub async fn lane(&self) -> anyhow::Result<Lane> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(self.host.clone())?, stream).await?;
        Ok(Lane { stream, headers: self.headers.clone(), buffer: Vec::new() })
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
        let status = lane.send(Method::POST, path, body).await?;
        durations.push(begun.elapsed());
        anyhow::ensure!(status == StatusCode::CREATED, "a create at {path} was answered {status}");
    }
    Ok(durations)
}

impl Lane {
    /// Asks, and waits until the whole answer is here.
    pub async fn send(&mut self, method: Method, path: &str, body: &[u8]) -> anyhow::Result<StatusCode> {
        self.buffer.clear();
        let (headers, length) = (&self.headers, body.len());
        write!(self.buffer, "{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n")?;
        self.buffer.extend_from_slice(body);
        self.stream.write_all(&self.buffer).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let (status, mut left) = loop {
            self.read().await?;
            if let Some(answer) = answer(&self.buffer)? {
                break answer;
            }
        };
        while left > 0 {
            self.buffer.clear();
            self.read().await?;
            left = left.checked_sub(self.buffer.len()).context("more came than the answer")?;
        }
        Ok(status)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let count = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(count > 0, "the server ended the connection");
        Ok(())
    }
}

/// The status of an answer and how much of it is still to come, once its head is here.
fn answer(bytes: &[u8]) -> anyhow::Result<Option<(StatusCode, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes)? else { return Ok(None) };
    let status = StatusCode::from_u16(head.code.context("an answer without a status")?)?;
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize =
        str::from_utf8(length.context("an answer that does not say its length")?.value)?.parse()?;
    let left = (head_length + length).checked_sub(bytes.len()).context("more came than the answer")?;
    Ok(Some((status, left)))
}

//! The Container Runtime Interface, version 1: messages, client and server, generated from `proto/api.proto`.

use std::io;
use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

pub use generated::*;

mod generated {
    #![expect(
        clippy::allow_attributes_without_reason,
        clippy::struct_excessive_bools,
        clippy::too_many_lines,
        reason = "generated code has a shape of its own"
    )]
    tonic::include_proto!("runtime.v1");
}

/// The engine's socket cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the container engine at `{socket}`")]
pub struct ConnectError {
    socket: String,
    source: tonic::transport::Error,
}

/// A connection to the engine that listens on `socket`; both clients of [`generated`] take it.
pub async fn connect(socket: &Path) -> Result<Channel, ConnectError> {
    endpoint()
        .connect_with_connector(connector(socket))
        .await
        .map_err(|source| ConnectError { socket: socket.display().to_string(), source })
}

/// As [`connect`], but the connection is made at the first call and again after each loss.
pub fn connect_lazy(socket: &Path) -> Channel {
    endpoint().connect_with_connector_lazy(connector(socket))
}

/// The address is a formality of HTTP: the connector goes to the socket.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://pouch")
}

fn connector(
    socket: &Path,
) -> impl tower::Service<
    http::Uri,
    Response = TokioIo<UnixStream>,
    Error = io::Error,
    Future = impl Future<Output = io::Result<TokioIo<UnixStream>>> + Send,
> + Send
+ 'static {
    let socket = socket.to_owned();
    tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok(TokioIo::new(UnixStream::connect(socket).await?)) }
    })
}

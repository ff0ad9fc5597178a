//! Tunnels over real sockets: a client, a proxy made of `serve` and `forward`, an upstream.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::util::service_fn;

use super::{ForwardError, Upstream, forward};
use crate::serve::{Options, serve};
use crate::tls::PeerIdentity;
use crate::tls::tests::Pki;

type Body = BoxBody<Bytes, hyper::Error>;

fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A proxy in front of `port` on this machine, and its address.
async fn proxy(port: u16) -> SocketAddr {
    let service = service_fn(move |mut request: Request<Incoming>| async move {
        let path = format!("/upstream{}", request.uri());
        *request.uri_mut() = path.parse().unwrap();
        let upstream = Upstream { host: "127.0.0.1".to_owned(), port, tls: None };
        Ok::<_, Infallible>(match forward(request, &upstream).await {
            Ok(response) => response.map(BodyExt::boxed),
            Err(error) => {
                Response::builder().status(502).body(text(crate::Chain(&error).to_string())).unwrap()
            }
        })
    });
    start(service).await
}

async fn start<S, F>(service: S) -> SocketAddr
where
    S: tower::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>,
    S: Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    crate::task::spawn("test", serve(listener, service, Options::default(), CancellationToken::new()));
    address
}

/// Reads up to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

#[tokio::test]
async fn a_request_arrives_with_its_path_and_without_credentials() {
    let upstream = start(service_fn(|request: Request<Incoming>| async move {
        let told = format!(
            "{} {} host={} auth={} body=",
            request.method(),
            request.uri(),
            request.headers()["host"].to_str().unwrap(),
            request.headers().contains_key("authorization"),
        );
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(text([told.into_bytes(), body.to_vec()].concat())))
    }))
    .await;
    let mut client = TcpStream::connect(proxy(upstream.port()).await).await.unwrap();
    let request = "POST /log?follow=true HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer x\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    let expected =
        format!("POST /upstream/log?follow=true host=127.0.0.1:{} auth=false body=abc", upstream.port());
    assert!(answer.ends_with(&expected), "{answer}");
}

#[tokio::test]
async fn a_long_answer_streams_and_ends_with_its_reader() {
    let (lines, receiver) = tokio::sync::mpsc::channel::<&str>(1);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(Some(receiver)));
    let upstream = start(service_fn(move |_request: Request<Incoming>| {
        let receiver = receiver.clone();
        async move {
            let receiver = receiver.lock().await.take().unwrap();
            let frames = tokio_stream(receiver).map(|line| Ok(Frame::data(Bytes::from(line))));
            Ok(Response::new(BodyExt::boxed(StreamBody::new(frames))))
        }
    }))
    .await;
    let mut client = TcpStream::connect(proxy(upstream.port()).await).await.unwrap();
    client.write_all(b"GET /log HTTP/1.1\r\nHost: api\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 200"));
    for line in ["one\n", "two\n"] {
        lines.send(line).await.unwrap();
        let mut chunk = vec![0; "4\r\n".len() + line.len() + "\r\n".len()];
        client.read_exact(&mut chunk).await.unwrap();
        assert_eq!(chunk, format!("4\r\n{line}\r\n").into_bytes());
    }
    drop(client);
    // Nothing is written any more, and still the upstream's answer ends.
    tokio::time::timeout(Duration::from_secs(20), lines.closed()).await.unwrap();
}

fn tokio_stream<T: Send + 'static>(
    receiver: tokio::sync::mpsc::Receiver<T>,
) -> impl futures::Stream<Item = T> + Send + Sync {
    futures::stream::unfold(receiver, async |mut receiver| {
        let item = receiver.recv().await?;
        Some((item, receiver))
    })
}

/// An upstream that switches to a protocol of which neither `serve` nor `forward` knows anything.
async fn switching_upstream(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("post /upstream/exec?stdin=true http/1.1"), "{head}");
    assert!(head.contains("upgrade: spdy/3.1") && head.contains("connection: upgrade"), "{head}");
    assert!(head.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\nfirst words";
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut question = [0; 5];
    stream.read_exact(&mut question).await.unwrap();
    assert_eq!(&question, b"\0ping");
    stream.write_all(b"\0pong").await.unwrap();
}

#[tokio::test]
async fn an_upgraded_connection_is_copied_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = crate::task::spawn("test upstream", switching_upstream(listener));
    let mut client = TcpStream::connect(proxy(port).await).await.unwrap();
    let request = "POST /exec?stdin=true HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut client).await;
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: spdy/3.1"), "{head}");
    let mut first = [0; 11];
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first words");
    client.write_all(b"\0ping").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"\0pong", "and the end of the upstream is the end of the tunnel");
    upstream.await.unwrap();
}

#[tokio::test]
async fn an_upstream_with_tls_knows_us_by_our_certificate() {
    let pki = Pki::new();
    let service = service_fn(|request: Request<Incoming>| async move {
        let identity = request.extensions().get::<PeerIdentity>().unwrap();
        Ok::<_, Infallible>(Response::new(text(identity.common_name.clone())))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options { tls: Some(pki.server()), ..Options::default() };
    crate::task::spawn("test", serve(listener, service, options, CancellationToken::new()));
    let get = || Request::get("/").body(Full::<Bytes>::default()).unwrap();

    let upstream = Upstream { host: "localhost".to_owned(), port, tls: Some(pki.client()) };
    let response = forward(get(), &upstream).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "jane");

    // The certificate does not name the address.
    let upstream = Upstream { host: "127.0.0.1".to_owned(), ..upstream };
    let error = forward(get(), &upstream).await.unwrap_err();
    assert!(crate::Chain(&error).to_string().contains("not valid for name"), "{}", crate::Chain(&error));
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = start(service_fn(|_request: Request<Incoming>| async {
        Ok(Response::builder().status(404).body(text("no such container")).unwrap())
    }))
    .await;
    let mut client = TcpStream::connect(proxy(upstream.port()).await).await.unwrap();
    let request = "GET /exec HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("http/1.1 404"));
    let mut body = vec![0; "no such container".len()];
    client.read_exact(&mut body).await.unwrap();
    assert_eq!(body, b"no such container");
}

#[tokio::test]
async fn an_absent_upstream_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let upstream = Upstream { host: "127.0.0.1".to_owned(), port, tls: None };
    let request = Request::get("/").body(Full::<Bytes>::default()).unwrap();
    let error = forward(request, &upstream).await.unwrap_err();
    assert!(matches!(error, ForwardError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

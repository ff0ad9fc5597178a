//! Serving over real sockets, judged by clients that speak byte by byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tower::util::service_fn;

use super::{Options, serve};
use crate::tls::PeerIdentity;
use crate::tls::tests::{Pki, name};

/// Answers who the peer is.
async fn who(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let identity = request.extensions().get::<PeerIdentity>();
    let text = identity.map_or("nobody".to_owned(), |identity| {
        format!("{} of {}", identity.common_name, identity.organizations.join(","))
    });
    Ok(Response::new(Full::new(Bytes::from(text))))
}

struct Running {
    address: SocketAddr,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn options(pki: &Pki) -> Options {
    Options { tls: Some(pki.server()), ..Options::default() }
}

async fn run(options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let task = crate::task::spawn("test", serve(listener, service_fn(who), options, token.clone()));
    Running { address, token, task }
}

/// Sends `request` and reads until the server closes.
async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: &str,
) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A peer that hangs up without a TLS farewell is read as far as it got.
    let _farewell = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_certificate_tells_who_the_peer_is() {
    let pki = Pki::new();
    let running = run(options(&pki)).await;
    for (client, expected) in [(Some("client"), "jane of dev"), (None, "nobody")] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let stream = pki.connector(client).connect(name(), stream).await.unwrap();
        let answer = exchange(stream, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (pki, other) = (Pki::new(), Pki::new());
    std::fs::copy(pki.path().join("ca.crt"), other.path().join("ca.crt")).unwrap();
    let running = run(options(&pki)).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    // With TLS 1.3 the client learns of the refusal only when it reads.
    let stream = other.connector(Some("client")).connect(name(), stream).await.unwrap();
    assert_eq!(exchange(stream, GET).await, "");
}

#[tokio::test]
async fn http2_is_spoken_when_offered() {
    let pki = Pki::new();
    let running = run(options(&pki)).await;
    let stream = pki.connect_http2(running.address).await;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .unwrap();
    crate::task::spawn_fallible("test client", connection);
    let request = Request::get("https://localhost/").body(Full::<Bytes>::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "jane of dev");
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so_and_garbage_is_dropped() {
    let pki = Pki::new();
    let running = run(options(&pki)).await;
    let answer = exchange(TcpStream::connect(running.address).await.unwrap(), GET).await;
    assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("HTTPS server"), "{answer}");
    for garbage in ["\x16\x03\x01garbage that is no handshake at all", "\0\0\0\0\0"] {
        exchange(TcpStream::connect(running.address).await.unwrap(), garbage).await;
    }
    let stream = TcpStream::connect(running.address).await.unwrap();
    let stream = pki.connector(None).connect(name(), stream).await.unwrap();
    assert!(exchange(stream, GET).await.ends_with("nobody"), "the server goes on");
}

#[tokio::test]
async fn who_sends_no_request_is_dropped() {
    let pki = Pki::new();
    let limit = Duration::from_millis(50);
    for options in [
        Options { header_timeout: limit, ..options(&pki) },
        Options { header_timeout: limit, ..Options::default() },
    ] {
        let running = run(options).await;
        for beginning in ["", "GET / HT"] {
            let stream = TcpStream::connect(running.address).await.unwrap();
            tokio::time::timeout(Duration::from_secs(20), exchange(stream, beginning)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_says_nothing_over_http2_is_dropped_too() {
    let pki = Pki::new();
    let running = run(Options { header_timeout: Duration::from_millis(50), ..options(&pki) }).await;
    let stream = pki.connect_http2(running.address).await;
    tokio::time::timeout(Duration::from_secs(20), exchange(stream, "")).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let running = run(Options { max_connections: 1, ..Options::default() }).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(b"GET / HT").await.unwrap();
    let second = TcpStream::connect(running.address).await.unwrap();
    let mut second = std::pin::pin!(exchange(second, GET));
    let early = tokio::time::timeout(Duration::from_millis(50), second.as_mut()).await;
    assert!(early.is_err(), "served beyond the limit: {early:?}");
    drop(first);
    assert!(second.await.ends_with("nobody"));
}

#[tokio::test]
async fn a_unix_socket_is_served_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let token = CancellationToken::new();
    let task =
        crate::task::spawn("test", serve(listener, service_fn(who), Options::default(), token.clone()));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), GET).await;
    assert!(answer.ends_with("nobody"), "{answer}");
    token.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (token, release) = (CancellationToken::new(), CancellationToken::new());
    let (entered, mut arrivals) = tokio::sync::mpsc::channel(1);
    let slow = {
        let release = release.clone();
        service_fn(move |_request: Request<Incoming>| {
            let (release, entered) = (release.clone(), entered.clone());
            async move {
                entered.send(()).await.unwrap();
                release.cancelled().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
            }
        })
    };
    let task = crate::task::spawn("test", serve(listener, slow, Options::default(), token.clone()));
    let stream = TcpStream::connect(address).await.unwrap();
    let client = async {
        arrivals.recv().await.unwrap();
        token.cancel();
        release.cancel();
    };
    let (answer, ()) = tokio::join!(exchange(stream, GET), client);
    assert!(answer.ends_with("done"), "{answer}");
    task.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let options = Options { drain: Duration::from_millis(20), ..Options::default() };
    let running = run(options).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    running.token.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn one_address_gets_so_many_connections_and_no_more() {
    let running = run(Options { max_connections_per_address: 1, ..Options::default() }).await;
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(b"GET / HT").await.unwrap();
    let second = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(exchange(second, GET).await, "", "closed at once");
    first.write_all(b"TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(exchange(first, "").await.ends_with("nobody"));
    // Its place is free once the server has seen the end.
    loop {
        let next = TcpStream::connect(running.address).await.unwrap();
        if exchange(next, GET).await.ends_with("nobody") {
            break;
        }
    }
}

#[tokio::test]
async fn endless_headers_are_refused() {
    let pki = Pki::new();
    let running = run(options(&pki)).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let stream = pki.connector(None).connect(name(), stream).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200 << 10));
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = crate::task::spawn("test client", async move {
        // The server may hang up before it has heard all of it.
        let _cut_off = writer.write_all(long.as_bytes()).await;
    });
    let mut answer = Vec::new();
    let _farewell = reader.read_to_end(&mut answer).await;
    writing.await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// Requests that are taken back as soon as they are made, over and over.
#[tokio::test]
async fn who_only_takes_requests_back_is_cut_off() {
    let pki = Pki::new();
    let running = run(options(&pki)).await;
    let mut stream = pki.connect_http2(running.address).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    // GET https / with the authority `x`, by the static table and one literal.
    let headers = [0x82, 0x87, 0x84, 0x01, 0x01, b'x'];
    let mut flood = Vec::new();
    for stream_id in (1..20_001_u32).step_by(2) {
        flood.extend([0, 0, 6, 1, 5]);
        flood.extend(stream_id.to_be_bytes());
        flood.extend(headers);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(stream_id.to_be_bytes());
        flood.extend(8_u32.to_be_bytes());
    }
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = crate::task::spawn("test client", async move {
        let _cut_off = writer.write_all(&flood).await;
    });
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut answer));
    let _farewell = reading.await.expect("the connection goes on");
    writing.await.unwrap();
    // GOAWAY with ENHANCE_YOUR_CALM.
    let is_goaway = |frame: &[u8]| frame[3] == 7 && frame[9 + 4..9 + 8] == [0, 0, 0, 11];
    assert!(answer.windows(17).any(is_goaway), "{answer:?}");
}

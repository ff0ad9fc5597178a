//! Streams to commands and containers over WebSocket.

use futures::{SinkExt, StreamExt};
use pouch::cri;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::daemon::{Daemon, shell, words};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The daemon's loopback is in its own network namespace: the thread that runs the test goes there.
async fn open(daemon: &Daemon, url: &str) -> Socket {
    open_with(daemon, url, Some("v5.channel.k8s.io")).await
}

async fn open_with(daemon: &Daemon, url: &str, protocol: Option<&'static str>) -> Socket {
    daemon.enter_netns();
    let mut request = url.replace("http://", "ws://").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn say(socket: &mut Socket, channel: u8, text: &str) {
    assert!(try_say(socket, channel, text).await, "the other end closed");
}

/// False where the other end has closed already.
async fn try_say(socket: &mut Socket, channel: u8, text: &str) -> bool {
    let message = [&[channel], text.as_bytes()].concat();
    socket.send(Message::Binary(message.into())).await.is_ok()
}

/// Everything until the end, by channel.
async fn rest(mut socket: Socket) -> [String; 4] {
    let mut channels: [String; 4] = Default::default();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(bytes) = message {
            channels[usize::from(bytes[0])].push_str(&String::from_utf8_lossy(&bytes[1..]));
        }
    }
    channels
}

async fn exec_url(daemon: &mut Daemon, id: &str, command: &[&str], tty: bool) -> String {
    let request = cri::ExecRequest {
        container_id: id.to_owned(),
        cmd: words(command),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    daemon.client.exec(request).await.unwrap().into_inner().url
}

#[tokio::test]
async fn input_output_and_exit_code() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("main", "while :; do sleep 1; done")).await;
    let url = exec_url(&mut daemon, &id, &["sh", "-c", "cat; echo bad >&2; exit 3"], false).await;
    let mut socket = open(&daemon, &url).await;
    say(&mut socket, 0, "hel").await;
    // As text, which some clients send what they have as text.
    socket.send(Message::Text("\0lo\n".into())).await.unwrap();
    say(&mut socket, 255, "\0").await;
    let [_, out, err, end] = rest(socket).await;
    assert_eq!((out.as_str(), err.as_str()), ("hello\n", "bad\n"));
    let status: serde_json::Value = serde_json::from_str(&end).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    // The address was good for one use.
    let again = tokio_tungstenite::connect_async(url.replace("http://", "ws://")).await;
    assert!(again.is_err());
}

#[tokio::test]
async fn a_terminal_with_a_size() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("main", "while :; do sleep 1; done")).await;
    let url = exec_url(&mut daemon, &id, &["sh"], true).await;
    let mut socket = open(&daemon, &url).await;
    say(&mut socket, 4, r#"{"Width":101,"Height":37}"#).await;
    say(&mut socket, 0, "stty size; exit\n").await;
    let [_, out, _, end] = rest(socket).await;
    assert!(out.contains("37 101"), "{out}");
    assert!(end.contains("Success"), "{end}");
}

#[tokio::test]
async fn attached_to_a_container() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let mut config = shell("main", "read line; echo got $line");
    (config.stdin, config.stdin_once) = (true, true);
    let id = daemon.launch(&sandbox, config).await;
    let request =
        cri::AttachRequest { container_id: id, stdin: true, stdout: true, stderr: true, tty: false };
    let url = daemon.client.attach(request).await.unwrap().into_inner().url;
    let mut socket = open(&daemon, &url).await;
    say(&mut socket, 0, "it\n").await;
    let [_, out, _, end] = rest(socket).await;
    assert_eq!(out, "got it\n");
    assert!(end.contains("Success"), "{end}");
}

#[tokio::test]
async fn ports_by_channels() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    daemon.launch(&sandbox, shell("main", "echo up; while :; do nc -l -p 8080 -e cat; done")).await;
    daemon.logged("main", 1).await;
    // The listener may not be there at the first try, nor between two.
    for protocol in [None, Some("v4.channel.k8s.io")] {
        let mut tries = 0..100;
        loop {
            assert!(tries.next().is_some(), "the port never opened");
            let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.clone(), port: vec![8080, 9] };
            let url = daemon.client.port_forward(request).await.unwrap().into_inner().url;
            let mut socket = open_with(&daemon, &url, protocol).await;
            // Where neither port is open, all is over before everything is said.
            if !try_say(&mut socket, 2, "nobody reads this").await
                || !try_say(&mut socket, 0, "there and back").await
            {
                continue;
            }
            let mut heard: [Vec<u8>; 4] = Default::default();
            while heard[1].len() <= 2 && (heard[0].len() < 16 || heard[3].len() <= 2) {
                let Some(Ok(message)) = socket.next().await else { break };
                let bytes = message.into_data();
                heard[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
            }
            if heard[1].len() > 2 {
                continue;
            }
            assert_eq!(
                (&heard[0][..2], &heard[0][2..]),
                (&8080u16.to_le_bytes()[..], &b"there and back"[..])
            );
            let refusal = String::from_utf8_lossy(&heard[3][2..]);
            assert!(refusal.contains("cannot connect to port 9"), "{refusal}");
            break;
        }
    }
}

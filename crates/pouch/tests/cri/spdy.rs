//! The same streams over SPDY/3.1, spoken by a client of a few lines: header blocks without the preset words are
//! as good as those with them.

use std::collections::HashMap;

use flate2::{Compress, Compression, FlushCompress};
use pouch::cri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::daemon::{Daemon, shell, words};

struct Client {
    stream: TcpStream,
    deflate: Compress,
    next: u32,
}

impl Client {
    async fn open(daemon: &Daemon, url: &str, protocol: &str) -> Self {
        daemon.enter_netns();
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101") && head.contains(protocol), "{head}");
        Self { stream, deflate: Compress::new(Compression::fast(), true), next: 1 }
    }

    async fn stream(&mut self, headers: &[(&str, &str)]) -> u32 {
        let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            plain.extend(text.bytes());
        }
        let mut block = Vec::with_capacity(1024);
        self.deflate.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
        let id = self.next;
        self.next += 2;
        let payload = [&id.to_be_bytes()[..], &[0; 6], &block].concat();
        self.frame([0x80, 3, 0, 1], 0, &payload).await;
        id
    }

    async fn data(&mut self, stream: u32, bytes: &[u8], is_last: bool) {
        self.frame(stream.to_be_bytes(), u8::from(is_last), bytes).await;
    }

    async fn frame(&mut self, head: [u8; 4], flags: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&head[..], &[flags], &length[1..], payload].concat();
        self.stream.write_all(&frame).await.unwrap();
    }

    /// What comes on each stream until `n_ended` of them have ended.
    async fn collect(&mut self, mut n_ended: usize) -> HashMap<u32, String> {
        let mut streams: HashMap<u32, String> = HashMap::new();
        while n_ended > 0 {
            let mut head = [0; 8];
            self.stream.read_exact(&mut head).await.unwrap();
            let [a, b, c, d, flags, e, f, g] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, e, f, g]).try_into().unwrap()];
            self.stream.read_exact(&mut payload).await.unwrap();
            if a & 0x80 == 0 {
                let text = streams.entry(u32::from_be_bytes([a, b, c, d])).or_default();
                text.push_str(&String::from_utf8_lossy(&payload));
                n_ended -= usize::from(flags & 1);
            }
        }
        streams
    }
}

#[tokio::test]
async fn a_command() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    let id = daemon.launch(&sandbox, shell("main", "while :; do sleep 1; done")).await;
    let request = cri::ExecRequest {
        container_id: id,
        cmd: words(&["sh", "-c", "cat; echo bad >&2; exit 3"]),
        tty: false,
        stdin: true,
        stdout: true,
        stderr: true,
    };
    let url = daemon.client.exec(request).await.unwrap().into_inner().url;
    let mut client = Client::open(&daemon, &url, "v4.channel.k8s.io").await;
    let error = client.stream(&[("streamtype", "error")]).await;
    let stdin = client.stream(&[("streamtype", "stdin")]).await;
    let stdout = client.stream(&[("streamtype", "stdout")]).await;
    let stderr = client.stream(&[("streamtype", "stderr")]).await;
    client.data(stdin, b"hello\n", false).await;
    client.data(stdin, b"", true).await;
    let told = client.collect(3).await;
    assert_eq!((told[&stdout].as_str(), told[&stderr].as_str()), ("hello\n", "bad\n"));
    assert!(told[&error].contains("NonZeroExitCode"), "{}", told[&error]);
}

#[tokio::test]
async fn a_port() {
    let mut daemon = Daemon::start().await;
    let sandbox = daemon.sandbox().await;
    daemon.launch(&sandbox, shell("main", "echo up; while :; do nc -l -p 8080 -e cat; done")).await;
    daemon.logged("main", 1).await;
    let request = cri::PortForwardRequest { pod_sandbox_id: sandbox, port: vec![8080, 9] };
    let url = daemon.client.port_forward(request).await.unwrap().into_inner().url;
    let mut client = Client::open(&daemon, &url, "portforward.k8s.io").await;

    let refused = client.stream(&[("streamtype", "error"), ("port", "9"), ("requestid", "0")]).await;
    client.stream(&[("streamtype", "data"), ("port", "9"), ("requestid", "0")]).await;
    let told = client.collect(2).await;
    assert!(told[&refused].contains("cannot connect to port 9"), "{}", told[&refused]);

    // The listener may not be there at the first try.
    for request in 1..100 {
        let request = request.to_string();
        let headers = [("streamtype", "error"), ("port", "8080"), ("requestid", request.as_str())];
        let error = client.stream(&headers).await;
        let headers = [("streamtype", "data"), ("port", "8080"), ("requestid", request.as_str())];
        let data = client.stream(&headers).await;
        client.data(data, b"there and back", true).await;
        let told = client.collect(2).await;
        if told[&error].is_empty() {
            assert_eq!(told[&data], "there and back");
            return;
        }
    }
    panic!("the port never opened");
}

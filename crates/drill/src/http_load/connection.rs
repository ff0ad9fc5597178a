//! One keep-alive HTTP/1.1 connection that asks for one path again and again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that does not answer for this long counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Connection {
    target: SocketAddr,
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(target: SocketAddr, path: &str) -> io::Result<Self> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: crest-drill\r\n\r\n");
        let stream = connect(target)?;
        Ok(Self { target, stream, request: request.into_bytes(), buffer: vec![0; 64 * 1024] })
    }

    /// Sends the request and reads the whole answer. After an error the connection is opened anew.
    pub(super) fn request(&mut self) -> io::Result<()> {
        let answered = self.exchange();
        if answered.is_err()
            && let Ok(stream) = connect(self.target)
        {
            self.stream = stream;
        }
        answered
    }

    fn exchange(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        let mut filled = 0;
        let (head, body) = loop {
            filled += self.read_more(filled)?;
            if let Some(sizes) = parse_head(&self.buffer[..filled])? {
                break sizes;
            }
        };
        let mut missing = (head + body).saturating_sub(filled);
        while missing > 0 {
            missing = missing.saturating_sub(self.read_more(0)?);
        }
        Ok(())
    }

    fn read_more(&mut self, at: usize) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer[at..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sizes of head and body once the head is complete; an error if the answer is no success with a known length.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    if !response.code.is_some_and(|code| (200..300).contains(&code)) {
        return Err(io::Error::new(ErrorKind::InvalidData, "the answer is no success"));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    length
        .map(|body| Some((head, body)))
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the answer has no content-length"))
}

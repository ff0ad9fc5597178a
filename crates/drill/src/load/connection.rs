//! One connection that asks for the same thing again and again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Request, http, redis};

/// A server that does not answer for this long counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer longer than this is no page but a fault.
pub(super) const LARGEST_ANSWER: usize = 64 << 20;

/// Size of the whole answer that begins with the bytes; `None` while that cannot be told yet. An answer that is no
/// success, or whose end nobody could find, is an error.
type AnswerSize = fn(&[u8]) -> io::Result<Option<usize>>;

#[derive(Debug)]
pub(super) struct Connection {
    target: SocketAddr,
    stream: TcpStream,
    request: Vec<u8>,
    answer_size: AnswerSize,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) fn open(target: SocketAddr, request: &Request) -> io::Result<Self> {
        let (request, answer_size): (_, AnswerSize) = match request {
            Request::Http { path } => (http::request(target, path), http::answer_size),
            Request::Redis { command } => (redis::request(command), redis::answer_size),
        };
        let stream = connect(target)?;
        Ok(Self { target, stream, request, answer_size, answer: vec![0; 64 * 1024] })
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
        while (self.answer_size)(&self.answer[..filled])?.is_none_or(|size| size > filled) {
            if filled == self.answer.len() {
                if filled >= LARGEST_ANSWER {
                    return Err(invalid("the answer is too long"));
                }
                self.answer.resize(filled * 2, 0);
            }
            match self.stream.read(&mut self.answer[filled..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

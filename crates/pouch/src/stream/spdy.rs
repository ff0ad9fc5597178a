//! Streams over SPDY/3.1, as older Kubernetes clients speak it: the server's side of one connection.

mod frame;
mod headers;

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use frame::{Answer, Decoder, Encoder, Frame, FrameError};

/// Frames on their way in each direction.
const BACKLOG: usize = 64;
/// Streams that one connection may have open at once.
const MOST_STREAMS: usize = 512;

#[derive(Debug, thiserror::Error)]
pub(super) enum SpdyError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("the peer does not speak SPDY/3.1")]
    Frame(#[from] FrameError),
}

/// A stream that the peer opened: bytes from it, and the way back.
#[derive(Debug)]
pub(super) struct Stream {
    headers: Vec<(String, String)>,
    pub reader: mpsc::Receiver<Bytes>,
    pub writer: Writer,
}

impl Stream {
    /// Names of headers have no case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// The way back to the peer on one stream.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    stream: u32,
    answers: mpsc::Sender<Answer>,
}

impl Writer {
    /// `false`: the peer is gone.
    pub(super) async fn send(&self, bytes: Bytes) -> bool {
        self.answers.send(Answer::Data { stream: self.stream, bytes, ended: false }).await.is_ok()
    }

    pub(super) async fn end(&self) {
        let end = Answer::Data { stream: self.stream, bytes: Bytes::new(), ended: true };
        let _the_peer_is_gone = self.answers.send(end).await.is_err();
    }
}

/// Serves the connection until the peer leaves; `streams` gets each stream that is opened.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite,
    streams: mpsc::Sender<Stream>,
) -> Result<(), SpdyError> {
    let (reader, writer) = tokio::io::split(io);
    let (answers, to_write) = mpsc::channel(BACKLOG);
    // The writing half ends when nobody can have more to say.
    tokio::try_join!(read(reader, answers, streams), write(writer, to_write))?;
    Ok(())
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut answers: mpsc::Receiver<Answer>,
) -> Result<(), SpdyError> {
    let mut encoder = Encoder::new()?;
    while let Some(answer) = answers.recv().await {
        let mut wire = Vec::new();
        encoder.encode(&answer, &mut wire)?;
        writer.write_all(&wire).await?;
        writer.flush().await?;
    }
    Ok(writer.shutdown().await?)
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    answers: mpsc::Sender<Answer>,
    streams: mpsc::Sender<Stream>,
) -> Result<(), SpdyError> {
    let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            match frame {
                Frame::Open { stream, headers, ended } => {
                    let (sender, receiver) = mpsc::channel(BACKLOG);
                    let opened = Stream {
                        headers,
                        reader: receiver,
                        writer: Writer { stream, answers: answers.clone() },
                    };
                    let welcome = open.len() < MOST_STREAMS;
                    let answer = if welcome { Answer::Reply { stream } } else { Answer::Refuse { stream } };
                    let is_over =
                        answers.send(answer).await.is_err() || welcome && streams.send(opened).await.is_err();
                    if is_over {
                        return Ok(());
                    }
                    if welcome && !ended {
                        open.insert(stream, sender);
                    }
                }
                Frame::Data { stream, bytes, ended } => {
                    if let Some(sender) = open.get(&stream)
                        && !bytes.is_empty()
                        && sender.send(bytes).await.is_err()
                    {
                        open.remove(&stream);
                    }
                    if ended {
                        open.remove(&stream);
                    }
                }
                Frame::Reset { stream } => drop(open.remove(&stream)),
                Frame::Ping { id } => {
                    // Ours would be even; an answer to none of ours needs none.
                    if id % 2 == 1 && answers.send(Answer::Pong { id }).await.is_err() {
                        return Ok(());
                    }
                }
                Frame::GoAway | Frame::Ignored => {}
            }
        }
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

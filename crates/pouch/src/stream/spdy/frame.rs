//! SPDY/3.1's frames, as far as Kubernetes' streams use them.
//!
//! ```text
//! control:  1 | version (15 bits) | type (16) | flags (8) | length (24) | payload
//! data:     0 | stream (31 bits)              | flags (8) | length (24) | payload
//! ```

use bytes::{Buf, Bytes, BytesMut};

use super::headers::{Deflater, HeaderError, Headers, Inflater};

const HEAD: usize = 8;
const VERSION: u16 = 3;
const CONTROL: u8 = 0x80;
const FIN: u8 = 1;
const STREAM_ID: u32 = 0x7fff_ffff;
/// Larger frames than that nobody needs, and nobody gets buffered.
const LARGEST: usize = 1 << 20;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
/// What a stream's refusal says.
const REFUSED_STREAM: u32 = 3;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::stream) enum FrameError {
    #[error("a frame of version {0}")]
    Version(u16),
    #[error("a frame of {0} bytes")]
    Size(usize),
    #[error("a frame of type {0} is too short")]
    Short(u16),
    #[error("a header block cannot be read")]
    Headers(#[from] HeaderError),
}

/// What a peer sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open {
        stream: u32,
        headers: Headers,
        ended: bool,
    },
    Data {
        stream: u32,
        bytes: Bytes,
        ended: bool,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings, windows, replies: nothing that changes what is done here.
    Ignored,
}

#[derive(Debug)]
pub(super) struct Decoder(Inflater);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Inflater::new())
    }

    /// Takes the first whole frame off `buffer`, if one is there.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(head) = buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, flags, length @ ..] = *head;
        let [e, f, g] = length;
        let length = usize::try_from(u32::from_be_bytes([0, e, f, g])).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(FrameError::Size(length));
        }
        if buffer.len() < HEAD + length {
            return Ok(None);
        }
        buffer.advance(HEAD);
        let payload = buffer.split_to(length).freeze();
        let ended = flags & FIN != 0;
        if a & CONTROL == 0 {
            return Ok(Some(Frame::Data { stream: u32::from_be_bytes([a, b, c, d]), bytes: payload, ended }));
        }
        let version = u16::from_be_bytes([a & !CONTROL, b]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        self.control(u16::from_be_bytes([c, d]), payload, ended).map(Some)
    }

    fn control(&mut self, kind: u16, mut payload: Bytes, ended: bool) -> Result<Frame, FrameError> {
        let number = |payload: &mut Bytes| payload.try_get_u32().map_err(|_| FrameError::Short(kind));
        match kind {
            SYN_STREAM => {
                let stream = number(&mut payload)? & STREAM_ID;
                let _associated = number(&mut payload)?;
                let _priority = payload.try_get_u16().map_err(|_| FrameError::Short(kind))?;
                Ok(Frame::Open { stream, headers: self.0.read(&payload)?, ended })
            }
            RST_STREAM => Ok(Frame::Reset { stream: number(&mut payload)? & STREAM_ID }),
            PING => Ok(Frame::Ping { id: number(&mut payload)? }),
            GOAWAY => Ok(Frame::GoAway),
            _ => Ok(Frame::Ignored),
        }
    }
}

/// What this side sends.
#[derive(Debug)]
pub(super) enum Answer {
    /// The stream is welcome.
    Reply {
        stream: u32,
    },
    Data {
        stream: u32,
        bytes: Bytes,
        ended: bool,
    },
    Refuse {
        stream: u32,
    },
    Pong {
        id: u32,
    },
}

#[derive(Debug)]
pub(super) struct Encoder(Deflater);

impl Encoder {
    pub(super) fn new() -> Result<Self, FrameError> {
        Ok(Self(Deflater::new()?))
    }

    pub(super) fn encode(&mut self, answer: &Answer, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
        match answer {
            Answer::Reply { stream } => {
                let block = self.0.write(&[])?;
                control(SYN_REPLY, &[&stream.to_be_bytes(), &block], buffer);
            }
            Answer::Data { stream, bytes, ended } => {
                buffer.extend((stream & STREAM_ID).to_be_bytes());
                put_length(if *ended { FIN } else { 0 }, bytes.len(), buffer);
                buffer.extend_from_slice(bytes);
            }
            Answer::Refuse { stream } => {
                control(RST_STREAM, &[&stream.to_be_bytes(), &REFUSED_STREAM.to_be_bytes()], buffer);
            }
            Answer::Pong { id } => control(PING, &[&id.to_be_bytes()], buffer),
        }
        Ok(())
    }
}

fn control(kind: u16, parts: &[&[u8]], buffer: &mut Vec<u8>) {
    buffer.extend([CONTROL, 0x03]);
    buffer.extend(kind.to_be_bytes());
    put_length(0, parts.iter().map(|part| part.len()).sum(), buffer);
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
}

fn put_length(flags: u8, length: usize, buffer: &mut Vec<u8>) {
    let [_, length @ ..] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    buffer.push(flags);
    buffer.extend(length);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(wire: &[u8]) -> Result<Option<Frame>, FrameError> {
        Decoder::new().decode(&mut BytesMut::from(wire))
    }

    #[test]
    fn a_stream_is_opened() {
        let block = Deflater::new().unwrap().write(&[("streamtype", "stdin")]).unwrap();
        let mut wire = Vec::new();
        control(SYN_STREAM, &[&5_u32.to_be_bytes(), &[0; 6], &block], &mut wire);
        let headers = vec![("streamtype".to_owned(), "stdin".to_owned())];
        assert_eq!(decode(&wire), Ok(Some(Frame::Open { stream: 5, headers, ended: false })));
        assert_eq!(decode(&wire[..wire.len() - 1]), Ok(None));
    }

    #[test]
    fn other_versions_and_giants_are_refused() {
        assert_eq!(decode(&[0x80, 2, 0, 1, 0, 0, 0, 0]), Err(FrameError::Version(2)));
        assert_eq!(decode(&[0, 0, 0, 1, 0, 255, 255, 255]), Err(FrameError::Size(0xff_ffff)));
        assert_eq!(decode(&[0x80, 3, 0, 6, 0, 0, 0, 0]), Err(FrameError::Short(PING)));
    }

    proptest! {
        #[test]
        fn data_comes_out_as_it_went_in(stream in 1_u32..100, payload: Vec<u8>, ended: bool) {
            let answer = Answer::Data { stream, bytes: payload.clone().into(), ended };
            let mut wire = Vec::new();
            Encoder::new().unwrap().encode(&answer, &mut wire).unwrap();
            prop_assert_eq!(decode(&wire), Ok(Some(Frame::Data { stream, bytes: payload.into(), ended })));
        }

        /// Whole frames of every kind with anything in them, header blocks that are none included.
        #[test]
        fn frames_of_garbage_never_panic(frames: Vec<(u16, Vec<u8>)>) {
            let mut wire = Vec::new();
            for (kind, payload) in &frames {
                control(kind % 12, &[payload], &mut wire);
            }
            let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::from(wire.as_slice()));
            while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
        }

        #[test]
        fn garbage_never_panics(garbage: Vec<u8>) {
            let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::from(garbage.as_slice()));
            while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
        }
    }
}

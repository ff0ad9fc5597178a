//! Frames of an attached connection: one byte of kind, four bytes of length (big-endian), the payload.

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stdin,
    StdinEnd,
    Stdout,
    Stderr,
    /// Columns and rows, two bytes each.
    Resize,
}

/// No honest sender makes larger ones.
pub(crate) const LARGEST: usize = 1 << 20;
const HEAD: usize = 5;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame of {0} bytes is too large")]
    Size(usize),
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Resize => 4,
            Self::StdinEnd => 5,
        }
    }

    fn of(byte: u8) -> Result<Self, FrameError> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Resize, Self::StdinEnd]
            .into_iter()
            .find(|kind| kind.byte() == byte)
            .ok_or(FrameError::Kind(byte))
    }
}

/// Appends `payload` to `buffer`, in as many frames as it takes.
pub(crate) fn encode(kind: Kind, payload: &[u8], buffer: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        let (part, after) = rest.split_at(rest.len().min(LARGEST));
        buffer.push(kind.byte());
        buffer.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        buffer.extend_from_slice(part);
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

/// Takes the first whole frame off `buffer`, if one is there.
pub(crate) fn decode(buffer: &mut Vec<u8>) -> Result<Option<(Kind, Vec<u8>)>, FrameError> {
    let Some((head, rest)) = buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [kind, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let kind = Kind::of(kind)?;
    if length > LARGEST {
        return Err(FrameError::Size(length));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let payload = rest[..length].to_vec();
    buffer.drain(..HEAD + length);
    Ok(Some((kind, payload)))
}

/// The payload of a [`Kind::Resize`].
pub(crate) fn encode_size(columns: u16, rows: u16) -> Vec<u8> {
    [columns.to_be_bytes(), rows.to_be_bytes()].concat()
}

/// Columns and rows.
pub(crate) fn decode_size(payload: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_however_it_is_cut(payload: Vec<u8>, cut in 0_usize..64) {
            let mut wire = Vec::new();
            encode(Kind::Stderr, &payload, &mut wire);
            let late = wire.split_off(cut.min(wire.len()));
            let mut frame = decode(&mut wire).unwrap();
            if frame.is_none() {
                wire.extend(late);
                frame = decode(&mut wire).unwrap();
            }
            prop_assert_eq!(frame, Some((Kind::Stderr, payload)));
        }

        #[test]
        fn garbage_is_refused_or_waited_for(mut garbage: Vec<u8>) {
            while let Ok(Some(_)) = decode(&mut garbage) {}
        }
    }

    #[test]
    fn a_length_beyond_reason_is_refused() {
        assert_eq!(decode(&mut vec![1, 255, 255, 255, 255]), Err(FrameError::Size(0xffff_ffff)));
    }
}

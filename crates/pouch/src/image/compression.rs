//! Plain, gzip or zstd: told by the first bytes, never by a name.

use std::io::{self, BufRead, Read};

/// Reads through whatever compression `reader` begins with.
pub(crate) fn decompressed<'a, R: BufRead + Send + 'a>(
    mut reader: R,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let start = reader.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(reader)?));
    }
    for (magic, name) in [(&b"\xfd7zXZ"[..], "xz"), (b"BZh", "bzip2")] {
        if start.starts_with(magic) {
            let text = format!("{name} compression is not supported; recompress with gzip or zstd");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    }
    Ok(Box::new(reader))
}

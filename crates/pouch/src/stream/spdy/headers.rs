//! SPDY/3.1's header blocks: names and values behind zlib, whose window is preset with words that both sides know.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// No peer of ours has more to say about a stream.
const LARGEST: usize = 64 * 1024;

/// The preset words of the protocol, each with its length before it, ...
const WORDS: &str = "options,head,post,put,delete,trace,accept,accept-charset,accept-encoding,accept-language,\
accept-ranges,age,allow,authorization,cache-control,connection,content-base,content-encoding,content-language,\
content-length,content-location,content-md5,content-range,content-type,date,etag,expect,expires,from,host,if-match,\
if-modified-since,if-none-match,if-range,if-unmodified-since,last-modified,location,max-forwards,pragma,\
proxy-authenticate,proxy-authorization,range,referer,retry-after,server,te,trailer,transfer-encoding,upgrade,\
user-agent,vary,via,warning,www-authenticate,method,get,status,200 OK,version,HTTP/1.1,url,public,set-cookie,\
keep-alive,origin";
/// ... and the text behind them.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct \
Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,\
sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split(',') {
        put_text(word, &mut dictionary);
    }
    dictionary.extend(TEXT.bytes());
    dictionary
});

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::stream) enum HeaderError {
    #[error("a header block is not compressed as it should be")]
    Compression,
    #[error("a header block is larger than {LARGEST} bytes")]
    Size,
    #[error("a header block ends in the middle")]
    Short,
    #[error("a header is not text")]
    Text,
}

pub(super) type Headers = Vec<(String, String)>;

/// The receiving side of a connection: each block is read in the light of all before it.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut plain = Vec::with_capacity(1024);
        let begin = self.0.total_in();
        loop {
            let consumed = usize::try_from(self.0.total_in() - begin).unwrap_or(usize::MAX);
            let rest = block.get(consumed..).unwrap_or_default();
            let before = (consumed, plain.len());
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(Status::Ok | Status::BufError) => {}
                // The first block of a connection asks for the preset words.
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| HeaderError::Compression)?;
                    continue;
                }
                Err(_) => return Err(HeaderError::Compression),
            }
            if plain.len() > LARGEST {
                return Err(HeaderError::Size);
            }
            let consumed = usize::try_from(self.0.total_in() - begin).unwrap_or(usize::MAX);
            if plain.len() == plain.capacity() {
                plain.reserve(plain.capacity());
            } else if consumed >= block.len() || (consumed, plain.len()) == before {
                return Ok(plain);
            }
        }
    }
}

/// The sending side.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Result<Self, HeaderError> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).map_err(|_| HeaderError::Compression)?;
        Ok(Self(compress))
    }

    pub(super) fn write(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, HeaderError> {
        let mut plain = length(headers.len()).to_vec();
        for (name, value) in headers {
            put_text(name, &mut plain);
            put_text(value, &mut plain);
        }
        // Ours are short: what they become, with the stream's own marks, fits.
        let mut block = Vec::with_capacity(plain.len() * 2 + 128);
        self.0.compress_vec(&plain, &mut block, FlushCompress::Sync).map_err(|_| HeaderError::Compression)?;
        Ok(block)
    }
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn put_text(text: &str, buffer: &mut Vec<u8>) {
    buffer.extend(length(text.len()));
    buffer.extend(text.bytes());
}

fn parse(mut plain: &[u8]) -> Result<Headers, HeaderError> {
    let count = take_length(&mut plain)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = take_text(&mut plain)?;
        headers.push((name, take_text(&mut plain)?));
    }
    Ok(headers)
}

fn take_length(plain: &mut &[u8]) -> Result<usize, HeaderError> {
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(HeaderError::Short)?;
    *plain = rest;
    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| HeaderError::Size)
}

fn take_text(plain: &mut &[u8]) -> Result<String, HeaderError> {
    let length = take_length(plain)?;
    let (text, rest) = plain.split_at_checked(length).ok_or(HeaderError::Short)?;
    *plain = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeaderError::Text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_preset_words_are_those_of_the_protocol() {
        // Length and Adler-32 as every other implementation has them.
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((DICTIONARY.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_of_one_connection_build_on_each_other() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        for port in ["80", "8080", "80"] {
            let block = deflater.write(&[("streamtype", "data"), ("port", port)]).unwrap();
            let headers = inflater.read(&block).unwrap();
            assert_eq!(headers[1], ("port".to_owned(), port.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused(garbage: Vec<u8>) {
            let _refused_or_empty = Inflater::new().read(&garbage);
        }
    }
}

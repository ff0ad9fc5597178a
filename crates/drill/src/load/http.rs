//! How HTTP/1.1 asks, and where an answer ends.

use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::connection::{LARGEST_ANSWER, invalid};

pub(super) fn request(target: SocketAddr, path: &str) -> Vec<u8> {
    // Compression is asked for because browsers do: it is most of a web server's work on a text.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: crest-drill\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    request.into_bytes()
}

pub(super) fn answer_size(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    if !response.code.is_some_and(|code| (200..300).contains(&code)) {
        return Err(invalid("the answer is no success"));
    }
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return chunks_end(bytes, head);
    }
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    length.map(|body| Some(head + body)).ok_or_else(|| invalid("the answer does not tell its length"))
}

/// Where the chunked body that starts at `at` ends; `None` while its last chunk is not there yet.
fn chunks_end(bytes: &[u8], mut at: usize) -> io::Result<Option<usize>> {
    while at < bytes.len() {
        let parsed =
            httparse::parse_chunk_size(&bytes[at..]).map_err(|_| invalid("a chunk has no valid size"))?;
        let httparse::Status::Complete((line, size)) = parsed else {
            return Ok(None);
        };
        let size = usize::try_from(size).map_err(|_| invalid("a chunk is too long"))?;
        if size > LARGEST_ANSWER {
            return Err(invalid("a chunk is too long"));
        }
        at += line + size + 2; // each chunk, the empty last one too, ends with CR LF
        if size == 0 {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::answer_size;

    fn check(answer: &str, expected: Option<usize>) {
        assert_eq!(answer_size(answer.as_bytes()).unwrap(), expected, "{answer:?}");
    }

    #[test]
    fn the_end_of_an_answer() {
        check("HTTP/1.1 200 OK\r\nContent-", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Some(43));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(chunked, None);
        check(&format!("{chunked}3\r\nabc\r\n"), None);
        check(&format!("{chunked}3\r\nabc\r\n0\r\n\r\n"), Some(chunked.len() + 13));
        assert!(answer_size(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(answer_size(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(answer_size(format!("{chunked}zz\r\n").as_bytes()).is_err());
    }
}

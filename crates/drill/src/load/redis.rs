//! How Redis is asked (RESP2), and where an answer ends.

use std::io;

use super::connection::{LARGEST_ANSWER, invalid};

pub(super) fn request(command: &[String]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", command.len());
    for word in command {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

pub(super) fn answer_size(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut at = 0;
    // Values that are still to come: arrays add theirs.
    let mut values = 1_usize;
    while values > 0 {
        let Some((kind, line, end)) = line(bytes, at) else { return Ok(None) };
        at = end;
        values -= 1;
        match kind {
            b'+' | b':' => {}
            b'-' => return Err(invalid("the answer is an error")),
            b'$' => at += bulk_size(line)?,
            b'*' => values += count(line)?.unwrap_or(0),
            _ => return Err(invalid("the answer is not in Redis' protocol")),
        }
        if at > LARGEST_ANSWER || values > LARGEST_ANSWER {
            return Err(invalid("the answer is too long"));
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// The kind of the value that begins at `at`, the rest of its first line, and where the next line begins.
fn line(bytes: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((*rest.first()?, rest.get(1..end)?, at + end + 2))
}

/// A string that is there ends with CR LF as well.
fn bulk_size(line: &[u8]) -> io::Result<usize> {
    Ok(count(line)?.map_or(0, |size| size.saturating_add(2)))
}

/// `None` is the value that is not there, written as -1.
fn count(line: &[u8]) -> io::Result<Option<usize>> {
    let text = std::str::from_utf8(line).map_err(|_| invalid("a length is no number"))?;
    match text {
        "-1" => Ok(None),
        text => text.parse().map(Some).map_err(|_| invalid("a length is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, expected: Option<usize>) {
        assert_eq!(answer_size(answer.as_bytes()).unwrap(), expected, "{answer:?}");
    }

    #[test]
    fn the_end_of_an_answer() {
        check("", None);
        check("+OK\r", None);
        check("+OK\r\n", Some(5));
        check(":12\r\n", Some(5));
        check("$3\r\nab", None);
        check("$3\r\nabc\r", None);
        check("$3\r\nabc\r\n", Some(9));
        check("$-1\r\n", Some(5));
        check("*2\r\n$1\r\na\r\n", None);
        check("*2\r\n$1\r\na\r\n*1\r\n:7\r\n", Some(19));
        check("*-1\r\n", Some(5));
        for bad in ["-ERR no\r\n", "HTTP/1.1\r\n", "$x\r\n", "*99999999999\r\n"] {
            assert!(answer_size(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_command_is_a_list_of_strings() {
        let command = ["GET", "cart:7"].map(str::to_owned);
        assert_eq!(request(&command), b"*2\r\n$3\r\nGET\r\n$6\r\ncart:7\r\n");
    }
}

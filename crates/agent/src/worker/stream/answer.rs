//! What a program that takes instances is told, and what it may say.
//!
//! ```text
//!   program: {"ready":true}
//!   worker:  {"index":4,"attempt":1,"count":9,"parameters":{"DAY":"monday"}}
//!   program: {"index":4}                      done
//!            {"index":4,"error":"no file"}    failed
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use fuxi::protocol::{Exit, MAX_TAIL, Program};
use serde::{Deserialize, Serialize};

/// The longest line that a program may write.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of a wrong line is shown.
const SHOWN: usize = 80;

/// Why a program is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error(
        "its program wrote `{line}` to standard output, where only answers such as {{\"index\":4}} belong: \
         write all else to standard error"
    )]
    NoAnswer { line: String },
    #[error(
        "its program began with `{line}`; a program that takes a stream of instances says {{\"ready\":true}} first"
    )]
    NotReadyFirst { line: String },
    #[error("its program did not say {{\"ready\":true}} within {} s", limit.as_secs())]
    NotReady { limit: Duration },
    #[error("its program closed its standard input or output and went on")]
    Closed,
    #[error("its program wrote more than {MAX_ANSWER} bytes without an end of line")]
    TooLong,
    #[error(
        "its program answered instance {index}, which it did not hold: not given to it, or answered before"
    )]
    NotHeld { index: u32 },
}

/// One line of a program.
#[derive(Debug)]
pub(super) struct Answer {
    line: Vec<u8>,
    said: Option<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    ready: Option<bool>,
    index: Option<u32>,
    error: Option<String>,
}

impl Answer {
    fn new(line: &[u8]) -> Self {
        let said: Option<Said> = serde_json::from_slice(line).ok();
        // The line itself is of interest only where it is wrong.
        let is_answer = said.as_ref().is_some_and(|said| said.index.is_some());
        Self { line: if is_answer { Vec::new() } else { line[..line.len().min(SHOWN)].to_owned() }, said }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// What the first line must be.
    pub(super) fn expect_ready(self) -> Result<(), Fault> {
        match &self.said {
            Some(Said { ready: Some(true), .. }) => Ok(()),
            Some(Said { index: Some(index), .. }) => {
                Err(Fault::NotReadyFirst { line: format!("{{\"index\":{index}…") })
            }
            _ => Err(Fault::NotReadyFirst { line: self.shown() }),
        }
    }

    /// Which instance ended, and how.
    pub(super) fn outcome(self) -> Result<(u32, Exit), Fault> {
        match self.said {
            Some(Said { index: Some(index), error: None, .. }) => Ok((index, Exit::Code(0))),
            Some(Said { index: Some(index), error: Some(mut message), .. }) => {
                message.truncate(message.floor_char_boundary(MAX_TAIL));
                Ok((index, Exit::Failed { message }))
            }
            _ => Err(Fault::NoAnswer { line: self.shown() }),
        }
    }
}

/// What a program has written and is not read yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    read: usize,
}

impl Lines {
    pub(super) fn add(&mut self, more: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(more);
    }

    pub(super) fn next(&mut self) -> Result<Option<Answer>, Fault> {
        let rest = &self.bytes[self.read..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(rest.len()) > MAX_ANSWER {
            return Err(Fault::TooLong);
        }
        let Some(end) = end else { return Ok(None) };
        let answer = Answer::new(&rest[..end]);
        self.read += end + 1;
        Ok(Some(answer))
    }
}

/// What is the same in the lines of all instances of a task.
pub(super) fn constant(program: &Program) -> String {
    #[derive(Serialize)]
    struct Constant<'a> {
        count: u32,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        parameters: &'a BTreeMap<String, String>,
    }
    let constant = Constant { count: program.count, parameters: &program.parameters };
    let text = serde_json::to_string(&constant).unwrap_or_default();
    // It stands within an object.
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    format!(",{}", inner.unwrap_or_default())
}

/// What follows the instance and the attempt in a line: what it works on, and what all have.
pub(super) fn rest<'a>(constant: &'a str, input: Option<&str>) -> Cow<'a, str> {
    let Some(input) = input else { return constant.into() };
    let lines: Vec<&str> = input.split('\n').collect();
    let lines = serde_json::to_string(&lines).unwrap_or_default();
    format!(",\"input\":{lines}{constant}").into()
}

#[cfg(test)]
mod tests {
    use fuxi::protocol::{Exit, Program};

    use super::{Fault, Lines, MAX_ANSWER, constant, rest};

    #[test]
    fn input_stands_as_a_list() {
        assert_eq!(rest(",\"count\":9", None), ",\"count\":9");
        assert_eq!(rest(",\"count\":9", Some("/a \"b\"\n/c")), r#","input":["/a \"b\"","/c"],"count":9"#);
    }

    fn outcomes(text: &[u8]) -> Result<Vec<(u32, Exit)>, Fault> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        // In pieces, as a pipe may deliver them.
        for piece in text.chunks(7) {
            lines.add(piece);
            while let Some(answer) = lines.next()? {
                found.push(answer.outcome()?);
            }
        }
        Ok(found)
    }

    #[test]
    fn answers_are_read_in_pieces() {
        let text = b"{\"index\":4}\n{\"index\":5,\"error\":\"no room\",\"more\":[1]}\n{\"index\":6}";
        let failed = Exit::Failed { message: "no room".to_owned() };
        assert_eq!(outcomes(text), Ok(vec![(4, Exit::Code(0)), (5, failed)]));
    }

    #[test]
    fn what_is_no_answer_is_told_with_its_beginning() {
        for line in ["hello", "{}", "[1]", "{\"index\":-1}", "{\"index\":4294967296}", "", "{\"ready\":true}"]
        {
            let expected = Err(Fault::NoAnswer { line: line.to_owned() });
            assert_eq!(outcomes(format!("{line}\n").as_bytes()), expected);
        }
        assert_eq!(outcomes(b"\xff\n"), Err(Fault::NoAnswer { line: "\u{fffd}".to_owned() }));
        assert_eq!(outcomes(&vec![b'x'; MAX_ANSWER + 8]), Err(Fault::TooLong));
    }

    #[test]
    fn parameters_stand_in_every_line() {
        let mut program = Program { count: 9, ..Program::default() };
        assert_eq!(constant(&program), ",\"count\":9");
        program.parameters.insert("DAY".to_owned(), "a \"quoted\" one}".to_owned());
        assert_eq!(constant(&program), r#","count":9,"parameters":{"DAY":"a \"quoted\" one}"}"#);
    }
}

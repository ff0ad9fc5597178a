//! What a service says of its own errors: which of its counters count them, and how many there may be.
//!
//! ```text
//!   crest.dev/error-objective: http_requests_total{code="5*"} / http_requests_total < 1%
//! ```
//! A star at the end of a label's value stands for whatever follows.

use std::fmt;
use std::str::FromStr;

use crate::latency::is_metric;
use crate::names::ERROR_OBJECTIVE;

/// At most such a share of the requests may fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    pub failed: Series,
    pub all: Series,
    /// Above 0, and at most 1.
    pub limit: f64,
}

/// The series of a Prometheus counter that have these labels, and maybe others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub metric: String,
    pub labels: Vec<(String, Pattern)>,
}

/// What the value of a label may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    Exact(String),
    Prefix(String),
}

/// An annotation that cannot be understood; each says how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "annotation {ERROR_OBJECTIVE} is `{0}`: write it like `http_requests_total{{code=\"5*\"}} / http_requests_total < 1%`"
    )]
    Form(String),
    #[error("annotation {ERROR_OBJECTIVE}: `{0}` is no name of a Prometheus metric")]
    Metric(String),
    #[error("annotation {ERROR_OBJECTIVE}: `{0}` are no labels: write them like code=\"5*\",method=\"GET\"")]
    Labels(String),
    #[error(
        "annotation {ERROR_OBJECTIVE}: `{0}` is no limit: write a percentage above zero and up to 100%, like 0.5%"
    )]
    Limit(String),
}

impl Pattern {
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix),
        }
    }
}

impl FromStr for Objective {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let form = || ParseError::Form(text.to_owned());
        let (measure, limit) = text.rsplit_once('<').ok_or_else(form)?;
        let [failed, all] = split_outside_quotes(measure, '/')[..] else { return Err(form()) };
        Ok(Self { failed: parse_series(failed)?, all: parse_series(all)?, limit: parse_limit(limit.trim())? })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.limit * 1e8).round() / 1e6;
        write!(f, "{} / {} < {percent}%", self.failed, self.all)
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric)?;
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(name, pattern)| match pattern {
                Pattern::Exact(value) => format!("{name}=\"{value}\""),
                Pattern::Prefix(value) => format!("{name}=\"{value}*\""),
            })
            .collect();
        if labels.is_empty() { Ok(()) } else { write!(f, "{{{}}}", labels.join(",")) }
    }
}

fn split_outside_quotes(text: &str, at: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|character| {
        is_quoted ^= character == '"';
        character == at && !is_quoted
    })
    .map(str::trim)
    .collect()
}

fn parse_series(text: &str) -> Result<Series, ParseError> {
    let (metric, labels) = match text.split_once('{') {
        Some((metric, labels)) => {
            let inner = labels.strip_suffix('}').ok_or_else(|| ParseError::Labels(labels.to_owned()))?;
            (metric.trim(), parse_labels(inner)?)
        }
        None => (text, Vec::new()),
    };
    if !is_metric(metric) {
        return Err(ParseError::Metric(metric.to_owned()));
    }
    Ok(Series { metric: metric.to_owned(), labels })
}

fn parse_labels(text: &str) -> Result<Vec<(String, Pattern)>, ParseError> {
    let wrong = || ParseError::Labels(text.to_owned());
    let label = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim().strip_prefix('"')?.strip_suffix('"')?);
        // Escapes would have to be read here and there alike, and nobody needs them.
        let is_plain = !value.contains(['"', '\\', '\n']) && is_metric(name) && !name.contains(':');
        let pattern = match value.strip_suffix('*') {
            Some(prefix) => Pattern::Prefix(prefix.to_owned()),
            None => Pattern::Exact(value.to_owned()),
        };
        is_plain.then(|| (name.to_owned(), pattern))
    };
    split_outside_quotes(text, ',').into_iter().map(label).collect::<Option<_>>().ok_or_else(wrong)
}

fn parse_limit(text: &str) -> Result<f64, ParseError> {
    let digits = text.strip_suffix('%').map(str::trim_end);
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let percent = digits.and_then(|digits| digits.parse::<f64>().ok());
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.map(|percent| percent / 100.0).ok_or_else(|| ParseError::Limit(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_or_told_apart() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<Objective>(), expected) {
            (Ok(read), Ok(expected)) => {
                assert_eq!(read.to_string(), expected);
                assert_eq!(read.to_string().parse::<Objective>(), Ok(read));
            }
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (read, _) => panic!("{text}: {read:?}"),
        };
        check("failed_total/all_total<1%", Ok("failed_total / all_total < 1%"));
        check(
            "http_requests_total{code=\"5*\", path=\"/a<b,c\"} / http_requests_total < 0.25 %",
            Ok("http_requests_total{code=\"5*\",path=\"/a<b,c\"} / http_requests_total < 0.25%"),
        );
        check("a:b{c=\"*\"} / a:b < 100%", Ok("a:b{c=\"*\"} / a:b < 100%"));
        for bad in ["", "1%", "a < 1%", "a / b / c < 1%", "a / b"] {
            check(bad, Err("write it like"));
        }
        check("1a / b < 1%", Err("`1a` is no name"));
        check(" / b < 1%", Err("`` is no name"));
        for bad in ["a{}", "a{b}", "a{b=c}", "a{b=\"c\"", "a{b=\"\\n\"}", "a{1=\"c\"}"] {
            check(&format!("{bad} / a < 1%"), Err("are no labels"));
        }
        for bad in ["0%", "101%", "1", "-1%", "x%", "inf%"] {
            check(&format!("a / b < {bad}"), Err("is no limit"));
        }
    }

    #[test]
    fn a_star_stands_for_whatever_follows() {
        assert!(Pattern::Prefix("5".to_owned()).matches("503") && Pattern::Prefix(String::new()).matches(""));
        assert!(
            Pattern::Exact("503".to_owned()).matches("503") && !Pattern::Exact("5".to_owned()).matches("503")
        );
    }
}

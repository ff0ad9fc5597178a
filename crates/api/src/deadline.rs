//! How long a request may take: a minute, or less if its client says so by `?timeout=`. What goes on for as long as
//! the client likes, such as a watch, has no such limit.

use std::time::Duration;

use http::header::UPGRADE;
use http::request::Parts;
use kinds::status::Failure;

use crate::attributes::Attributes;
use crate::query::Query;

/// What lasts until one side ends it.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

/// The limit of a request, if it has one; `longest` is the server's own.
pub(crate) fn of(
    parts: &Parts,
    attributes: &Attributes,
    longest: Duration,
) -> Result<Option<Duration>, Failure> {
    let subresource = attributes.object.as_ref().and_then(|target| target.subresource.as_deref());
    let is_stream = subresource.is_some_and(|part| STREAMS.contains(&part));
    if attributes.verb == "watch" || is_stream || parts.headers.contains_key(UPGRADE) {
        return Ok(None);
    }
    let query = Query::parse(&parts.uri).unwrap_or_default();
    let asked = match query.get("timeout").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(parse(text).ok_or_else(|| {
            Failure::bad_request(format!("timeout: `{text}` is no duration such as 30s or 1m30s"))
        })?),
    };
    Ok(Some(asked.filter(|asked| !asked.is_zero()).map_or(longest, |asked| asked.min(longest))))
}

/// 504, when the limit has passed.
pub(crate) fn passed() -> Failure {
    Failure::timeout(
        "the request was not answered within its time limit; what it asked for may have happened",
    )
}

/// Numbers with units, as Go writes durations: `32s`, `1m30s`, `1.5h`, `100ms`; or `0`.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{of, parse};
    use crate::attributes::Attributes;

    #[test]
    fn durations_are_written_as_in_go() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        };
        check("32s", Some(32_000));
        check("1m30s", Some(90_000));
        check("1.5s", Some(1_500));
        check("250ms", Some(250));
        check("0", Some(0));
        for wrong in ["", "5", "s", "-1s", "1x", "1e3s", "99999999999999999999999h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn streams_have_no_limit_and_nobody_gets_more_than_the_servers() {
        let check = |uri: &str, expected: Option<u64>| {
            let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            let limit = of(&parts, &Attributes::of(&parts), Duration::from_secs(60));
            assert_eq!(limit.unwrap(), expected.map(Duration::from_secs), "{uri}");
        };
        check("/api/v1/pods", Some(60));
        check("/api/v1/pods?timeout=5s", Some(5));
        check("/api/v1/pods?timeout=2h", Some(60));
        check("/api/v1/pods?watch=1&timeout=5s", None);
        check("/api/v1/namespaces/n/pods/p/log?follow=true", None);
    }
}

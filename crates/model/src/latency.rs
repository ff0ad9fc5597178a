//! What a service says of its own latency: which of its histograms counts, and what it may be.
//!
//! ```text
//!   crest.dev/latency-objective: p99(http_request_duration_seconds) < 50ms
//!   prometheus.io/port: "9100"        prometheus.io/path: /metrics
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error_rate;
use crate::names::{ERROR_OBJECTIVE, LATENCY_OBJECTIVE, PROMETHEUS_PATH, PROMETHEUS_PORT};

/// At most so much of the requests may take longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Between 0 and 1.
    pub quantile: f64,
    /// Name of a Prometheus histogram in seconds, without `_bucket`.
    pub metric: String,
    pub limit: Duration,
}

/// Where a service tells its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub port: u16,
    pub path: String,
}

/// What the annotations of a Pod say of its objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub latency: Option<Objective>,
    pub errors: Option<error_rate::Objective>,
    pub endpoint: Endpoint,
}

/// Annotations that cannot be understood; each says how to mend them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    #[error(
        "annotation {LATENCY_OBJECTIVE} is `{0}`: write it like `p99(http_request_duration_seconds) < 50ms`"
    )]
    Form(String),
    #[error("annotation {LATENCY_OBJECTIVE}: `{0}` is no quantile: write p50, p99 or p99.9")]
    Quantile(String),
    #[error("annotation {LATENCY_OBJECTIVE}: `{0}` is no name of a Prometheus metric")]
    Metric(String),
    #[error(
        "annotation {LATENCY_OBJECTIVE}: `{0}` is no limit: write a number above zero with us, ms or s, like 50ms"
    )]
    Limit(String),
    #[error(
        "annotation {PROMETHEUS_PORT} is missing: {0} needs it to know where the service tells its metrics"
    )]
    NoPort(&'static str),
    #[error(transparent)]
    Errors(#[from] error_rate::ParseError),
    #[error("annotation {PROMETHEUS_PORT} is `{0}`: it has to be a number from 1 to 65535")]
    Port(String),
    #[error("annotation {PROMETHEUS_PATH} is `{0}`: it has to begin with / and to hold no blank")]
    Path(String),
}

/// What the annotations of a Pod, found by name, say: nothing, or what may be and where it is told.
pub fn told<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Told>, ObjectiveError> {
    let latency = annotation(LATENCY_OBJECTIVE).map(str::parse::<Objective>).transpose()?;
    let errors = annotation(ERROR_OBJECTIVE).map(str::parse::<error_rate::Objective>).transpose()?;
    let who = match (&latency, &errors) {
        (None, None) => return Ok(None),
        (Some(_), _) => LATENCY_OBJECTIVE,
        (None, Some(_)) => ERROR_OBJECTIVE,
    };
    let port = annotation(PROMETHEUS_PORT).ok_or(ObjectiveError::NoPort(who))?;
    let number = port.parse().ok().filter(|number: &u16| *number > 0);
    let path = annotation(PROMETHEUS_PATH).unwrap_or("/metrics");
    if !path.starts_with('/') || path.contains(|character: char| character <= ' ' || character > '~') {
        return Err(ObjectiveError::Path(path.to_owned()));
    }
    let port = number.ok_or_else(|| ObjectiveError::Port(port.to_owned()))?;
    Ok(Some(Told { latency, errors, endpoint: Endpoint { port, path: path.to_owned() } }))
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let form = || ObjectiveError::Form(text.to_owned());
        let (measure, limit) = text.split_once('<').ok_or_else(form)?;
        let (quantile, metric) = measure.trim().split_once('(').ok_or_else(form)?;
        let metric = metric.strip_suffix(')').ok_or_else(form)?.trim();
        Ok(Self {
            quantile: parse_quantile(quantile.trim())?,
            metric: parse_metric(metric)?,
            limit: parse_limit(limit.trim())?,
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (self.quantile * 1e6).round() / 1e4;
        write!(f, "p{percent}({}) < {:?}", self.metric, self.limit)
    }
}

fn parse_quantile(text: &str) -> Result<f64, ObjectiveError> {
    let digits = text
        .strip_prefix('p')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    let percent = digits.and_then(|digits| digits.parse::<f64>().ok());
    let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
    percent.map(|percent| percent / 100.0).ok_or_else(|| ObjectiveError::Quantile(text.to_owned()))
}

fn parse_metric(text: &str) -> Result<String, ObjectiveError> {
    if is_metric(text) { Ok(text.to_owned()) } else { Err(ObjectiveError::Metric(text.to_owned())) }
}

/// Whether Prometheus takes it for the name of a metric.
pub(crate) fn is_metric(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    text.bytes().all(is_name) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

fn parse_limit(text: &str) -> Result<Duration, ObjectiveError> {
    let units = [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let found = units.iter().find_map(|(unit, seconds)| {
        let number = text.strip_suffix(unit)?.trim_end();
        number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then_some(())?;
        Some(number.parse::<f64>().ok()? * seconds)
    });
    let limit =
        found.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|limit| !limit.is_zero());
    limit.ok_or_else(|| ObjectiveError::Limit(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read_or_told_apart() {
        let check = |text: &str, expected: Result<(f64, &str, u64), &str>| {
            let read = text.parse::<Objective>();
            match (read, expected) {
                (Ok(read), Ok((quantile, metric, micros))) => {
                    assert!((read.quantile - quantile).abs() < 1e-9, "{read:?}");
                    assert_eq!((read.metric.as_str(), read.limit), (metric, Duration::from_micros(micros)));
                    assert_eq!(read.to_string().parse::<Objective>(), Ok(read));
                }
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        };
        check(
            "p99(http_request_duration_seconds) < 50ms",
            Ok((0.99, "http_request_duration_seconds", 50_000)),
        );
        check("p99.9( a:b )<1.5s", Ok((0.999, "a:b", 1_500_000)));
        check("p50(x) < 200 us", Ok((0.5, "x", 200)));
        for bad in ["", "50ms", "p99 x < 1ms", "p99(x < 1ms"] {
            check(bad, Err("write it like"));
        }
        check("99(x) < 1ms", Err("`99` is no quantile"));
        check("p100(x) < 1ms", Err("`p100` is no quantile"));
        check("pinf(x) < 1ms", Err("no quantile"));
        check("p99(1x) < 1ms", Err("`1x` is no name"));
        check("p99() < 1ms", Err("`` is no name"));
        for bad in ["0ms", "-1ms", "fast", "5", "infs", "1e9s"] {
            check(&format!("p99(x) < {bad}"), Err("is no limit"));
        }
    }

    #[test]
    fn an_objective_needs_a_place_where_it_is_told() {
        let check = |entries: &[(&str, &str)], expected: Result<Option<(u16, &str)>, &str>| {
            let annotation = |name: &str| entries.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
            match (told(annotation), expected) {
                (Ok(read), Ok(expected)) => {
                    let endpoint =
                        read.as_ref().map(|told| (told.endpoint.port, told.endpoint.path.as_str()));
                    assert_eq!(endpoint, expected);
                }
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (read, _) => panic!("{entries:?}: {read:?}"),
            }
        };
        let objective = (LATENCY_OBJECTIVE, "p99(x) < 1ms");
        check(&[], Ok(None));
        check(&[(PROMETHEUS_PORT, "none")], Ok(None));
        check(&[objective], Err("is missing: crest.dev/latency-objective needs it"));
        let errors = (ERROR_OBJECTIVE, "failed / all < 1%");
        check(&[errors], Err("is missing: crest.dev/error-objective needs it"));
        check(&[errors, objective, (PROMETHEUS_PORT, "9100")], Ok(Some((9100, "/metrics"))));
        check(
            &[(ERROR_OBJECTIVE, "1%"), (PROMETHEUS_PORT, "9100")],
            Err("write it like `http_requests_total"),
        );
        check(&[objective, (PROMETHEUS_PORT, "9100")], Ok(Some((9100, "/metrics"))));
        check(&[objective, (PROMETHEUS_PORT, "0")], Err("from 1 to 65535"));
        check(&[objective, (PROMETHEUS_PORT, "1"), (PROMETHEUS_PATH, "/a b")], Err("no blank"));
        check(&[objective, (PROMETHEUS_PORT, "1"), (PROMETHEUS_PATH, "m")], Err("begin with /"));
    }
}

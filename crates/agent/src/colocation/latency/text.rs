//! Reads what is asked for out of Prometheus' text.
//!
//! Of a whole answer only the lines of one metric are read, so that a service with thousands of others costs little. The crates
//! that parse all of it do so by expressions that a `}` in a label leads astray.

use level0::latency::Buckets;
use model::error_rate::Series;

/// Of one histogram, in all its series.
const MOST_BUCKETS: usize = 10_000;
/// Of one counter; what is beyond is not counted.
const MOST_SERIES: usize = 10_000;

/// So much of an answer is about what is asked for, at most.
const LARGEST_KEPT: usize = 1 << 20;

/// Of an answer that comes piece by piece, the lines of some metrics: the rest need not be in memory.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    metrics: Vec<&'a str>,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    text: String,
}

impl<'a> Kept<'a> {
    pub(super) fn new(metrics: Vec<&'a str>) -> Self {
        Self { metrics, begun: Vec::new(), text: String::new() }
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if self.begun.len() + self.text.len() > LARGEST_KEPT {
                return Err(format!("its answer has more than {LARGEST_KEPT} bytes about its objectives"));
            }
            if part.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// All lines that were kept.
    pub(super) fn end(mut self) -> Result<String, String> {
        self.end_line()?;
        Ok(self.text)
    }

    fn end_line(&mut self) -> Result<(), String> {
        if self.metrics.iter().any(|metric| self.begun.starts_with(metric.as_bytes())) {
            let line = std::str::from_utf8(&self.begun).map_err(|_| "its answer is no text".to_owned())?;
            self.text.push_str(line);
        }
        self.begun.clear();
        Ok(())
    }
}

/// The histogram `metric`, of all its series together.
pub(super) fn buckets(text: &str, metric: &str) -> Result<Buckets, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix("_bucket{"));
    let entries: Vec<(f64, f64)> = lines.filter_map(bucket).take(MOST_BUCKETS + 1).collect();
    match entries.len() {
        0 => Err(format!("it tells no histogram `{metric}`")),
        1..=MOST_BUCKETS => Ok(Buckets::new(entries)),
        _ => Err(format!("its histogram `{metric}` has more than {MOST_BUCKETS} buckets")),
    }
}

/// Bound and count of a line, without what stands before its labels.
fn bucket(line: &str) -> Option<(f64, f64)> {
    let (labels, count) = sample(line)?;
    let (_, bound) = labels_of(labels).find(|(name, _)| *name == "le")?;
    Some((bound.parse().ok()?, count))
}

/// Labels and value of a line, from behind the brace that opens its labels.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (labels, value) = line.rsplit_once('}')?;
    Some((labels, number(value)?))
}

fn number(value: &str) -> Option<f64> {
    value.split_whitespace().next()?.parse().ok()
}

/// The sum of a counter over the series that are meant; `None` where none is told.
pub(super) fn count(text: &str, series: &Series) -> Option<f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(series.metric.as_str()));
    let values = lines.filter_map(|rest| {
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => sample(rest)?,
            None if rest.starts_with([' ', '\t']) => ("", number(rest)?),
            // Of another metric, whose name begins alike.
            None => return None,
        };
        let is_meant = series.labels.iter().all(|(name, pattern)| {
            labels_of(labels).any(|(told, value)| told == name && pattern.matches(value))
        });
        (is_meant && value.is_finite()).then_some(value)
    });
    values.take(MOST_SERIES).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Names and values as they are written: an escaped character of a value stays so.
fn labels_of(mut text: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, rest) = text.split_once("=\"")?;
        let mut is_escaped = false;
        let end = rest.find(|character| {
            let is_end = character == '"' && !is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            is_end
        })?;
        text = rest[end + 1..].trim_start_matches([',', ' ']);
        Some((name.trim(), &rest[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::error_rate::Objective;

    const TOLD: &str = "\
# HELP http_request_duration_seconds How long it took.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{handler=\"/a\",le=\"0.01\"} 90
http_request_duration_seconds_bucket{handler=\"/a\",le=\"+Inf\"} 100
http_request_duration_seconds_sum{handler=\"/a\"} 3
http_request_duration_seconds_count{handler=\"/a\"} 100
http_request_duration_seconds_bucket{handler=\"/{b}\",le=\"0.01\"} 10
http_request_duration_seconds_bucket{handler=\"/{b}\",le=\"+Inf\"} 20
# TYPE other counter
other 7
";

    #[test]
    fn histograms_of_all_handlers_are_one() {
        let read = buckets(TOLD, "http_request_duration_seconds").unwrap();
        assert_eq!(read, Buckets::new([(0.01, 100.0), (f64::INFINITY, 120.0)]));
        assert!(buckets(TOLD, "other").unwrap_err().contains("no histogram `other`"));
        assert!(buckets(TOLD, "absent").is_err());
        for garbled in ["{{{{", "\u{0}\u{1}", "x_bucket{le=\"", "# TYPE x histogram\nx_bucket{le=\"a\"} b\n"]
        {
            assert!(buckets(garbled, "x").is_err(), "{garbled:?}");
        }
    }

    #[test]
    fn of_an_answer_in_pieces_only_what_is_asked_for_is_kept() {
        let all = format!("{TOLD}{}http_requests_total 7", "noise{le=\"1\"} 3\n".repeat(100_000));
        for size in [1, 7, 4096, all.len()] {
            let mut kept = Kept::new(vec!["http_request_duration_seconds", "http_requests_total"]);
            all.as_bytes().chunks(size).for_each(|piece| kept.take(piece).unwrap());
            let text = kept.end().unwrap();
            assert_eq!(
                buckets(&text, "http_request_duration_seconds"),
                buckets(TOLD, "http_request_duration_seconds")
            );
            assert!(text.ends_with("\nhttp_requests_total 7") && text.len() < 1000, "{text}");
        }
        let endless = vec![b'x'; LARGEST_KEPT + 1];
        assert!(Kept::new(Vec::new()).take(&endless).unwrap_err().contains("1048576 bytes"));
        let mut kept = Kept::new(vec!["x"]);
        assert!(kept.take(b"\xff\nx \xff").is_ok() && kept.end().unwrap_err().contains("no text"));
    }

    #[test]
    fn counters_are_summed_over_the_series_that_are_meant() {
        const TOLD: &str = "\
http_requests_total{method=\"GET\",code=\"200\",path=\"/{a},b\"} 90
http_requests_total{method=\"GET\",code=\"503\",path=\"a\\\"} 7\"} 3 1700000000
http_requests_total{code=\"500\"} 2
http_requests_total{code=\"404\"} NaN
http_requests_total_created{code=\"500\"} 1e9
failed_total 4
failed_total_created 1e9
";
        let count = |series: &str| {
            let objective: Objective = format!("{series} / b < 1%").parse().unwrap();
            super::count(TOLD, &objective.failed)
        };
        assert_eq!(count("http_requests_total"), Some(95.0));
        assert_eq!(count("http_requests_total{code=\"5*\"}"), Some(5.0));
        assert_eq!(count("http_requests_total{code=\"5*\",method=\"GET\"}"), Some(3.0));
        assert_eq!(count("http_requests_total{code=\"418\"}"), None);
        assert_eq!(count("failed_total"), Some(4.0));
        assert_eq!(count("absent"), None);
        for garbled in ["x{", "x{a=\"", "x}", "x{a=\"b\"} y", "x{{{{} 1", "x"] {
            let objective: Objective = "x{a=\"b\"} / x < 1%".parse().unwrap();
            assert_eq!(super::count(garbled, &objective.failed), None, "{garbled:?}");
        }
    }
}

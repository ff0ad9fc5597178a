//! The page: the table, then latency, CPU over time and batch throughput as plots.

use std::fmt::Write as _;

use super::plot::{Axis, COLOURS, Scale, bars, lines};
use super::{Report, milliseconds};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse;width:100%}td,th{padding:.3em .5em;text-align:right;border-bottom:1px solid #ddd}\
td:first-child,th:first-child{text-align:left}svg{width:100%;font:11px system-ui,sans-serif}.label{fill:#555}\
.key{display:inline-block;width:.8em;height:.8em;margin-right:.4em}";

pub(super) fn page(report: &Report) -> String {
    let plots = [
        ("Latency: share of requests slower than", latency_plot(report)),
        ("CPU use of the whole machine", cpu_plot(report)),
        ("Batch instances finished per minute", batch_plot(report)),
    ];
    let mut body = format!(
        "<h1>One machine, a service and a batch job</h1>\n<p>{}<br>Measured {} with {} requests per second \
         offered in every phase. Latency counts from the time a request was due.</p>\n{}",
        escape(&report.machine),
        escape(&report.at),
        report.requests_per_second,
        table(report)
    );
    for (title, plot) in plots {
        let _infallible = write!(body, "<h2>{title}</h2>\n{plot}");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Crest: co-location</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

fn table(report: &Report) -> String {
    let mut rows = String::from(
        "<table><tr><th>Phase</th><th>CPU</th><th>Requests/s</th><th>p50</th><th>p99</th><th>p99.9</th>\
         <th>p99 against first</th><th>Failed</th><th>Batch/min</th></tr>\n",
    );
    for (phase, colour) in report.phases.iter().zip(COLOURS.iter().cycle()) {
        let _infallible = writeln!(
            rows,
            "<tr><td><span class=\"key\" style=\"background:{colour}\"></span>{}</td><td>{:.0}%</td><td>{:.0}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{:+.0}%</td><td>{}</td><td>{:.0}</td></tr>",
            escape(&phase.name),
            phase.cpu_busy * 100.0,
            phase.requests_per_second,
            milliseconds(phase.latency.p50_us),
            milliseconds(phase.latency.p99_us),
            milliseconds(phase.latency.p999_us),
            report.p99_harm(phase).unwrap_or(0.0) * 100.0,
            phase.failed_requests,
            phase.batch_instances_per_minute
        );
    }
    rows + "</table>\n"
}

fn latency_plot(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^52")]
    let series: Vec<Vec<(f64, f64)>> = report
        .phases
        .iter()
        .map(|phase| phase.tail.iter().map(|(micros, share)| (*micros as f64 / 1000.0, *share)).collect())
        .collect();
    let all = series.iter().flatten().map(|point| point.0);
    let (least, most) =
        all.fold((1.0_f64, 1.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let decade = |value: f64| 10_f64.powf(value);
    let x = Axis {
        label: "latency (ms)",
        scale: Scale::Logarithmic {
            from: decade(least.max(0.001).log10().floor()),
            to: decade(most.log10().ceil()),
        },
        tick: |value| format!("{value}"),
    };
    let y = Axis {
        label: "share of requests",
        scale: Scale::Logarithmic { from: 0.0001, to: 1.0 },
        tick: |value| format!("{}%", value * 100.0),
    };
    lines(&x, &y, &series)
}

fn cpu_plot(report: &Report) -> String {
    let series: Vec<Vec<(f64, f64)>> =
        report.phases.iter().map(|phase| phase.cpu_over_time.clone()).collect();
    let seconds = series.iter().flatten().map(|point| point.0).fold(1.0, f64::max);
    let x = Axis {
        label: "seconds into the phase",
        scale: Scale::Linear { from: 0.0, to: seconds },
        tick: |value| format!("{value:.0}"),
    };
    let y = Axis { label: "busy", scale: Scale::Linear { from: 0.0, to: 1.0 }, tick: percent };
    lines(&x, &y, &series)
}

fn batch_plot(report: &Report) -> String {
    let values: Vec<f64> = report.phases.iter().map(|phase| phase.batch_instances_per_minute).collect();
    let most = values.iter().copied().fold(1.0, f64::max);
    let scale = Scale::Linear { from: 0.0, to: most * 1.1 };
    bars(&Axis { label: "instances per minute", scale, tick: |value| format!("{value:.0}") }, &values)
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! A run as a page: what the machines did over time, and how long jobs took beside how long they must take. Nothing is
//! loaded from elsewhere.

use std::fmt::Write as _;

use super::report::BatchReport;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
/// Room for what is written beside the axes.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 32.0;
const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:900px;\
                     margin:24px auto;padding:0 16px}svg{width:100%;height:auto}svg text{font-size:12px;fill:currentColor}\
                     table{border-collapse:collapse}td,th{padding:2px 14px 2px 0;text-align:right}td:first-child,\
                     th:first-child{text-align:left}.grid{stroke:currentColor;opacity:.18}.key{display:inline-block;\
                     width:12px;height:12px;border-radius:3px;margin:0 6px 0 16px}polyline{fill:none;stroke-width:2}";

/// One line of a chart.
struct Line {
    name: &'static str,
    colour: &'static str,
    /// Each with x before y.
    points: Vec<(f64, f64)>,
}

/// An axis: what it shows of its values, and where its marks are.
struct Axis {
    title: &'static str,
    low: f64,
    high: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// From nothing to a round number not below `high`.
    fn from_nothing(title: &'static str, high: f64, unit: &str) -> Self {
        let step = round_step(high / 5.0);
        let n_steps = (high / step).ceil().max(1.0);
        let mark = |number: f64| (number * step, format!("{}{unit}", number * step));
        let numbers = std::iter::successors(Some(0.0), |number| Some(number + 1.0));
        let marks = numbers.take_while(|number| *number <= n_steps).map(mark).collect();
        Self { title, low: 0.0, high: n_steps * step, marks }
    }

    /// Powers of ten from a tenth of a second to what is not below `high`; values are logarithms.
    fn of_powers(title: &'static str, high: f64) -> Self {
        let most = high.max(1.0).log10().ceil().max(1.0);
        let powers = std::iter::successors(Some(-1.0), |power| Some(power + 1.0));
        let powers = powers.take_while(|power| *power <= most);
        let marks = powers.map(|power: f64| (power, format!("{} s", 10_f64.powf(power)))).collect();
        Self { title, low: -1.0, high: most, marks }
    }

    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(power)
}

/// The whole page.
pub fn page(report: &BatchReport, source: &str) -> String {
    let title =
        format!("{} jobs, {} instances on {} machines", report.jobs, report.instances, report.machines);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>From {}, seed {}.</p>\n",
        escaped(source),
        report.seed
    );
    page.push_str(&summary(report));
    for (heading, chart) in
        [("Use of the machines", machines(report)), ("Waiting", waiting(report)), ("Jobs", jobs(report))]
    {
        // Writing to a text does not fail.
        let _written = write!(page, "<h2>{heading}</h2>\n{chart}\n");
    }
    page.push_str("</body></html>\n");
    page
}

fn summary(report: &BatchReport) -> String {
    let rows = [
        ("job completion, s", report.completion),
        ("critical path, s", report.critical_path),
        ("completion as a multiple of it", report.slowdown),
        ("an instance waits, s", report.waiting),
    ];
    let mut table =
        "<table><tr><th></th><th>mean</th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr>\n".to_owned();
    for (name, spread) in rows {
        let _written = writeln!(
            table,
            "<tr><td>{name}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            spread.mean, spread.p50, spread.p90, spread.p99, spread.max
        );
    }
    table + "</table>\n"
}

fn machines(report: &BatchReport) -> String {
    let line = |name, colour, value: fn(&super::report::Moment) -> f64| Line {
        name,
        colour,
        points: report.timeline.iter().map(|moment| (moment.at, value(moment) * 100.0)).collect(),
    };
    let lines = [
        line("CPU held", "#1565c0", |moment| moment.level.cpu),
        line("CPU of running instances", "#2e7d32", |moment| moment.level.busy_cpu),
        line("memory held", "#ef6c00", |moment| moment.level.memory),
    ];
    chart(&lines, &time(report), &Axis::from_nothing("of all machines", 100.0, "%"))
}

fn waiting(report: &BatchReport) -> String {
    let points: Vec<(f64, f64)> = report.timeline.iter().map(|moment| (moment.at, moment.waiting)).collect();
    let most = points.iter().map(|(_, waiting)| *waiting).fold(1.0, f64::max);
    let lines = [Line { name: "workers asked for and not granted", colour: "#ad1457", points }];
    chart(&lines, &time(report), &Axis::from_nothing("waiting", most, ""))
}

fn jobs(report: &BatchReport) -> String {
    let curve = |name, colour, value: fn(&(f64, f64, f64)) -> f64| Line {
        name,
        colour,
        points: report
            .distribution
            .iter()
            .map(|point| (value(point).max(0.1).log10(), point.0 * 100.0))
            .collect(),
    };
    let lines = [
        curve("critical path", "#757575", |(_, _, path)| *path),
        curve("completion", "#1565c0", |(_, completion, _)| *completion),
    ];
    let x = Axis::of_powers("of a job, at most", report.completion.max);
    chart(&lines, &x, &Axis::from_nothing("of all jobs", 100.0, "%"))
}

fn time(report: &BatchReport) -> Axis {
    Axis::from_nothing("time since the first arrival", report.makespan, " s")
}

fn chart(lines: &[Line], x: &Axis, y: &Axis) -> String {
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let across = |value: f64| LEFT + x.share(value) * width;
    let down = |value: f64| TOP + (1.0 - y.share(value)) * height;
    let mut svg = String::new();
    for line in lines {
        let _written =
            write!(svg, "<span class=\"key\" style=\"background:{}\"></span>{}", line.colour, line.name);
    }
    let label = format!("{} over {}", y.title, x.title);
    let _written =
        writeln!(svg, "\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{label}\">");
    for (value, text) in &y.marks {
        let at = down(*value);
        let _written = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (value, text) in &x.marks {
        let _written = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            across(*value),
            HEIGHT - BOTTOM + 16.0
        );
    }
    for line in lines {
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", across(*x), down(*y))).collect();
        let _written =
            writeln!(svg, "<polyline stroke=\"{}\" points=\"{}\"/>", line.colour, points.join(" "));
    }
    let _written = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
        WIDTH - RIGHT,
        HEIGHT - 4.0,
        x.title
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! Line and bar plots as SVG text.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 16.0;

/// One colour per phase, told apart also by people who see few colours.
pub(super) const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"];

/// How a value finds its place on an axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear { from: f64, to: f64 },
    Logarithmic { from: f64, to: f64 },
}

impl Scale {
    /// From 0 at the start of the axis to 1 at its end.
    fn share(self, value: f64) -> f64 {
        let (value, from, to) = match self {
            Self::Linear { from, to } => (value, from, to),
            Self::Logarithmic { from, to } => (value.max(from).log10(), from.log10(), to.log10()),
        };
        if to > from { ((value - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 }
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                (0..=4).map(|step| from + (to - from) * f64::from(step) / 4.0).collect()
            }
            Self::Logarithmic { from, to } => {
                let decades = (-9..=9).map(|power| 10_f64.powi(power));
                decades.filter(|tick| *tick >= from * 0.999 && *tick <= to * 1.001).collect()
            }
        }
    }
}

/// An axis with its label and how its ticks are written.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    pub(super) tick: fn(f64) -> String,
}

/// Lines over a common frame.
pub(super) fn lines(x: &Axis, y: &Axis, series: &[Vec<(f64, f64)>]) -> String {
    let mut svg = frame(x, y);
    for (points, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> = points
            .iter()
            .map(|(across, up)| format!("{:.1},{:.1}", place_x(x, *across), place_y(y, *up)))
            .collect();
        let _infallible = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="2" points="{}"/>"#,
            path.join(" ")
        );
    }
    svg + "</svg>\n"
}

/// One bar per value.
pub(super) fn bars(y: &Axis, values: &[f64]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
    let count = values.len().max(1) as f64;
    let none = Axis { label: "", scale: Scale::Linear { from: 0.0, to: count }, tick: |_| String::new() };
    let mut svg = frame(&none, y);
    let slot = (WIDTH - LEFT) / count;
    let mut left = LEFT + slot * 0.2;
    for (value, colour) in values.iter().zip(COLOURS.iter().cycle()) {
        let top = place_y(y, *value);
        let (width, height) = (slot * 0.6, HEIGHT - BOTTOM - top);
        let _infallible = writeln!(
            svg,
            r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}"/>
<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            left + width / 2.0,
            top - 4.0,
            (y.tick)(*value)
        );
        left += slot;
    }
    svg + "</svg>\n"
}

fn place_x(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.scale.share(value) * (WIDTH - LEFT - 8.0)
}

fn place_y(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.scale.share(value) * (HEIGHT - BOTTOM - TOP)
}

fn frame(x: &Axis, y: &Axis) -> String {
    let floor = HEIGHT - BOTTOM;
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    for tick in y.scale.ticks() {
        let at = place_y(y, tick);
        let _infallible = writeln!(
            svg,
            r##"<line x1="{LEFT}" x2="{WIDTH}" y1="{at:.1}" y2="{at:.1}" stroke="#ddd"/>
<text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            LEFT - 6.0,
            at + 4.0,
            (y.tick)(tick)
        );
    }
    for tick in x.scale.ticks() {
        let at = place_x(x, tick);
        let _infallible = writeln!(
            svg,
            r#"<text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
            floor + 16.0,
            (x.tick)(tick)
        );
    }
    let _infallible = writeln!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle" class="label">{}</text><text x="12" y="12" class="label">{}</text>"#,
        f64::midpoint(LEFT, WIDTH),
        HEIGHT - 6.0,
        x.label,
        y.label
    );
    svg
}

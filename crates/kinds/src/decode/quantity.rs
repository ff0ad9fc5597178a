//! The one form of a quantity: `1000m` is `1`, `0.5Gi` is `512Mi`, as Kubernetes answers them.

use model::Quantity;

/// The canonical form; `None` when `text` is no quantity.
pub(super) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    let quantity = Quantity::parse(text).ok()?;
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-'));
    if suffix.starts_with(['n', 'u']) || suffix.starts_with(['e', 'E']) && suffix.len() > 1 {
        // Finer than thousandths, or in the exponent's own notation: kept as written.
        return Some(text.to_owned());
    }
    Some(render(quantity.to_milli(), suffix.ends_with('i')))
}

/// The canonical form of so many thousandths.
pub(crate) fn render(milli: i128, is_binary: bool) -> String {
    let units = milli.div_euclid(1000) + i128::from(milli.rem_euclid(1000) != 0);
    if is_binary && units.abs() >= 1024 {
        return scaled(units, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]);
    }
    if milli == units * 1000 {
        return scaled(units, 1000, &["", "k", "M", "G", "T", "P", "E"]);
    }
    format!("{milli}m")
}

/// `value` with the largest suffix that leaves it whole.
fn scaled(mut value: i128, base: i128, suffixes: &[&str]) -> String {
    let mut index = 0;
    while value != 0 && value % base == 0 && index + 1 < suffixes.len() {
        value /= base;
        index += 1;
    }
    format!("{value}{}", suffixes[index])
}

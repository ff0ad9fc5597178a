//! Values as YAML in the form that Kubernetes writes: keys sorted, texts quoted where they would be read as something
//! else, long lines folded. Tools compare such texts, so the form counts.

use serde_json::{Map, Value};

/// Longer lines are folded at the next space.
const WIDTH: usize = 80;

/// The whole document.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(fields, 0, &mut out),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut out),
        other => scalar(other, 0, &mut out),
    }
    out
}

fn mapping(fields: &Map<String, Value>, indent: usize, out: &mut String) {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort();
    for (index, name) in names.into_iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            pad(indent, out);
        }
        key(name, out);
        out.push(':');
        match &fields[name] {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(inner, indent + 2, out);
            }
            // Lists stand where their key stands.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                sequence(items, indent, out);
            }
            value => {
                out.push(' ');
                scalar(value, indent, out);
            }
        }
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => sequence(inner, indent + 2, out),
            value => scalar(value, indent, out),
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// A value without parts, with the end of its line.
fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if text.contains('\n') && is_block(text) => block(text, indent + 2, out),
        Value::String(text) => {
            quoted(text, Some(indent + 2), out);
            out.push('\n');
        }
        Value::Array(_) => out.push_str("[]\n"),
        Value::Object(_) => out.push_str("{}\n"),
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

fn key(name: &str, out: &mut String) {
    quoted(name, None, out);
}

/// A text in the simplest style that is read back as this text; it is folded to `fold` spaces of indentation, if at all.
fn quoted(text: &str, fold: Option<usize>, out: &mut String) {
    let is_clean = text.chars().all(|c| !c.is_control() && c != '\u{feff}');
    if !is_clean || reads_as_other(text) {
        out.push_str(&Value::from(text).to_string());
    } else if is_plain(text) {
        folded(text, fold, out);
    } else {
        out.push('\'');
        folded(&text.replace('\'', "''"), fold, out);
        out.push('\'');
    }
}

/// Single spaces beyond the width become the ends of lines.
fn folded(text: &str, fold: Option<usize>, out: &mut String) {
    let Some(indent) = fold else { return out.push_str(text) };
    let start = out.rfind('\n').map_or(0, |newline| newline + 1);
    let mut column = out[start..].chars().count();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_single = c == ' ' && before != ' ' && rest.peek().is_some_and(|next| *next != ' ');
        if is_single && column > WIDTH {
            out.push('\n');
            pad(indent, out);
            column = indent;
        } else {
            out.push(c);
            column += 1;
        }
        before = c;
    }
}

/// Whether a text can stand as lines of their own.
fn is_block(text: &str) -> bool {
    let has_other = text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    !has_other && !text.lines().any(|line| line.ends_with(' '))
}

fn block(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text.ends_with("\n\n") || text == "\n" {
        out.push('+');
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(indent, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// Whether the characters of a text mean nothing to YAML.
fn is_plain(text: &str) -> bool {
    let indicators = ['#', ',', '[', ']', '{', '}', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`'];
    let begins_badly = text.starts_with(indicators)
        || text.starts_with("---")
        || text.starts_with("...")
        || text.starts_with("- ")
        || text.starts_with("? ")
        || matches!(text, "-" | "?");
    let means_something = text.contains(": ") || text.ends_with(':') || text.contains(" #");
    let is_padded = text.starts_with(' ') || text.ends_with(' ');
    !begins_badly && !means_something && !is_padded
}

/// Whether a text without quotes would be read as a truth, a number, a time or nothing.
fn reads_as_other(text: &str) -> bool {
    const WORDS: [&str; 5] = ["null", "true", "false", "yes", "no"];
    const MORE: [&str; 4] = ["on", "off", "y", "n"];
    let is_word = |word: &&str| {
        let mut capital = String::from(&word[..1]).to_ascii_uppercase();
        capital.push_str(&word[1..]);
        text == *word || text == capital || text == word.to_ascii_uppercase()
    };
    matches!(text, "" | "~" | "<<")
        || WORDS.iter().chain(&MORE).any(is_word)
        || is_number(text)
        || is_time(text)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan") {
        return true;
    }
    let plain = digits.replace('_', "");
    let radix = [("0x", 16), ("0b", 2), ("0o", 8)];
    let in_radix = radix.iter().any(|(prefix, radix)| {
        plain.strip_prefix(prefix).is_some_and(|digits| u64::from_str_radix(digits, *radix).is_ok())
    });
    let begins_as_one = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_sexagesimal = plain.contains(':')
        && plain.split(':').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    in_radix || is_sexagesimal || (begins_as_one && plain != "." && plain.parse::<f64>().is_ok())
}

/// A date, or a time as RFC 3339 writes it.
fn is_time(text: &str) -> bool {
    let is_date =
        text.len() >= 8 && text.as_bytes().get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit));
    is_date
        && (text.parse::<jiff::civil::Date>().is_ok_and(|_| text.len() <= 10)
            || text.parse::<jiff::Timestamp>().is_ok())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::write;

    #[test]
    fn an_object_as_tools_know_it() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "y", "labels": {}, "creationTimestamp": "2026-01-02T03:04:05Z",
                "ownerReferences": [{"uid": "u", "controller": true}, {"uid": "1"}]},
            "data": {"empty": "", "number": "10", "octal": "0777", "word": "On", "text": "a: b", "lines": "a\nb\n",
                "open": "a\nb", "star": "*x", "plain": "a b:c", "quote": "it's: so", "version": "1.2.3"},
            "list": [[1, 2], [], "no"]});
        expect![[r#"
            apiVersion: v1
            data:
              empty: ""
              lines: |
                a
                b
              number: "10"
              octal: "0777"
              open: |-
                a
                b
              plain: a b:c
              quote: 'it''s: so'
              star: '*x'
              text: 'a: b'
              version: 1.2.3
              word: "On"
            kind: ConfigMap
            list:
            - - 1
              - 2
            - []
            - "no"
            metadata:
              creationTimestamp: "2026-01-02T03:04:05Z"
              labels: {}
              name: "y"
              ownerReferences:
              - controller: true
                uid: u
              - uid: "1"
        "#]]
        .assert_eq(&write(&object));
    }

    #[test]
    fn long_lines_are_folded_and_read_back_as_one() {
        let text = "word ".repeat(40);
        let value = json!({"message": text.trim_end()});
        let yaml = write(&value);
        assert!(yaml.lines().count() > 1 && yaml.lines().all(|line| line.len() <= 90), "{yaml}");
        assert_eq!(kinds::decode::raw("application/yaml", yaml.as_bytes()).unwrap(), value);
    }
}

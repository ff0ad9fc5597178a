//! The JSON paths of definitions: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Every,
    /// The items of which a path equals a value, or differs from it.
    Where {
        path: Path,
        equal: bool,
        value: Value,
    },
}

impl Path {
    /// `None` if the text is no path, or one that columns do not take.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Parser { rest: text }.path()
    }

    /// Whether it consists of names only.
    pub(crate) fn is_plain(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// The names of a plain path.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            Step::Index(_) | Step::Every | Step::Where { .. } => None,
        })
    }

    /// The first value that it leads to.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        find(&self.steps, value)
    }

    /// Puts a value where a plain path leads, making the objects on the way.
    pub(crate) fn set(&self, object: &mut Value, value: Value) {
        let mut place = object;
        for name in self.names() {
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            place = &mut place[name];
        }
        *place = value;
    }
}

fn find<'v>(steps: &[Step], value: &'v Value) -> Option<&'v Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => find(rest, value.get(name)?),
        Step::Index(index) => {
            let items = value.as_array()?;
            let length = i64::try_from(items.len()).ok()?;
            let index = if *index < 0 { length.saturating_add(*index) } else { *index };
            find(rest, items.get(usize::try_from(index).ok()?)?)
        }
        Step::Every => match value {
            Value::Array(items) => items.iter().find_map(|item| find(rest, item)),
            Value::Object(fields) => fields.values().find_map(|item| find(rest, item)),
            _ => None,
        },
        Step::Where { path, equal, value: wanted } => {
            let picks = |item: &&Value| path.find(item).is_some_and(|found| (found == wanted) == *equal);
            value.as_array()?.iter().filter(picks).find_map(|item| find(rest, item))
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn path(mut self) -> Option<Path> {
        self.rest = self.rest.trim();
        if let Some(inner) = self.rest.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            self.rest = inner;
        }
        self.rest = self.rest.strip_prefix('$').unwrap_or(self.rest);
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            steps.push(self.step()?);
        }
        (!steps.is_empty()).then_some(Path { steps })
    }

    fn step(&mut self) -> Option<Step> {
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            return self.name();
        }
        let rest = self.rest.strip_prefix('[')?;
        let end = closing(rest)?;
        let inner = rest[..end].trim();
        self.rest = &rest[end + 1..];
        bracketed(inner)
    }

    /// A name ends at the next `.` or `[`; `\` takes the character after it as it is.
    fn name(&mut self) -> Option<Step> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((index, character)) = chars.next() {
            match character {
                '\\' => name.push(chars.next()?.1),
                '.' | '[' => {
                    end = index;
                    break;
                }
                other => name.push(other),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => None,
            "*" => Some(Step::Every),
            _ => Some(Step::Field(name)),
        }
    }
}

/// Where the bracket that is open ends, quotes and brackets within left alone.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(index),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn bracketed(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::Every);
    }
    if let Some(name) = quoted(inner) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(condition) = inner.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return filter(condition);
    }
    inner.parse().ok().map(Step::Index)
}

fn filter(condition: &str) -> Option<Step> {
    let (operator, equal) = if condition.contains("!=") { ("!=", false) } else { ("==", true) };
    let (left, right) = condition.split_once(operator)?;
    let path = Path::parse(left.trim().strip_prefix('@')?)?;
    let right = right.trim();
    let value = match quoted(right) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Where { path, equal, value })
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

//! Label selectors: `app=web,tier in (a, b),!canary`.

use memchr::memmem;
use serde_json::Value;

use crate::Kind;
use crate::status::Failure;
use crate::validate::names;

/// A parsed label selector; empty matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    /// Also true of objects without the label.
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl Labels {
    /// Reads the text of a query parameter.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut requirements = Vec::new();
        let mut parser = Parser { rest: text.trim() };
        while !parser.rest.is_empty() {
            requirements.push(parser.requirement().map_err(|why| refusal(&why))?);
            parser.separator().map_err(|why| refusal(&why))?;
        }
        Ok(Self { requirements })
    }

    /// Reads a `metav1.LabelSelector` of a spec; a selector that is not there matches nothing.
    pub fn from_spec(selector: &Value) -> Result<Option<Self>, Failure> {
        let Some(selector) = selector.as_object() else { return Ok(None) };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), test: Test::In(vec![value]) });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(Some(Self { requirements }))
    }

    pub fn matches(&self, _kind: &Kind, object: &Value) -> bool {
        self.match_labels(&object["metadata"]["labels"])
    }

    /// Whether a map of labels matches.
    pub fn match_labels(&self, labels: &Value) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.test(labels.get(&requirement.key).and_then(Value::as_str)))
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object may match of which only the text is known, JSON without blanks: false is certain. Where few of
    /// many objects are wanted, most need not be read at all.
    pub fn may_match(&self, text: &[u8]) -> bool {
        self.requirements.iter().all(|requirement| requirement.may_pass(text))
    }
}

impl Requirement {
    fn test(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|refused| refused != value)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl Requirement {
    /// Neither the names of labels nor their values hold anything that JSON would write in another way.
    fn may_pass(&self, text: &[u8]) -> bool {
        let says = |what: String| memmem::find(text, what.as_bytes()).is_some();
        match &self.test {
            Test::In(values) => values.iter().any(|value| says(format!("\"{}\":\"{value}\"", self.key))),
            Test::Exists | Test::Greater(_) | Test::Less(_) => says(format!("\"{}\":", self.key)),
            Test::NotIn(_) | Test::Absent => true,
        }
    }
}

fn refusal(why: &str) -> Failure {
    Failure::bad_request(format!("unable to parse requirement: {why}"))
}

fn expression_requirement(expression: &Value) -> Result<Requirement, Failure> {
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    let values = expression["values"].as_array().into_iter().flatten();
    let values = values.map(|value| value.as_str().unwrap_or_default().to_owned()).collect();
    let test = match expression["operator"].as_str() {
        Some("In") => Test::In(values),
        Some("NotIn") => Test::NotIn(values),
        Some("Exists") => Test::Exists,
        Some("DoesNotExist") => Test::Absent,
        other => {
            let operator = other.unwrap_or_default();
            return Err(Failure::bad_request(format!(
                "\"{operator}\" is not a valid label selector operator"
            )));
        }
    };
    Ok(Requirement { key, test })
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.eat("!") {
            let key = self.key()?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.key()?;
        let test = if self.rest.is_empty() || self.rest.starts_with(',') {
            Test::Exists
        } else if self.eat("!=") {
            Test::NotIn(vec![self.value()?])
        } else if self.eat("==") || self.eat("=") {
            Test::In(vec![self.value()?])
        } else if self.eat(">") {
            Test::Greater(self.number()?)
        } else if self.eat("<") {
            Test::Less(self.number()?)
        } else {
            match self.word() {
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                found => return Err(format!("found '{found}', expected: in, notin, =, ==, !=, gt, lt")),
            }
        };
        Ok(Requirement { key, test })
    }

    fn separator(&mut self) -> Result<(), String> {
        if self.rest.is_empty() {
            return Ok(());
        }
        if !self.eat(",") {
            return Err(format!("found '{}', expected: ',' or 'end of string'", self.rest));
        }
        if self.rest.is_empty() { Err("found '', expected: identifier after ','".to_owned()) } else { Ok(()) }
    }

    /// Takes `token` if it comes next, with the blanks after it.
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        let stops = |c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '(' | ')' | '<' | '>');
        let end = self.rest.find(stops).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        if key.is_empty() {
            return Err(format!("found '{}', expected: !, identifier, or 'end of string'", self.rest));
        }
        match names::qualified_name(key).first() {
            Some(fault) => Err(format!("key: Invalid value: \"{key}\": {fault}")),
            None => Ok(key.to_owned()),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        match names::label_value(value) {
            Some(fault) => Err(format!("values[0]: Invalid value: \"{value}\": {fault}")),
            None => Ok(value.to_owned()),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse()
            .map_err(|_error| format!("for 'Gt', 'Lt' operators, the value must be an integer, not '{word}'"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        if !self.eat("(") {
            return Err(format!("found '{}' expected: '('", self.rest));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.eat(")") {
                return Ok(values);
            }
            if !self.eat(",") {
                return Err(format!("found '{}', expected: ',' or ')'", self.rest));
            }
        }
    }
}

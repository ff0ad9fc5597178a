//! How large the values of a schema can get, for what rules about them can cost; and how many of them there can be.
//!
//! What a schema does not limit is limited by how large a request may be: the smaller an element is at least, the more of
//! them fit in.

use crate::cel::cost::Extent;
use crate::custom::check::Checks;
use crate::custom::format::Format;
use crate::custom::schema::{Additional, JsonType, Mark, Schema};

/// How large a request can get, in bytes, as Kubernetes reckons here.
const REQUEST: u64 = 3 << 20;
/// What one rule may cost, for all values that it is about.
pub(crate) const MOST_OF_RULE: u64 = 10_000_000;
/// What all rules of a schema may cost.
pub(crate) const MOST_OF_SCHEMA: u64 = 100_000_000;
/// The most bytes of one character.
const CHARACTER: u64 = 4;
/// What surrounds a list, a map or a text: two brackets, or two quotes.
const ENCLOSED: u64 = 2;
/// What a key takes beside its value: its quotes, the colon, the comma, and the shortest name.
const KEY: u64 = 6;

/// How often a rule runs for one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    AtMost(u64),
    /// As often as values fit into a request.
    Unlimited,
}

impl Times {
    /// For each element of what is looked at so often itself.
    pub(crate) fn each(self, limit: Option<usize>) -> Self {
        match (self, limit) {
            (Self::AtMost(times), Some(limit)) => Self::AtMost(times.saturating_mul(limit as u64)),
            _ => Self::Unlimited,
        }
    }

    /// What something costs so often, for values of `schema`.
    pub(crate) fn cost(self, once: u64, schema: &Schema) -> u64 {
        let times = match self {
            Self::AtMost(times) => times,
            Self::Unlimited => REQUEST / (schema.least_bytes + 1),
        };
        once.saturating_mul(times)
    }
}

fn checks(schema: &Schema) -> Option<&Checks> {
    schema.checks.as_deref()
}

impl Extent for &Schema {
    fn most(self) -> Option<u64> {
        if self.is(Mark::IntOrString) {
            return None;
        }
        let said = checks(self);
        let fitting = |bytes: u64| (REQUEST - ENCLOSED) / bytes;
        match self.kind? {
            JsonType::Array => {
                let most = said.and_then(Checks::most_items).map(|most| most as u64);
                Some(most.unwrap_or(fitting(self.items.as_ref()?.least_bytes + 1)))
            }
            JsonType::Object => match self.additional.as_ref()? {
                Additional::Of(values) => {
                    let most = said.and_then(Checks::most_properties).map(|most| most as u64);
                    Some(most.unwrap_or(fitting(values.least_bytes + KEY)))
                }
                Additional::Anything => None,
            },
            JsonType::String => text(self),
            JsonType::Integer | JsonType::Number | JsonType::Boolean => None,
        }
    }

    fn field(self, name: &str) -> Option<Self> {
        match &self.additional {
            Some(Additional::Of(values)) => Some(values),
            Some(Additional::Anything) => None,
            None => self.properties().find_map(|(known, schema)| {
                (known == name || super::declare::escaped(known).as_deref() == Some(name)).then_some(schema)
            }),
        }
    }

    fn element(self) -> Option<Self> {
        match (&self.items, &self.additional) {
            (Some(items), _) => Some(items),
            (None, Some(Additional::Of(values))) => Some(values),
            _ => None,
        }
    }

    fn is_text(self) -> bool {
        self.kind == Some(JsonType::String) && !self.is(Mark::IntOrString)
    }

    fn is_map(self) -> bool {
        matches!(self.additional, Some(Additional::Of(_)))
    }
}

/// How many bytes a text can have. Of the formats that are no texts to a rule nothing is said.
fn text(schema: &Schema) -> Option<u64> {
    if matches!(schema.format(), Some(Format::Byte | Format::Date | Format::DateTime | Format::Duration)) {
        return None;
    }
    let said = checks(schema);
    let characters =
        said.and_then(Checks::most_characters).map(|most| (most as u64).saturating_mul(CHARACTER));
    let option = said.and_then(Checks::longest_option).map(|most| most as u64);
    let most = characters.unwrap_or(REQUEST - ENCLOSED);
    Some(option.map_or(most, |option| option.min(most)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MOST_OF_RULE, Times};
    use crate::custom::rules::{Rule, type_of};
    use crate::custom::schema::Schema;

    fn schema() -> Schema {
        let text = |limit: u64| json!({"type": "string", "maxLength": limit});
        let list = |limit: u64| {
            json!({"type": "array", "maxItems": limit, "items": {"type": "object",
            "properties": {"name": text(10), "inner": {"type": "array", "maxItems": 5, "items": {"type": "integer"}}}}})
        };
        let map = json!({"type": "object", "maxProperties": 20, "additionalProperties": text(100)});
        Schema::parse(
            &json!({"type": "object", "properties": {"list": list(100), "text": text(10), "map": map,
            "color": {"type": "string", "enum": ["red", "green"]}, "date": {"type": "string", "format": "date"},
            "free": {"type": "string"}, "unlimited": {"type": "array", "items": {"type": "string"}},
            "some-name": text(5), "any": {"x-kubernetes-int-or-string": true}}}),
        )
    }

    /// The most that a run of the rule costs.
    fn check(rule: &str, expected: u64) {
        let schema = schema();
        let rule = Rule::parse(&json!({"rule": rule}));
        let program = rule.compile(&type_of(&schema, false)).unwrap();
        assert_eq!(program.most_cost(rule.names(), &schema), expected, "{rule:?}");
    }

    #[test]
    fn loops_cost_as_often_as_there_can_be_elements() {
        check("self.list.all(x, true)", 2 + 1 + 100 * 3);
        check("self.list.exists(x, true)", 2 + 1 + 100 * 4);
        check("self.list.all(x, x.inner.all(y, true))", 2 + 1 + 100 * (3 + 2 + 1 + 5 * 3));
        check("self.map.all(key, true)", 2 + 1 + 20 * 3);
        // Of what is gathered there are no more.
        check("self.list.map(x, true).all(y, true)", (2 + 10 + 1 + 100 * 12) + 1 + 100 * 3);
        check("self.unlimited.all(x, true)", 2 + 1 + 1_048_575 * 3);
    }

    #[test]
    fn texts_cost_by_their_length() {
        check("self.text == self.free", 4 + 4);
        check("self.text.matches('[a-z]+')", 2 + 5 * 2);
        check("self.free.contains('abc')", 2 + 314_573);
        check("self.text.startsWith(self.some__dash__name)", 4 + 2);
        check("self.color.matches('[a-z]+')", 2 + 2);
        check("self.map['a'].matches('[a-z]+')", 2 + 1 + 41 * 2);
        // Where nothing is known, the least.
        check("self.any == 'a' && self.date < self.date", 2 + 4);
        check("self.text in ['red', 'green']", 2 + 10 + 2);
        check("!has(self.list) || size(self.list) > 1", 1 + 1 + 3);
        check("self.list.size() > 1 ? self.text == 'a' : true", 3 + 2 + 1);
    }

    #[test]
    fn a_rule_runs_for_each_value() {
        let text = Schema::parse(&json!({"type": "string"}));
        let times = Times::AtMost(1).each(Some(10));
        assert_eq!(times.each(Some(20)).cost(3, &text), 600);
        // As many of the shortest texts as fit into a request.
        assert_eq!(times.each(None).cost(2, &text), 2 * 1_048_576);
        assert!(times.each(None).each(Some(1)).cost(10, &text) > MOST_OF_RULE);
    }
}

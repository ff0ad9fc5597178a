//! Parts of an object in its text, JSON without blanks, found without reading it.

use memchr::memchr2;

/// Where the object ends of which `text` is what follows its opening brace: the place of its closing one.
pub(super) fn end_of_object(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = end_of_value(text, at)?;
        if text[at] != b',' {
            return (text[at] == b'}').then_some(at);
        }
        at += 1;
    }
}

/// What stands before and after the field `name` of the object of which `text` is what follows its opening brace, so that
/// both together are what follows that of an object without it; `None` if it has no such field.
pub(super) fn without<'t>(text: &'t [u8], name: &str) -> Option<[&'t [u8]; 2]> {
    let mut at = 0;
    loop {
        if *text.get(at)? != b'"' {
            return None;
        }
        let end_of_name = end_of_text(text, at + 1)?;
        let end = end_of_value(text, end_of_name + 1)?;
        let is_last = text[end] != b',';
        if text[at + 1..end_of_name] == *name.as_bytes() {
            // One of the commas around it goes as well.
            let (from, to) = if is_last { (at.saturating_sub(1), end) } else { (at, end + 1) };
            return Some([text.get(..from)?, text.get(to..)?]);
        }
        if is_last {
            return None;
        }
        at = end + 1;
    }
}

/// The comma or brace that follows the value, or the rest of a field, that begins at `from`.
fn end_of_value(text: &[u8], from: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, from);
    loop {
        match text.get(at)? {
            b'"' => at = end_of_text(text, at + 1)?,
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// The quote that ends the text that begins at `from`.
fn end_of_text(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        // What follows a backslash is part of the text.
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{end_of_object, without};

    fn any_value() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![Just("managedFields".to_owned()), ".{0,4}", "[\"\\\\{}\\[\\],:]{0,4}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            let fields = prop::collection::btree_map(text(), inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_field_goes_and_the_rest_stays(
            fields in prop::collection::btree_map("[a-z]{0,3}|managedFields", any_value(), 0..4),
            rest in any_value(),
        ) {
            let fields: Map<String, Value> = fields.into_iter().collect();
            let whole = json!({"metadata": fields, "spec": rest}).to_string();
            let text = &whole.as_bytes()["{\"metadata\":{".len()..];
            let end = end_of_object(text).unwrap();
            let metadata: Value = serde_json::from_slice(&[b"{", &text[..=end]].concat()).unwrap();
            prop_assert_eq!(&metadata, &Value::Object(fields.clone()));
            let mut bare = fields;
            let had = bare.remove("managedFields").is_some();
            let found = without(text, "managedFields");
            prop_assert_eq!(found.is_some(), had);
            if let Some([before, after]) = found {
                let left = [b"{\"metadata\":{", before, after].concat();
                let left: Value = serde_json::from_slice(&left).unwrap();
                prop_assert_eq!(left, json!({"metadata": bare, "spec": rest}));
            }
        }

        #[test]
        fn what_is_no_object_ends_nowhere(text in "[\"\\\\{}\\[\\],:a]{0,12}") {
            // Neither of them panics; what they find is within the text.
            let end = end_of_object(text.as_bytes());
            prop_assert!(end.is_none_or(|end| end < text.len()));
            let _found = without(text.as_bytes(), "a");
        }
    }
}

//! Bodies of requests and answers, as they are written down: JSON, whatever they came as.

use serde_json::{Value, json};

/// Null where there is nothing to show. What cannot be read is written as how long it was.
pub(super) fn read(content_type: &str, bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    // Patches are documents as well: `application/merge-patch+json`, `application/apply-patch+yaml`.
    let media_type = match media_type.rsplit_once('+') {
        Some((_, "json")) => "application/json",
        Some((_, "yaml")) => "application/yaml",
        _ => media_type,
    };
    kinds::decode::raw(media_type, bytes).unwrap_or_else(|_| json!({"unreadableBytes": bytes.len()}))
}

/// An object, or a list of objects, without the entries that say who owns which field.
pub(super) fn without_managed_fields(mut value: Value) -> Value {
    strip(&mut value);
    for item in value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        strip(item);
    }
    value
}

fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{read, without_managed_fields};

    #[test]
    fn bodies_are_shown_as_json() {
        let check = |content_type: &str, text: &str, expected: Value| {
            assert_eq!(read(content_type, text.as_bytes()), expected, "{content_type}");
        };
        let object = json!({"a": [1]});
        check("", r#"{"a":[1]}"#, object.clone());
        check("application/json; charset=utf-8", r#"{"a":[1]}"#, object.clone());
        check("application/apply-patch+yaml", "a: [1]", object.clone());
        check("application/strategic-merge-patch+json", r#"{"a":[1]}"#, object);
        check("application/json-patch+json", r#"[{"op":"remove"}]"#, json!([{"op": "remove"}]));
        check("application/json", "{", json!({"unreadableBytes": 1}));
        check("image/png", "png", json!({"unreadableBytes": 3}));
        check("application/json", "", Value::Null);
    }

    #[test]
    fn owners_of_fields_can_be_left_out() {
        let object = json!({"metadata": {"name": "a", "managedFields": []}});
        let bare = json!({"metadata": {"name": "a"}});
        assert_eq!(without_managed_fields(object.clone()), bare);
        assert_eq!(without_managed_fields(json!({"items": [object]})), json!({"items": [bare]}));
        assert_eq!(without_managed_fields(json!([1])), json!([1]));
    }
}

//! Services: the addresses that the server gave stay with the Service when its owner does not name them.

use serde_json::Value;

use crate::object;

/// Keeps what the server allocated, unless the Service becomes an `ExternalName`.
pub(super) fn keep_addresses(new: &mut Value, old: &Value) {
    if new["spec"]["type"] == "ExternalName" {
        return;
    }
    let spec = object::entry_object(new, "spec");
    let unset = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == "");
    for field in ["clusterIP", "clusterIPs"] {
        if unset(spec.get(field))
            && let Some(value) = old["spec"].get(field)
        {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

//! Services: the addresses that the server gave stay with the Service when its owner does not name them.

use serde_json::Value;

use crate::object;

/// Keeps what the server allocated, unless the Service becomes an `ExternalName`.
pub(super) fn keep_addresses(new: &mut Value, old: &Value) {
    let is_external = new["spec"]["type"] == "ExternalName";
    let spec = object::entry_object(new, "spec");
    if is_external {
        // What was the server's goes back to it; an address that the client names anew is for validation to refuse.
        for field in ["clusterIP", "clusterIPs"] {
            if spec.get(field) == old["spec"].get(field) {
                spec.shift_remove(field);
            }
        }
        return;
    }
    let unset = |value: Option<&Value>| value.is_none_or(|value| value.is_null() || value == "");
    for field in ["clusterIP", "clusterIPs"] {
        if unset(spec.get(field))
            && let Some(value) = old["spec"].get(field)
        {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

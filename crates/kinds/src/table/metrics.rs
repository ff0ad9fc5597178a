//! What is measured: one row says how much of what.

use serde_json::Value;

use super::cell;

pub(super) fn cells(object: &Value) -> Vec<Value> {
    let containers = object["containers"].as_array().into_iter().flatten();
    // A node's use is its own, a Pod's is that of its containers.
    let used: Vec<&Value> = containers.chain(std::iter::once(object)).map(|part| &part["usage"]).collect();
    let sum = |resource: &str| -> i128 {
        let amounts = used.iter().filter_map(|usage| usage[resource].as_str());
        amounts.filter_map(|amount| model::Quantity::parse(amount).ok()).map(|amount| amount.to_milli()).sum()
    };
    let memory = format!("{}Ki", sum("memory") / 1000 / 1024);
    vec![cell::name(object), format!("{}m", sum("cpu")).into(), memory.into(), object["window"].clone()]
}

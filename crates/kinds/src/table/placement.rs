//! Cells of our own kinds about placement.

use jiff::Timestamp;
use serde_json::Value;

use super::cell::{NONE, condition, count, created, name, selector, text_or};
use crate::Kind;

pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let own: Vec<Value> = match kind.kind {
        "BatchQuota" => {
            let told = [&spec["min"], &spec["max"], &status["used"]].map(amounts_or_none);
            let own = [text_or(&spec["parent"], NONE), spec["weight"].as_u64().unwrap_or(1).into()];
            own.into_iter()
                .chain(told)
                .chain([condition(object, "InForce").unwrap_or("Unknown").into()])
                .collect()
        }
        "ElasticQuota" => {
            let told = [&spec["min"], &spec["max"], &status["used"], &status["borrowed"]];
            told.map(amounts_or_none).into()
        }
        "ColocationPolicy" => colocation_policy(spec),
        "ColocationProfile" => vec![
            text_or(&spec["class"], NONE),
            selector(&spec["namespaceSelector"]),
            selector(&spec["selector"]),
            text_or(&spec["quota"], NONE),
        ],
        "InterferenceRule" => vec![
            count(&spec["atMost"]).into(),
            selector(&spec["pods"]["selector"]),
            selector(&spec["beside"]["selector"]),
            text_or(&spec["topologyKey"], NONE),
        ],
        "RebalancePolicy" => vec![
            text_or(&spec["goal"], NONE),
            text_or(&status["phase"], "Idle"),
            status["round"].as_array().map_or(0, Vec::len).into(),
            count(&status["moved"]).into(),
            count(&status["failed"]).into(),
        ],
        "Reservation" => vec![
            text_or(&status["phase"], "Pending"),
            text_or(&status["nodeName"], NONE),
            amounts(&spec["resources"]),
            selector(&spec["owners"]),
        ],
        "SchedulingPolicy" => {
            let bound = |field: &str| spec["priorities"][field].as_i64().map(|bound| bound.to_string());
            let bound = |field: &str| Value::from(bound(field).unwrap_or_else(|| NONE.to_owned()));
            vec![
                text_or(&spec["schedulerName"], NONE),
                text_or(&spec["placement"], "Spread"),
                bound("min"),
                bound("max"),
            ]
        }
        "Tide" => {
            let window = &status["window"];
            let from = if window.is_null() { &status["next"] } else { &window["from"] };
            let free = format!("{}/{}", count(&status["handedOver"]), count(&status["wanted"]));
            vec![
                text_or(&status["phase"], "Calm"),
                free.into(),
                text_or(from, NONE),
                text_or(&window["to"], NONE),
                condition(object, "AtRisk").unwrap_or("False").into(),
            ]
        }
        "PodExplanation" => {
            let number = |field: &str| status[field].as_u64().map(|number| number.to_string());
            let of_all = number("nFeasible").zip(number("nNodes")).map(|(some, all)| format!("{some}/{all}"));
            let own = [text_or(&status["state"], NONE), text_or(&status["node"], NONE)];
            let counted =
                [number("rank"), of_all].map(|text| Value::from(text.unwrap_or_else(|| NONE.to_owned())));
            let cells = own.into_iter().chain(counted).chain([text_or(&status["message"], NONE)]);
            return std::iter::once(name(object)).chain(cells).collect();
        }
        "PodGroup" => vec![
            text_or(&status["phase"], "Pending"),
            count(&spec["minMember"]).into(),
            count(&status["members"]).into(),
            count(&status["scheduled"]).into(),
        ],
        _ => Vec::new(),
    };
    std::iter::once(name(object)).chain(own).chain([created(object, now)]).collect()
}

fn colocation_policy(spec: &Value) -> Vec<Value> {
    let percent = |part: &str, field: &str| {
        spec[part][field].as_i64().map_or_else(|| NONE.into(), |percent| Value::from(format!("{percent}%")))
    };
    vec![
        selector(&spec["nodeSelector"]),
        percent("cpu", "marginPercent"),
        percent("memory", "marginPercent"),
        percent("squeeze", "waitPercent"),
    ]
}

fn amounts_or_none(told: &Value) -> Value {
    if told.is_object() { amounts(told) } else { NONE.into() }
}

/// Amounts by name, on one line.
fn amounts(amounts: &Value) -> Value {
    let amounts = amounts.as_object().into_iter().flatten();
    let amounts: Vec<String> =
        amounts.map(|(name, amount)| format!("{name}: {}", amount.as_str().unwrap_or("?"))).collect();
    amounts.join(", ").into()
}

//! Cells of what keeps Pods running, beside Deployments and Jobs.

use jiff::Timestamp;
use serde_json::Value;

use super::age;
use super::cell::{NONE, count, created, joined, labels, list, name, text_or};

pub(super) fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![
        name(object),
        spec["replicas"].as_i64().unwrap_or(1).into(),
        count(&status["replicas"]).into(),
        count(&status["readyReplicas"]).into(),
        created(object, now),
    ];
    cells.extend(containers(&spec["template"]["spec"]));
    cells.push(labelled(&spec["selector"]));
    cells
}

pub(super) fn pod_template(object: &Value) -> Vec<Value> {
    let template = &object["template"];
    let mut cells = vec![name(object)];
    cells.extend(containers(&template["spec"]));
    cells.push(labelled(&template["metadata"]["labels"]));
    cells
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mut cells = vec![name(object)];
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    cells.extend(counts.map(|field| Value::from(count(&status[field]))));
    cells.push(labelled(&spec["template"]["spec"]["nodeSelector"]));
    cells.push(created(object, now));
    cells.extend(super::cell::wide(object));
    cells
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let ready = format!("{}/{wanted}", count(&object["status"]["readyReplicas"]));
    let mut cells = vec![name(object), ready.into(), created(object, now)];
    cells.extend(containers(&object["spec"]["template"]["spec"]));
    cells
}

pub(super) fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owners = list(&object["metadata"]["ownerReferences"]);
    let owner = owners.iter().find(|owner| owner["controller"] == true).map_or_else(
        || NONE.to_owned(),
        |owner| {
            let of = |field: &str| owner[field].as_str().unwrap_or_default();
            let kind = of("kind").to_lowercase();
            let group =
                of("apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            format!("{kind}{group}/{}", of("name"))
        },
    );
    vec![name(object), owner.into(), count(&object["revision"]).into(), created(object, now)]
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let last = match &status["lastScheduleTime"] {
        Value::Null => NONE.into(),
        time => age::since(time, now).into(),
    };
    let job = &spec["jobTemplate"]["spec"];
    let mut cells = vec![
        name(object),
        text_or(&spec["schedule"], ""),
        text_or(&spec["timeZone"], NONE),
        if spec["suspend"] == true { "True".into() } else { "False".into() },
        list(&status["active"]).len().into(),
        last,
        created(object, now),
    ];
    cells.extend(containers(&job["template"]["spec"]));
    cells.push(super::cell::selector(&job["selector"]));
    cells
}

pub(super) fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = [&spec["scaleTargetRef"]["kind"], &spec["scaleTargetRef"]["name"]]
        .map(|part| part.as_str().unwrap_or_default())
        .join("/");
    let least = spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |least| least.to_string());
    vec![
        name(object),
        target.into(),
        targets(spec, status).into(),
        least.into(),
        count(&spec["maxReplicas"]).into(),
        count(&status["currentReplicas"]).into(),
        created(object, now),
    ]
}

/// Each metric as it stands, with what it should be: `cpu: 12%/80%`.
fn targets(spec: &Value, status: &Value) -> String {
    const SHOWN: usize = 2;
    let metrics = list(&spec["metrics"]);
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let current = list(&status["currentMetrics"]);
    let terms: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let more = terms.len().saturating_sub(SHOWN);
    let shown = terms.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn target(metric: &Value, current: &Value) -> String {
    let kind = metric["type"].as_str().unwrap_or_default();
    let mut letters = kind.chars();
    let field: String =
        letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let (wanted, found) = (&metric[&field]["target"], &current[&field]["current"]);
    let resource = metric[&field]["name"].as_str();
    let unknown = || "<unknown>".to_owned();
    let text = |value: &Value| value.as_str().map_or_else(unknown, str::to_owned);
    let said = if let Some(share) = wanted["averageUtilization"].as_i64() {
        let now = found["averageUtilization"].as_i64().map_or_else(unknown, |share| format!("{share}%"));
        format!("{now}/{share}%")
    } else if let Some(average) = wanted["averageValue"].as_str() {
        let suffix = if resource.is_some() || kind == "Pods" { "" } else { " (avg)" };
        format!("{}/{average}{suffix}", text(&found["averageValue"]))
    } else {
        format!("{}/{}", text(&found["value"]), text(&wanted["value"]))
    };
    resource.map_or(said.clone(), |resource| format!("{resource}: {said}"))
}

/// The names and the images of a Pod's containers.
fn containers(spec: &Value) -> [Value; 2] {
    let of = |field: &str| {
        joined(list(&spec["containers"]).iter().filter_map(|container| container[field].as_str()))
    };
    [of("name"), of("image")]
}

fn labelled(map: &Value) -> Value {
    joined(labels(map).iter().map(String::as_str))
}

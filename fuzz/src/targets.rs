//! What is fed: pure parsers with text and documents, and a whole server with requests.

use kinds::patch::PatchType;
use kinds::{Kind, decode, patch, selector};
use serde_json::Value;

use crate::admission;
use crate::requests;
use crate::seeds::Diet;

/// Takes one input; a panic is a finding.
pub(crate) type Mouth = Box<dyn FnMut(&[u8])>;

/// Something that must survive any input.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub(crate) diet: Diet,
    pub(crate) build: fn() -> Mouth,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        diet: Diet::Documents,
        build: || Box::new(|input| objects("application/json", input)),
    },
    Target {
        name: "yaml",
        diet: Diet::Documents,
        build: || Box::new(|input| objects("application/yaml", input)),
    },
    Target { name: "protobuf", diet: Diet::Documents, build: || Box::new(protobuf) },
    Target { name: "patches", diet: Diet::Documents, build: || Box::new(patches) },
    Target { name: "definitions", diet: Diet::Documents, build: || Box::new(definitions) },
    Target { name: "selectors", diet: Diet::Lines, build: || Box::new(selectors) },
    Target { name: "paths", diet: Diet::Lines, build: requests::paths },
    Target { name: "reviews", diet: Diet::Documents, build: || Box::new(admission::reviews) },
    Target { name: "policies", diet: Diet::Documents, build: || Box::new(admission::policies) },
    Target { name: "expressions", diet: Diet::Expressions, build: || Box::new(admission::expressions) },
    Target { name: "requests", diet: Diet::Documents, build: requests::bodies },
];

/// A kind that the input itself picks, so that the same input always meets the same kind.
fn kind_of(input: &[u8]) -> &'static Kind {
    let kinds = kinds::all();
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    &kinds[sum % kinds.len()]
}

/// Decoded, completed, judged and shown, as the kind that the document names or as any other.
fn objects(media_type: &str, input: &[u8]) {
    let raw = decode::raw(media_type, input).unwrap_or_default();
    let text = |field: &str| raw[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let kind = kinds::find_kind(group, version, text("kind")).unwrap_or_else(|| kind_of(input));
    if let Ok(decoded) = decode::body(kind, media_type, input) {
        digest(kind, decoded.object);
    }
}

fn digest(kind: &Kind, mut object: Value) {
    kinds::defaults::apply(kind, &mut object);
    let _faults = kinds::validate::create(kind, &object);
    let _changes = kinds::validate::update(kind, &object, &object);
    let now = jiff::Timestamp::UNIX_EPOCH;
    let _table = kinds::table::render(kind, &[object], now, kinds::table::IncludeObject::Object);
}

fn protobuf(input: &[u8]) {
    let mut envelope = b"k8s\0".to_vec();
    envelope.extend_from_slice(input);
    for bytes in [input, &envelope] {
        if let Ok(decoded) = decode::body(kind_of(input), decode::PROTOBUF, bytes) {
            digest(kind_of(input), decoded.object);
        }
    }
}

/// The input as a patch of every type, applied to an object that has most things a patch may meet.
fn patches(input: &[u8]) {
    let kind = kinds::find("apps", "v1", "deployments").expect("deployments are served");
    let current: Value = serde_json::from_str(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"a":"b"},"finalizers":["f"]},
        "spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":1}]},
        {"name":"e"}],"volumes":[{"name":"v","emptyDir":{}}]}}},"a":{"b":["x"]}}"#,
    )
    .expect("the object above is JSON");
    for patch_type in [PatchType::Json, PatchType::Merge, PatchType::StrategicMerge] {
        let _problems = patch::duplicates(patch_type, input);
        if let Ok(patched) = patch::apply(kind, patch_type, &current, input) {
            let _conforms = decode::object(kind, patched).map(|decoded| digest(kind, decoded.object));
        }
    }
}

/// The input as a definition of a kind: judged; and if it has no faults, established and met with the input itself and
/// with an object that it allows.
fn definitions(input: &[u8]) {
    let kind = kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .expect("definitions are served");
    let Ok(decoded) = decode::body(kind, "application/json", input) else { return };
    let mut definition = decoded.object;
    kinds::defaults::apply(kind, &mut definition);
    definition["status"] = kinds::custom::status::initial(&definition);
    let faults = kinds::validate::create(kind, &definition);
    let settled = kinds::custom::status::settled(&definition, std::iter::empty(), "2026-01-01T00:00:00Z");
    definition["status"] = settled.unwrap_or_default();
    if !faults.is_empty() {
        return;
    }
    for kind in kinds::custom::kinds(&definition.into()) {
        let mut object: Value = serde_json::from_slice(input).unwrap_or_default();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        if let Ok(decoded) = decode::object(&kind, object) {
            digest(&kind, decoded.object);
        }
    }
}

fn selectors(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let object = serde_json::json!({"metadata": {"name": "a", "labels": {"app": "web", "x": "3"}}});
    let kind = kinds::find("", "v1", "pods").expect("pods are served");
    let _matches = selector::Labels::parse(&text).map(|labels| labels.matches(kind, &object));
    let fields = selector::Fields::parse(&text);
    let _selects = fields.map(|fields| fields.check(kind).is_ok() && fields.matches(kind, &object));
}

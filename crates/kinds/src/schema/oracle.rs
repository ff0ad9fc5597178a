//! The table of merges against another reading of the same facts: `k8s-openapi` merges typed objects itself.
//!
//! Two objects that differ in one list are merged there; whether the list was replaced, united or merged item by item
//! tells what kind of list it is.

use std::collections::BTreeSet;

use k8s_openapi::DeepMerge;
use k8s_openapi::api::{
    admissionregistration, apps, autoscaling, batch, certificates, core, discovery, flowcontrol, networking,
    node, policy, resource, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::merge::Topology;
use super::{Definition, Field, Format, Shape, by_name};

type MergeFn = fn(Value, Value) -> Value;

fn merged<T: DeepMerge + DeserializeOwned + Serialize>(left: Value, right: Value) -> Value {
    let mut left: T = serde_json::from_value(left).unwrap();
    left.merge_from(serde_json::from_value(right).unwrap());
    serde_json::to_value(left).unwrap()
}

fn root<T: DeepMerge + DeserializeOwned + Serialize + JsonSchema>() -> (&'static Definition, MergeFn) {
    (by_name(&T::schema_name()).unwrap(), merged::<T>)
}

fn roots() -> Vec<(&'static Definition, MergeFn)> {
    vec![
        root::<core::v1::Pod>(),
        root::<core::v1::Service>(),
        root::<core::v1::Node>(),
        root::<core::v1::Namespace>(),
        root::<core::v1::ServiceAccount>(),
        root::<core::v1::PersistentVolume>(),
        root::<core::v1::PersistentVolumeClaim>(),
        root::<core::v1::ReplicationController>(),
        root::<core::v1::LimitRange>(),
        root::<core::v1::ResourceQuota>(),
        root::<core::v1::Endpoints>(),
        root::<apps::v1::Deployment>(),
        root::<apps::v1::DaemonSet>(),
        root::<apps::v1::StatefulSet>(),
        root::<apps::v1::ReplicaSet>(),
        root::<batch::v1::Job>(),
        root::<batch::v1::CronJob>(),
        root::<autoscaling::v2::HorizontalPodAutoscaler>(),
        root::<certificates::v1::CertificateSigningRequest>(),
        root::<discovery::v1::EndpointSlice>(),
        root::<flowcontrol::v1::FlowSchema>(),
        root::<flowcontrol::v1::PriorityLevelConfiguration>(),
        root::<networking::v1::Ingress>(),
        root::<networking::v1::NetworkPolicy>(),
        root::<networking::v1::ServiceCIDR>(),
        root::<node::v1::RuntimeClass>(),
        root::<policy::v1::PodDisruptionBudget>(),
        root::<resource::v1::ResourceClaim>(),
        root::<resource::v1::ResourceSlice>(),
        root::<storage::v1::CSIDriver>(),
        root::<storage::v1::CSINode>(),
        root::<storage::v1::StorageClass>(),
        root::<admissionregistration::v1::MutatingAdmissionPolicy>(),
        root::<admissionregistration::v1::MutatingWebhookConfiguration>(),
        root::<admissionregistration::v1::ValidatingAdmissionPolicy>(),
        root::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>(),
        root::<admissionregistration::v1::ValidatingWebhookConfiguration>(),
        root::<apiextensions::v1::CustomResourceDefinition>(),
        root::<apiregistration::v1::APIService>(),
    ]
}

#[test]
fn lists_merge_as_typed_objects_do() {
    let mut walk = Walk::default();
    for (definition, merge) in roots() {
        walk.definition(definition, merge, &[]);
    }
    assert!(walk.n_lists > 150, "only {} lists were compared", walk.n_lists);
    assert!(walk.differences.is_empty(), "{}", walk.differences.join("\n"));
}

/// A step to a field: of an object, or of the items of a keyed list.
#[derive(Clone)]
enum Step {
    Field(String),
    /// The list's name, and the one item by its keys.
    Item(String, Value),
}

#[derive(Default)]
struct Walk {
    seen: BTreeSet<&'static str>,
    n_lists: usize,
    differences: Vec<String>,
}

impl Walk {
    fn definition(&mut self, definition: &'static Definition, merge: MergeFn, path: &[Step]) {
        if !self.seen.insert(&definition.name) {
            return;
        }
        for field in definition.fields() {
            let step = Step::Field(field.name.to_string());
            match (&field.shape, field.topology) {
                (Shape::List(item), topology) => {
                    self.list(definition, (field, item, topology), merge, path);
                    // What a list that is replaced holds cannot be reached by a merge.
                    if let (Topology::Keyed(keys), Some(inner)) = (topology, item.definition()) {
                        let step = Step::Item(field.name.to_string(), keyed(inner, keys, 1));
                        self.definition(inner, merge, &[path, &[step]].concat());
                    }
                }
                (Shape::Object(_), _) => {
                    if let Some(inner) = field.shape.definition() {
                        self.definition(inner, merge, &[path, &[step]].concat());
                    }
                }
                _ => {}
            }
        }
    }

    fn list(
        &mut self,
        definition: &Definition,
        (field, item, topology): (&Field, &Shape, Topology),
        merge: MergeFn,
        path: &[Step],
    ) {
        let of = |items: Value| nested(path, json!({ &*field.name: items }));
        let count = |left: Value, right: Value| {
            let whole = merge(of(json!([left])), of(json!([right])));
            at(&whole, path, &field.name).as_array().map_or(0, Vec::len)
        };
        let sample = |number| match (topology, item.definition()) {
            (Topology::Keyed(keys), Some(inner)) => Some(keyed(inner, keys, number)),
            (_, Some(inner)) => Some(timed(inner)),
            (_, None) => plain(item, number),
        };
        let (Some(left), Some(right)) = (sample(1), sample(2)) else { return };
        self.n_lists += 1;
        let expected = if topology == Topology::Atomic { 1 } else { 2 };
        let mut counts = vec![(count(left.clone(), right), expected)];
        if topology != Topology::Atomic {
            counts.push((count(left.clone(), left), 1));
        }
        if counts.iter().any(|(found, expected)| found != expected) {
            let name = definition.short_name();
            self.differences.push(format!("{name}.{} is {topology:?} here: {counts:?}", field.name));
        }
    }
}

/// An object that says its times, which typed objects cannot do without.
fn timed(inner: &Definition) -> Value {
    let times = inner
        .fields()
        .iter()
        .filter(|field| matches!(field.shape, Shape::Text(Format::Time | Format::MicroTime)));
    Value::Object(times.map(|field| (field.name.to_string(), "2026-01-01T00:00:00Z".into())).collect())
}

/// An item with values for its keys.
fn keyed(inner: &Definition, keys: &[&str], number: i64) -> Value {
    let value = |key: &&str| {
        let field = inner.field(key).unwrap();
        ((*key).to_owned(), plain(&field.shape, number).unwrap())
    };
    let mut item = timed(inner);
    if let Some(fields) = item.as_object_mut() {
        fields.extend(keys.iter().map(value));
    }
    item
}

fn plain(shape: &Shape, number: i64) -> Option<Value> {
    match shape {
        Shape::Text(Format::Plain) => Some(format!("x{number}").into()),
        Shape::Integer(_) => Some(number.into()),
        _ => None,
    }
}

fn nested(path: &[Step], inner: Value) -> Value {
    path.iter().rev().fold(inner, |inner, step| match step {
        Step::Field(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
        Step::Item(name, item) => {
            let mut item = item.clone();
            if let (Some(fields), Value::Object(inner)) = (item.as_object_mut(), inner) {
                fields.extend(inner);
            }
            Value::Object(Map::from_iter([(name.clone(), json!([item]))]))
        }
    })
}

fn at<'v>(whole: &'v Value, path: &[Step], field: &str) -> &'v Value {
    let inner = path.iter().fold(whole, |value, step| match step {
        Step::Field(name) => &value[name],
        Step::Item(name, _) => &value[name][0],
    });
    &inner[field]
}

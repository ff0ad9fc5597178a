//! The schemas as documents: from the typed kinds, in the form that OpenAPI publishes.

use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
    coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, resource, scheduling,
    storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use model::batch_quota::{BatchQuotaSpec, BatchQuotaStatus};
use model::binding_batch::{BindingBatchSpec, BindingBatchStatus};
use model::colocation_policy::ColocationPolicySpec;
use model::colocation_profile::ColocationProfileSpec;
use model::dagjob::{DagJobSpec, DagJobStatus};
use model::elastic_quota::{ElasticQuotaSpec, ElasticQuotaStatus};
use model::interference_rule::InterferenceRuleSpec;
use model::pod_explanation::PodExplanationStatus;
use model::pod_group::{PodGroupSpec, PodGroupStatus};
use model::preemption_batch::{PreemptionBatchSpec, PreemptionBatchStatus};
use model::rebalance_policy::{RebalancePolicySpec, RebalancePolicyStatus};
use model::reservation::{ReservationSpec, ReservationStatus};
use model::scheduling_policy::SchedulingPolicySpec;
use model::tide::{TideSpec, TideStatus};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// Where references point while the documents are not yet published.
const REFERENCE_PREFIX: &str = "#/components/schemas/";
/// The prefix of our own definitions.
const OWN_PREFIX: &str = "dev.crest.v1alpha1.";

/// All definitions by name.
///
/// This builds some megabytes of JSON: whoever needs it takes what it needs and lets go of the rest.
pub(crate) fn definitions() -> Map<String, Value> {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        settings.transforms = Vec::new();
    });
    let mut generator = settings.into_generator();
    add_all(&mut generator);
    let mut definitions = Map::new();
    for (name, schema) in generator.take_definitions(false) {
        definitions.insert(qualified(&name), plain(schema));
    }
    for (kind, description, parts) in OWN_KINDS {
        definitions.insert(format!("{OWN_PREFIX}{kind}"), own_kind(&definitions, kind, description, parts));
    }
    definitions
}

/// The name that a schema refers to, directly or by the `allOf` that makes room for a description.
pub(crate) fn reference(schema: &Map<String, Value>) -> Option<&str> {
    let direct = schema.get("$ref").or_else(|| schema.get("allOf")?.get(0)?.get("$ref"));
    direct?.as_str()?.strip_prefix(REFERENCE_PREFIX)
}

fn add_all(generator: &mut SchemaGenerator) {
    fn add<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) {
        let _reference = generator.subschema_for::<T>();
    }
    add::<core::v1::Binding>(generator);
    add::<core::v1::ComponentStatus>(generator);
    add::<core::v1::ConfigMap>(generator);
    add::<core::v1::Endpoints>(generator);
    add::<core::v1::Event>(generator);
    add::<core::v1::LimitRange>(generator);
    add::<core::v1::Namespace>(generator);
    add::<core::v1::Node>(generator);
    add::<core::v1::PersistentVolumeClaim>(generator);
    add::<core::v1::PersistentVolume>(generator);
    add::<core::v1::Pod>(generator);
    add::<core::v1::PodTemplate>(generator);
    add::<core::v1::ReplicationController>(generator);
    add::<core::v1::ResourceQuota>(generator);
    add::<core::v1::Secret>(generator);
    add::<core::v1::ServiceAccount>(generator);
    add::<core::v1::Service>(generator);
    add::<apiregistration::v1::APIService>(generator);
    add::<apps::v1::ControllerRevision>(generator);
    add::<apps::v1::DaemonSet>(generator);
    add::<apps::v1::Deployment>(generator);
    add::<apps::v1::ReplicaSet>(generator);
    add::<apps::v1::StatefulSet>(generator);
    add::<events::v1::Event>(generator);
    add::<authentication::v1::SelfSubjectReview>(generator);
    add::<authentication::v1::TokenReview>(generator);
    add::<authorization::v1::LocalSubjectAccessReview>(generator);
    add::<authorization::v1::SelfSubjectAccessReview>(generator);
    add::<authorization::v1::SelfSubjectRulesReview>(generator);
    add::<authorization::v1::SubjectAccessReview>(generator);
    add::<autoscaling::v2::HorizontalPodAutoscaler>(generator);
    add::<autoscaling::v1::HorizontalPodAutoscaler>(generator);
    add::<batch::v1::CronJob>(generator);
    add::<batch::v1::Job>(generator);
    add::<certificates::v1::CertificateSigningRequest>(generator);
    add::<networking::v1::IngressClass>(generator);
    add::<networking::v1::Ingress>(generator);
    add::<networking::v1::IPAddress>(generator);
    add::<networking::v1::NetworkPolicy>(generator);
    add::<networking::v1::ServiceCIDR>(generator);
    add::<policy::v1::PodDisruptionBudget>(generator);
    add::<rbac::v1::ClusterRoleBinding>(generator);
    add::<rbac::v1::ClusterRole>(generator);
    add::<rbac::v1::RoleBinding>(generator);
    add::<rbac::v1::Role>(generator);
    add::<storage::v1::CSIDriver>(generator);
    add::<storage::v1::CSINode>(generator);
    add::<storage::v1::CSIStorageCapacity>(generator);
    add::<storage::v1::StorageClass>(generator);
    add::<storage::v1::VolumeAttachment>(generator);
    add::<storage::v1::VolumeAttributesClass>(generator);
    add::<admissionregistration::v1::MutatingAdmissionPolicy>(generator);
    add::<admissionregistration::v1::MutatingAdmissionPolicyBinding>(generator);
    add::<admissionregistration::v1::MutatingWebhookConfiguration>(generator);
    add::<admissionregistration::v1::ValidatingAdmissionPolicy>(generator);
    add::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>(generator);
    add::<admissionregistration::v1::ValidatingWebhookConfiguration>(generator);
    add::<apiextensions::v1::CustomResourceDefinition>(generator);
    add::<scheduling::v1::PriorityClass>(generator);
    add::<coordination::v1::Lease>(generator);
    add::<node::v1::RuntimeClass>(generator);
    add::<discovery::v1::EndpointSlice>(generator);
    add::<resource::v1::DeviceClass>(generator);
    add::<resource::v1::ResourceClaim>(generator);
    add::<resource::v1::ResourceClaimTemplate>(generator);
    add::<resource::v1::ResourceSlice>(generator);
    add::<flowcontrol::v1::FlowSchema>(generator);
    add::<flowcontrol::v1::PriorityLevelConfiguration>(generator);
    add::<authentication::v1::TokenRequest>(generator);
    add::<autoscaling::v1::Scale>(generator);
    add::<policy::v1::Eviction>(generator);
    add::<meta::v1::APIResourceList>(generator);
    add::<meta::v1::DeleteOptions>(generator);
    add::<meta::v1::Patch>(generator);
    add::<meta::v1::Status>(generator);
    add_ours(generator);
}

/// The parts of our own kinds.
fn add_ours(generator: &mut SchemaGenerator) {
    let add = [
        SchemaGenerator::subschema_for::<BatchQuotaSpec>,
        SchemaGenerator::subschema_for::<BatchQuotaStatus>,
        SchemaGenerator::subschema_for::<BindingBatchSpec>,
        SchemaGenerator::subschema_for::<BindingBatchStatus>,
        SchemaGenerator::subschema_for::<DagJobSpec>,
        SchemaGenerator::subschema_for::<DagJobStatus>,
        SchemaGenerator::subschema_for::<ElasticQuotaSpec>,
        SchemaGenerator::subschema_for::<ElasticQuotaStatus>,
        SchemaGenerator::subschema_for::<ColocationPolicySpec>,
        SchemaGenerator::subschema_for::<ColocationProfileSpec>,
        SchemaGenerator::subschema_for::<InterferenceRuleSpec>,
        SchemaGenerator::subschema_for::<RebalancePolicySpec>,
        SchemaGenerator::subschema_for::<RebalancePolicyStatus>,
        SchemaGenerator::subschema_for::<SchedulingPolicySpec>,
        SchemaGenerator::subschema_for::<ReservationSpec>,
        SchemaGenerator::subschema_for::<ReservationStatus>,
        SchemaGenerator::subschema_for::<PodExplanationStatus>,
        SchemaGenerator::subschema_for::<PodGroupSpec>,
        SchemaGenerator::subschema_for::<PodGroupStatus>,
        SchemaGenerator::subschema_for::<PreemptionBatchSpec>,
        SchemaGenerator::subschema_for::<PreemptionBatchStatus>,
        SchemaGenerator::subschema_for::<TideSpec>,
        SchemaGenerator::subschema_for::<TideStatus>,
    ];
    for add in add {
        let _reference = add(generator);
    }
}

/// Our own types have no package in their names.
fn qualified(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("{OWN_PREFIX}{name}") }
}

/// A kind of ours: its name, what it is, and what its spec and status are.
type OwnKind = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const OWN_KINDS: &[OwnKind] = &[
    (
        "BatchQuota",
        "BatchQuota is what a group of batch jobs is sure to get, how far it may go, and its share of the rest.",
        &[
            ("spec", "Where it stands in the tree, how much, and for whom."),
            ("status", "What is in force and what is used of it."),
        ],
    ),
    (
        "BindingBatch",
        "BindingBatch gives many Pods of a namespace to their nodes by one request. It is answered and never stored.",
        &[("spec", "Which Pods go where."), ("status", "What became of them. Written by the server.")],
    ),
    (
        "DagJob",
        "DagJob is batch work as tasks of many short instances, with dependencies between tasks.",
        &[("spec", "What is to be run."), ("status", "How the job stands. Written by the server.")],
    ),
    (
        "ElasticQuota",
        "ElasticQuota is what the pods of some namespaces are sure to get together, and how far they may go beyond.",
        &[("spec", "For whom, how much, and how much at most."), ("status", "What is used of it.")],
    ),
    (
        "ColocationPolicy",
        "ColocationPolicy says how much of some nodes batch may have, and how it is taken back.",
        &[("spec", "Which nodes, and what is otherwise there.")],
    ),
    (
        "ColocationProfile",
        "ColocationProfile says of which class the Pods of some namespaces are, and what else they get.",
        &[("spec", "Whose Pods, and what they get when they are made.")],
    ),
    (
        "InterferenceRule",
        "InterferenceRule says how many pods of one kind may be beside each pod of another.",
        &[("spec", "Which pods, and how many.")],
    ),
    (
        "PreemptionBatch",
        "PreemptionBatch has Pods of a namespace go to make room for others. It is answered and never stored.",
        &[("spec", "Who is to go, and why."), ("status", "What became of them. Written by the server.")],
    ),
    (
        "RebalancePolicy",
        "RebalancePolicy says what the optimiser may move on its own, to what end, and how much of it.",
        &[("spec", "What may be moved, and what for."), ("status", "What was planned, moved and refused.")],
    ),
    (
        "Reservation",
        "Reservation is room on a node that is held for pods to come.",
        &[("spec", "How much, for whom, and how long."), ("status", "How it stands.")],
    ),
    (
        "SchedulingPolicy",
        "SchedulingPolicy says what counts how much when several nodes can take a pod.",
        &[("spec", "For which pods, and what counts.")],
    ),
    (
        "Tide",
        "Tide takes hosts, or a share of each, from batch to services for some hours, and back on time.",
        &[
            ("spec", "Which hosts, how many, and when."),
            ("status", "Which hosts it has, and how far they are."),
        ],
    ),
    (
        "PodExplanation",
        "PodExplanation says why the Pod of its name is where it is, or why it waits. It is worked out when it is asked for.",
        &[("status", "What is to be said.")],
    ),
    (
        "PodGroup",
        "PodGroup is a gang: pods that are of use only together, and so are placed together or not at all.",
        &[("spec", "How many must be placed together."), ("status", "How the group stands.")],
    ),
];

fn own_kind(
    definitions: &Map<String, Value>,
    kind: &str,
    description: &str,
    parts: &[(&str, &str)],
) -> Value {
    let of_pod = |field: &str| definitions["io.k8s.api.core.v1.Pod"]["properties"][field].clone();
    let mut properties = Map::new();
    for field in ["apiVersion", "kind", "metadata"] {
        properties.insert(field.to_owned(), of_pod(field));
    }
    for (field, description) in parts {
        let schema = format!("{REFERENCE_PREFIX}{OWN_PREFIX}{kind}{}", capitalised(field));
        let part = json!({"allOf": [{"$ref": schema}], "description": description});
        properties.insert((*field).to_owned(), part);
    }
    let mut definition = json!({"description": description, "type": "object", "properties": properties});
    if parts.iter().any(|(field, _)| *field == "spec") {
        definition["required"] = json!(["spec"]);
    }
    definition
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A schema in OpenAPI's words: no `null` types, no bare `$ref` beside a description, our names qualified.
fn plain(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => plain_object(fields),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

fn plain_object(fields: Map<String, Value>) -> Value {
    let mut result = Map::new();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("type", Value::Array(types)) => {
                let named = types.into_iter().find(|name| name != "null");
                result.insert(key, named.unwrap_or_else(|| "object".into()));
            }
            ("anyOf", Value::Array(options)) => {
                // Only optional references look like this: a reference or null.
                let references = options.into_iter().filter(|option| option.get("$ref").is_some());
                result.insert("allOf".into(), references.map(plain).collect());
            }
            ("$ref", Value::String(target)) => {
                let name = target.strip_prefix(REFERENCE_PREFIX).unwrap_or(&target);
                result.insert(key, format!("{REFERENCE_PREFIX}{}", qualified(name)).into());
            }
            // Words of schemas; fields of objects may have the same names.
            ("minimum" | "$schema" | "title", value) if !value.is_object() => {}
            (_, value) => {
                result.insert(key, plain(value));
            }
        }
    }
    // In JSON references the siblings of `$ref` do not count.
    if result.len() > 1
        && let Some(reference) = result.remove("$ref")
    {
        result.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    Value::Object(result)
}

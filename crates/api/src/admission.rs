//! Admission: what the cluster's state says about a write, after it was understood.
//!
//! ```text
//!   object ──► mutate ──► allocate ──► validation of the kind ──► validate ──► store ──► keep
//!              each plugin in turn                                each in turn
//! ```
//! The plugins stand in [`CHAIN`], in the order in which Kubernetes runs them. What they decide without looking at
//! the cluster is in `kinds`; here is where they look.

pub(crate) mod addresses;
mod batch;
mod classes;
mod colocation;
pub(crate) mod dynamic;
mod limit_ranger;
mod namespace;
mod pod_security;
mod priority;
pub(crate) mod quota;
pub(crate) mod rounds;
mod service_account;
mod storage;
mod tolerations;

use std::sync::Arc;

use async_trait::async_trait;
use kinds::Kind;
use kinds::status::Failure;
use serde_json::{Value, json};

pub(crate) use kinds::admission::Operation;

use crate::call::Call;
use crate::context::Context;
use crate::deletion::DeleteOptions;
use crate::lister::Lister;
use crate::object;
use crate::request::{ObjectPath, Verb};
use addresses::Claim;
use rounds::Rounds;

/// One write on its way through the chain.
#[derive(Debug)]
pub(crate) struct Review<'a> {
    pub(crate) call: &'a Call,
    pub(crate) context: &'a Context,
    pub(crate) kind: &'a Kind,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) operation: Operation,
    pub(crate) namespace: &'a str,
    /// The name in the path; a create's is in the object.
    path_name: &'a str,
    pub(crate) dry_run: bool,
    /// As it is to be; null for deletions.
    pub(crate) object: Value,
    /// As it is; null for creates.
    pub(crate) old: Value,
    /// The options of the request, as an object.
    pub(crate) options: Value,
    /// For the client.
    pub(crate) warnings: Vec<String>,
    claims: Vec<Claim>,
    phase: Phase,
    webhook_rounds: Rounds,
    policy_rounds: Rounds,
}

/// Where a write is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Mutating,
    Validating,
}

impl<'a> Review<'a> {
    /// A review without objects.
    pub(crate) fn new(call: &'a Call, operation: Operation, dry_run: bool) -> Self {
        Self {
            call,
            context: &call.context,
            kind: &call.path.kind,
            subresource: call.path.subresource.as_deref(),
            operation,
            namespace: call.namespace(),
            path_name: call.path.name(),
            dry_run,
            object: Value::Null,
            old: Value::Null,
            options: options(call, operation, dry_run),
            warnings: Vec::new(),
            claims: Vec::new(),
            phase: Phase::Mutating,
            webhook_rounds: Rounds::default(),
            policy_rounds: Rounds::default(),
        }
    }

    /// A connection: `options` says what is to be connected.
    pub(crate) fn of_connect(call: &'a Call, options: Value) -> Self {
        Self { object: options, options: Value::Null, ..Self::new(call, Operation::Connect, false) }
    }

    /// A new object.
    pub(crate) fn of_create(call: &'a Call, object: Value, dry_run: bool) -> Self {
        Self { object, ..Self::new(call, Operation::Create, dry_run) }
    }

    /// A new object elsewhere than the request says.
    pub(crate) fn of_create_at(call: &'a Call, path: &'a ObjectPath, object: Value, dry_run: bool) -> Self {
        let (kind, subresource) = (&path.kind, path.subresource.as_deref());
        Self { kind, subresource, path_name: path.name(), ..Self::of_create(call, object, dry_run) }
    }

    /// The next state of `old`.
    pub(crate) fn of_update(call: &'a Call, object: Value, old: Value, dry_run: bool) -> Self {
        Self { object, old, ..Self::new(call, Operation::Update, dry_run) }
    }

    /// The end of `old`.
    pub(crate) fn of_delete(
        call: &'a Call,
        path: &'a ObjectPath,
        old: Value,
        options: &DeleteOptions,
    ) -> Self {
        let review = Self::new(call, Operation::Delete, options.dry_run);
        let namespace = path.namespace.as_deref().unwrap_or_default();
        let options = options.to_value();
        Self {
            old,
            options,
            kind: &path.kind,
            namespace,
            path_name: path.name(),
            subresource: None,
            ..review
        }
    }

    pub(crate) fn name(&self) -> &str {
        if self.path_name.is_empty() { object::name(self.object_or_old()) } else { self.path_name }
    }

    /// Whether the object may still be changed.
    fn is_mutating(&self) -> bool {
        self.phase == Phase::Mutating
    }

    /// What the write is about: the new state, or what is deleted.
    pub(crate) fn object_or_old(&self) -> &Value {
        if self.object.is_null() { &self.old } else { &self.object }
    }

    /// Whether this is about objects of `group` and `plural` themselves, not about a part of them.
    pub(crate) fn is_about(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_none() && self.kind.group == group && self.kind.plural == plural
    }

    /// 403: `why` follows the name of the object.
    pub(crate) fn forbid(&self, why: &str) -> Failure {
        Failure::forbidden(self.kind, self.name(), why)
    }

    /// All objects of a built-in kind, from memory.
    pub(crate) async fn lister(&self, group: &str, plural: &str) -> Result<Option<Arc<Lister>>, Failure> {
        self.context.registry.lister(group, plural).await
    }

    /// The namespace that it is about, as the cluster knows it.
    pub(crate) async fn own_namespace(&self) -> Result<Option<Arc<Value>>, Failure> {
        let namespaces = self.lister("", "namespaces").await?;
        Ok(namespaces.and_then(|namespaces| namespaces.get("", self.namespace)))
    }

    /// Holds `claim` until the object is stored.
    pub(crate) fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// The object is stored: what was claimed for it stays its own. Answers the warnings.
    pub(crate) fn keep(self) -> Vec<String> {
        if !self.dry_run {
            self.claims.into_iter().for_each(Claim::keep);
        }
        self.warnings
    }
}

/// One rule, or family of rules.
#[async_trait]
pub(crate) trait Plugin: Send + Sync {
    /// Completes the object, or refuses it.
    async fn mutate(&self, _review: &mut Review<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Refuses the object, or lets it pass as it is.
    async fn validate(&self, _review: &mut Review<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// In the order of Kubernetes, where a later plugin sees what an earlier one made of the object.
static CHAIN: &[&dyn Plugin] = &[
    &namespace::Lifecycle,
    &limit_ranger::LimitRanger,
    &service_account::ServiceAccount,
    &pod_security::PodSecurity,
    &colocation::Classes,
    &priority::Priority,
    &batch::BatchPods,
    &tolerations::DefaultTolerations,
    &storage::DefaultClass,
    &storage::InUseProtection,
    &storage::ClaimResize,
    &classes::RuntimeClass,
    &classes::DefaultIngressClass,
    &dynamic::MutatingPolicies,
    &dynamic::Mutating,
    &dynamic::ValidatingPolicies,
    &dynamic::Validating,
    &quota::ResourceQuota,
];

/// Lets every plugin complete the object, and once more where a webhook or a policy changed what others had seen.
pub(crate) async fn mutate(review: &mut Review<'_>) -> Result<(), Failure> {
    review.phase = Phase::Mutating;
    for plugin in CHAIN {
        plugin.mutate(review).await?;
    }
    if review.webhook_rounds.wants_another() || review.policy_rounds.wants_another() {
        review.webhook_rounds.next_round();
        review.policy_rounds.next_round();
        for plugin in CHAIN {
            plugin.mutate(review).await?;
        }
    }
    Ok(())
}

/// Asks everybody about something that is not stored: a connection, or an action on an object.
pub(crate) async fn admit(mut review: Review<'_>) -> Result<Review<'_>, Failure> {
    mutate(&mut review).await?;
    validate(&mut review).await?;
    Ok(review)
}

/// The options of a request as the object that a client could have sent.
fn options(call: &Call, operation: Operation, dry_run: bool) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update if call.verb == Verb::Patch => "PatchOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete | Operation::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if kind == "PatchOptions" && call.query.flag("force") {
        options["force"] = true.into();
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.query.get(field).filter(|value| !value.is_empty()) {
            options[field] = value.into();
        }
    }
    options
}

/// Gives the object what only one can have, unless it is not stored in the end.
pub(crate) async fn allocate(review: &mut Review<'_>) -> Result<(), Failure> {
    addresses::allocate(review).await
}

/// Asks every plugin whether the object, which is as it is to be stored, may pass.
pub(crate) async fn validate(review: &mut Review<'_>) -> Result<(), Failure> {
    review.phase = Phase::Validating;
    for plugin in CHAIN {
        plugin.validate(review).await?;
    }
    Ok(())
}

/// Takes back what a deleted object held.
pub(crate) fn deleted(context: &Context, kind: &Kind, object: &Value) {
    if kind.table_name() == "Service" {
        context.addresses.release(object);
    }
}

//! The Pod Security Standards, as the labels of each namespace ask for them.
//!
//! ```text
//!   Pod            enforce ─► refused     warn ─► told
//!   its template                          warn ─► told     (a workload's Pods are refused one by one, later)
//!   Namespace      its labels ─► understood?     a stricter level ─► told of the Pods that are there already
//! ```

use async_trait::async_trait;
use kinds::Kind;
use kinds::security::{self, Level, Policy, Standard};
use kinds::status::Failure;
use serde_json::Value;

use super::{Operation, Plugin, Review};
use crate::object;

pub(super) struct PodSecurity;

/// More Pods than this are not looked at when a namespace becomes stricter: the answer is a courtesy.
const MAX_LOOKED_AT: usize = 3000;
/// Subresources through which nothing of a Pod changes that the standards speak of.
const HARMLESS: [&str; 9] =
    ["attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status", "resize"];

#[async_trait]
impl Plugin for PodSecurity {
    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if !matches!(review.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        if review.is_about("", "namespaces") {
            return namespace(review).await;
        }
        let is_harmless = review.subresource.is_some_and(|name| HARMLESS.contains(&name));
        let Some((metadata, spec)) = template(review.kind, &review.object).filter(|_| !is_harmless) else {
            return Ok(());
        };
        if is_unchanged(review, spec) {
            return Ok(());
        }
        let Some(namespace) = review.own_namespace().await? else { return Ok(()) };
        let policy = Policy::of_labels(&namespace["metadata"]["labels"]);
        let said = |standard| said(standard, metadata, spec);
        if review.kind.plural == "pods"
            && let Some(said) = said(policy.enforce)
        {
            return Err(review.forbid(&format!("violates PodSecurity {said}")));
        }
        if let Some(said) = said(policy.warn) {
            review.warnings.push(format!("would violate PodSecurity {said}"));
        }
        Ok(())
    }
}

/// `"baseline:latest": host namespaces (hostPID=true), ...`; `None` if nothing is against the standard.
fn said(standard: Standard, metadata: &Value, spec: &Value) -> Option<String> {
    let violations = security::violations(standard, metadata, spec);
    (!violations.is_empty()).then(|| format!("\"{standard}\": {}", violations.join(", ")))
}

/// The metadata and the spec of the Pods that an object is, or makes.
fn template<'a>(kind: &Kind, object: &'a Value) -> Option<(&'a Value, &'a Value)> {
    let template = match (kind.group, kind.plural) {
        ("", "pods") => object,
        ("", "podtemplates") => &object["template"],
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => &object["spec"]["template"],
        ("batch", "cronjobs") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template["spec"].is_object().then(|| (&template["metadata"], &template["spec"]))
}

/// A Pod that is there already is not asked again for what did not change, so that it can be ended and labelled.
fn is_unchanged(review: &Review<'_>, spec: &Value) -> bool {
    review.operation == Operation::Update
        && template(review.kind, &review.old).is_some_and(|(_, old)| {
            ["containers", "initContainers", "ephemeralContainers", "securityContext", "volumes"]
                .iter()
                .all(|field| old[*field] == spec[*field])
        })
}

async fn namespace(review: &mut Review<'_>) -> Result<(), Failure> {
    let labels = &review.object["metadata"]["labels"];
    let faults = security::label_faults(labels);
    let known = security::label_faults(&review.old["metadata"]["labels"]);
    if faults.iter().any(|fault| !known.contains(fault)) {
        return Err(Failure::invalid(review.kind, review.name(), faults));
    }
    let (new, old) = (Policy::of_labels(labels), Policy::of_labels(&review.old["metadata"]["labels"]));
    if review.operation == Operation::Create
        || new.enforce == old.enforce
        || new.enforce.level == Level::Privileged
    {
        return Ok(());
    }
    let Some(pods) = kinds::find("", "v1", "pods") else { return Ok(()) };
    let prefix = format!("{}{}/", pods.storage_prefix(), review.name());
    let range = store::Range { prefix, limit: Some(MAX_LOOKED_AT), ..store::Range::default() };
    let page = review.context.registry.range(range).await?;
    let mut bad = Vec::new();
    for entry in &page.entries {
        let pod = crate::record::decode(pods, entry)?;
        let violations = security::violations(new.enforce, &pod["metadata"], &pod["spec"]);
        if !violations.is_empty() {
            bad.push(format!("{}: {}", object::name(&pod), violations.join(", ")));
        }
    }
    if !bad.is_empty() {
        let (name, enforce) = (review.name(), new.enforce);
        let first = format!(
            "existing pods in namespace \"{name}\" violate the new PodSecurity enforce level \"{enforce}\""
        );
        review.warnings.push(first);
        review.warnings.extend(bad);
    }
    Ok(())
}

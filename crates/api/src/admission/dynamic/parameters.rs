//! The parameters of a policy: objects of the kind that it names, chosen by its binding.

use std::sync::Arc;

use kinds::Kind;
use kinds::admission::policy::Policy;
use kinds::status::Failure;
use serde_json::Value;
use store::Range;

use super::compiled::{Binding, ParameterRef};
use crate::admission::Review;
use crate::lister::Lister;
use crate::record;
use crate::registry::Registry;

/// What a binding chooses.
pub(super) enum Parameters {
    /// The policy takes none, or the binding gives none.
    None,
    Found(Vec<Arc<Value>>),
    /// There should be some, but there are not.
    Missing(String),
}

pub(super) async fn of(
    review: &Review<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Parameters, Failure> {
    let (Some((api_version, kind_name)), Some(wanted)) = (&policy.parameters, &binding.parameters) else {
        return Ok(Parameters::None);
    };
    let served = review.context.served().await?;
    let Some(kind) = served.find_named(api_version, kind_name).filter(|kind| kind.is_stored()) else {
        let why =
            format!("failed to find resource referenced by paramKind: '{api_version}, Kind={kind_name}'");
        return Ok(Parameters::Missing(why));
    };
    let namespace = match (kind.is_namespaced(), wanted.namespace.as_str()) {
        (true, "") if !review.kind.is_namespaced() => {
            let why =
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Ok(Parameters::Missing(why.to_owned()));
        }
        (true, "") => review.namespace,
        (true, namespace) => namespace,
        (false, "") => "",
        (false, _) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Ok(Parameters::Missing(why.to_owned()));
        }
    };
    let registry = &review.context.registry;
    let found = match kinds::kind::find_api_version(api_version, kind_name) {
        Some(kind) => choose(registry.lister_of(kind).await?.as_ref(), namespace, wanted),
        None => stored(registry, &kind, namespace, wanted).await?,
    };
    Ok(match found.is_empty() {
        false => Parameters::Found(found),
        true if wanted.must_exist => Parameters::Missing(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        ),
        true => Parameters::Found(found),
    })
}

/// Of a kind that a user defined, read where it stands: it may be defined anew at any time, which no cache follows.
async fn stored(
    registry: &Registry,
    kind: &Kind,
    namespace: &str,
    wanted: &ParameterRef,
) -> Result<Vec<Arc<Value>>, Failure> {
    let Some(selector) = &wanted.selector else {
        let found = registry.find(kind, namespace, &wanted.name).await?;
        return Ok(found.into_iter().map(Arc::new).collect());
    };
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let prefix = format!("{}{place}", kind.storage_prefix());
    let page = registry.range(Range { prefix, ..Range::default() }).await?;
    let mut found = Vec::new();
    for entry in registry.served(kind, page.entries).await? {
        let object = record::decode(kind, &entry)?;
        if selector.match_labels(&object["metadata"]["labels"]) {
            found.push(Arc::new(object));
        }
    }
    Ok(found)
}

fn choose(lister: &Lister, namespace: &str, wanted: &ParameterRef) -> Vec<Arc<Value>> {
    let Some(selector) = &wanted.selector else {
        return lister.get(namespace, &wanted.name).into_iter().collect();
    };
    let all = if namespace.is_empty() { lister.all() } else { lister.in_namespace(namespace) };
    all.into_iter().filter(|object| selector.match_labels(&object["metadata"]["labels"])).collect()
}

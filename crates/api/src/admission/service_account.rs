//! A Pod runs as a service account, which must be there; it gets the account's token, the cluster's root certificate
//! and its namespace's name as one projected volume.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use kinds::status::Failure;
use serde_json::{Value, json};

use super::{Operation, Plugin, Review};
use crate::context::random_suffix;
use crate::lister::Lister;
use crate::object;

/// Where containers expect what they need to speak to the API.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and a little, which tells those tokens that were mounted here from those that were asked for.
const TOKEN_SECONDS: i64 = 3607;
const DEFAULT: &str = "default";
/// The default account of a new namespace is made by a controller, which may need a moment.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a Pod that only shows what a node runs on its own account.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What every Pod finds there, whoever it is.
static PROJECTED: LazyLock<Value> = LazyLock::new(|| {
    json!({"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]})
});

pub(super) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_new = review.operation == Operation::Create && review.is_about("", "pods");
        if !is_new || is_mirror(&review.object) {
            return Ok(());
        }
        let spec = object::entry_object(&mut review.object, "spec");
        let text = |field: &str| spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name =
            text("serviceAccountName").or_else(|| text("serviceAccount")).unwrap_or(DEFAULT).to_owned();
        // The old name of the field is kept in step, as clients of either kind read it.
        spec.insert("serviceAccountName".into(), name.clone().into());
        spec.insert("serviceAccount".into(), name.clone().into());
        let account = account(review, &name).await?;
        if automounts(&account, &review.object) {
            let volume = format!("{VOLUME_PREFIX}{}", random_suffix());
            mount_token(&mut review.object, &volume);
        }
        let has_secrets =
            review.object["spec"]["imagePullSecrets"].as_array().is_some_and(|secrets| !secrets.is_empty());
        if !has_secrets && let Some(secrets) = account.get("imagePullSecrets") {
            object::entry_object(&mut review.object, "spec")
                .insert("imagePullSecrets".into(), secrets.clone());
        }
        Ok(())
    }

    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_new = review.operation == Operation::Create && review.is_about("", "pods");
        if !is_new || !is_mirror(&review.object) {
            return Ok(());
        }
        let spec = &review.object["spec"];
        if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
            return Err(review.forbid("a mirror pod may not reference service accounts"));
        }
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        let is_token = |source: &Value| !source["serviceAccountToken"].is_null();
        let projections =
            |volume: &Value| volume["projected"]["sources"].as_array().cloned().unwrap_or_default();
        if volumes.clone().any(|volume| !volume["secret"].is_null()) {
            return Err(review.forbid("a mirror pod may not reference secrets"));
        }
        if volumes.clone().any(|volume| projections(volume).iter().any(is_token)) {
            return Err(review.forbid("a mirror pod may not use ServiceAccountToken volume projections"));
        }
        Ok(())
    }
}

fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

async fn account(review: &Review<'_>, name: &str) -> Result<Arc<Value>, Failure> {
    let namespace = review.namespace;
    let missing = || {
        review.forbid(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        ))
    };
    let accounts = review.lister("", "serviceaccounts").await?.ok_or_else(missing)?;
    let find = |accounts: &Lister| accounts.get(namespace, name);
    let found = match find(&accounts) {
        None if name == DEFAULT => accounts.wait_for(PATIENCE, find).await,
        found => found,
    };
    if found.is_some() {
        return found.ok_or_else(missing);
    }
    // Memory may be behind the store: only the store knows that there is none.
    let Some(kind) = kinds::find("", "v1", "serviceaccounts") else { return Err(missing()) };
    let stored = review.context.registry.find(kind, namespace, name).await?;
    stored.map(Arc::new).ok_or_else(missing)
}

/// The Pod's own word counts before the account's.
fn automounts(account: &Value, pod: &Value) -> bool {
    let own = pod["spec"]["automountServiceAccountToken"].as_bool();
    own.or_else(|| account["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

/// Mounts the token into every container that has nothing of its own at that place.
fn mount_token(pod: &mut Value, volume: &str) {
    let mut is_needed = false;
    for field in ["initContainers", "containers"] {
        for container in object::items_mut(pod, field) {
            is_needed |= mount(container, volume);
        }
    }
    if !is_needed {
        return;
    }
    let source = json!({"name": volume, "projected": PROJECTED.clone()});
    push(object::entry_object(pod, "spec").entry("volumes").or_insert_with(|| json!([])), source);
}

fn mount(container: &mut Value, volume: &str) -> bool {
    let Some(container) = container.as_object_mut() else { return false };
    let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
    let is_taken = mounts.as_array().into_iter().flatten().any(|mount| mount["mountPath"] == MOUNT_PATH);
    if !is_taken {
        push(mounts, json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
    }
    !is_taken
}

/// Appends to a list; what is no list, validation refuses.
fn push(list: &mut Value, item: Value) {
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

//! Calls to the API as controllers make them, with errors that say what was attempted on what.

use std::error::Error;
use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::key::ObjectKey;

/// The API refused an action, or could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {kind} `{key}`")]
pub struct ActError {
    pub verb: &'static str,
    pub kind: String,
    pub key: ObjectKey,
    pub source: Cause,
}

/// Why an action failed, in as many words as a person needs.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The server's own words, without the client's rendering of the whole answer around them.
    #[error("{} ({})", .0.message, .0.reason)]
    Refused(Box<kube::core::Status>),
    #[error("the API cannot be reached")]
    Client(#[source] Box<kube::Error>),
}

impl From<kube::Error> for Cause {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Client(Box::new(other)),
        }
    }
}

impl ActError {
    /// The HTTP status of the refusal.
    pub fn code(&self) -> Option<u16> {
        match &self.source {
            Cause::Refused(status) => Some(status.code),
            Cause::Client(_) => None,
        }
    }

    /// Whether it was refused because the namespace is on its way out, and the object with it.
    fn is_for_a_dying_namespace(&self) -> bool {
        let Cause::Refused(status) = &self.source else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

/// Whether `error` or a cause of it is nobody's fault: an update that met a newer version, or an object for a
/// namespace that is being emptied.
pub fn is_passing(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let act = error.downcast_ref::<ActError>();
        if act.is_some_and(|error| error.code() == Some(409) || error.is_for_a_dying_namespace()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// In whose name controllers own fields: the name that Kubernetes' own have, which tools look for.
pub const MANAGER: &str = "kube-controller-manager";

/// Writes as a controller.
pub fn post() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Patches as a controller.
pub fn patch() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// A kind of a namespace that controllers act on.
pub trait Acted:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Acted for K where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// The actions of one component.
#[derive(Clone)]
pub struct Act {
    client: Client,
}

impl Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Act").finish_non_exhaustive()
    }
}

impl Act {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    fn api<K: Acted>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The object as the server has it now, for where the copy in memory may be too old.
    pub async fn get<K: Acted>(&self, key: &ObjectKey) -> Result<Option<K>, ActError> {
        self.api::<K>(&key.namespace).get_opt(&key.name).await.map_err(failed::<K>("get", key))
    }

    /// Whether `owner` may take objects in. Asked of the server: the copy in memory may not know yet that the owner
    /// goes, and what it takes in then would go with it.
    pub async fn may_adopt<K: Acted>(&self, owner: &K) -> Result<bool, ActError> {
        let living = self.get::<K>(&ObjectKey::of(owner)).await?;
        Ok(living.is_some_and(|living| {
            living.meta().uid == owner.meta().uid && living.meta().deletion_timestamp.is_none()
        }))
    }

    /// Creates `object`; its name may be left to the server by `generateName`.
    pub async fn create<K: Acted>(&self, object: &K) -> Result<K, ActError> {
        let namespace = object.namespace().unwrap_or_default();
        let api = self.api::<K>(&namespace);
        let name = object.meta().name.clone().or_else(|| object.meta().generate_name.clone());
        let key = ObjectKey { namespace, name: name.unwrap_or_default() };
        api.create(&post(), object).await.map_err(failed::<K>("create", &key))
    }

    /// Merges `patch` into the object.
    pub async fn patch<K: Acted>(&self, key: &ObjectKey, patch: &serde_json::Value) -> Result<K, ActError> {
        let api = self.api::<K>(&key.namespace);
        let patched = api.patch(&key.name, &self::patch(), &Patch::Merge(patch)).await;
        patched.map_err(failed::<K>("patch", key))
    }

    /// As [`Act::patch`], by the rules of the kind's lists, and without reading what comes of it.
    pub async fn merge<K: Acted>(&self, key: &ObjectKey, patch: &serde_json::Value) -> Result<(), ActError> {
        let request = requests::<K>(key).patch(&key.name, &self::patch(), &Patch::Strategic(patch));
        send(&self.client, request).await.map_err(failed::<K>("patch", key))
    }

    /// Replaces the object, if nobody changed it meanwhile.
    pub async fn replace<K: Acted>(&self, object: &K) -> Result<K, ActError> {
        let key = ObjectKey::of(object);
        let api = self.api::<K>(&key.namespace);
        let replaced = api.replace(&key.name, &post(), object).await;
        replaced.map_err(failed::<K>("update", &key))
    }

    /// Replaces the status by that of `object`, if nobody changed the object meanwhile. Nobody reads the status of an
    /// object that is gone.
    pub async fn update_status<K: Acted>(&self, object: &K) -> Result<(), ActError> {
        let key = ObjectKey::of(object);
        let replaced = async {
            let object = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
            let request = requests::<K>(&key).replace_subresource("status", &key.name, &post(), object);
            send(&self.client, request).await
        };
        unless_gone(replaced.await.map_err(failed::<K>("update the status of", &key)))
    }

    /// As [`Act::update_status`], and tells what the object is now; `None` if it is gone.
    pub async fn write_status<K: Acted>(&self, object: &K) -> Result<Option<K>, ActError> {
        let key = ObjectKey::of(object);
        let api = self.api::<K>(&key.namespace);
        let written = api.replace_status(&key.name, &post(), object).await;
        match written.map_err(failed::<K>("update the status of", &key)) {
            Err(error) if error.code() == Some(404) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Merges `patch` into the status, as a strategic merge patch sent as `how` says. Nobody reads the status of an
    /// object that is gone.
    pub async fn patch_status<K: Acted>(
        &self,
        key: &ObjectKey,
        patch: &serde_json::Value,
        how: &PatchParams,
    ) -> Result<(), ActError> {
        let request =
            requests::<K>(key).patch_subresource("status", &key.name, how, &Patch::Strategic(patch));
        unless_gone(send(&self.client, request).await.map_err(failed::<K>("patch the status of", key)))
    }

    /// Deletes the object; one that is gone already is a success.
    pub async fn delete<K: Acted>(&self, key: &ObjectKey, how: &DeleteParams) -> Result<(), ActError> {
        let request = requests::<K>(key).delete(&key.name, how);
        unless_gone(send(&self.client, request).await.map_err(failed::<K>("delete", key)))
    }
}

/// Requests about the kind's objects in the key's namespace.
pub(crate) fn requests<K: Acted>(key: &ObjectKey) -> Request {
    Request::new(K::url_path(&(), Some(&key.namespace)))
}

/// Sends a request whose answer nobody reads: no object is made of it.
pub(crate) async fn send(
    client: &Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> kube::Result<()> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request::<IgnoredAny>(request).await.map(drop)
}

/// Wraps what the client says about an action on `key`.
pub fn failed<K: Resource<DynamicType = ()>>(
    verb: &'static str,
    key: &ObjectKey,
) -> impl FnOnce(kube::Error) -> ActError {
    let (kind, key) = (K::kind(&()).into_owned(), key.clone());
    move |source| ActError { verb, kind, key, source: source.into() }
}

/// Takes "not found" as done.
pub fn unless_gone(result: Result<(), ActError>) -> Result<(), ActError> {
    match result {
        Err(error) if error.code() == Some(404) => Ok(()),
        other => other,
    }
}

/// Deletes exactly the object with this uid, so that a namesake made meanwhile stays.
pub fn only(uid: Option<&str>) -> DeleteParams {
    let preconditions =
        uid.map(|uid| kube::api::Preconditions { uid: Some(uid.to_owned()), ..Default::default() });
    DeleteParams { preconditions, ..DeleteParams::background() }
}

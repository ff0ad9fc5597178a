//! The ConfigMaps, Secrets and Services that a Pod refers to, fetched before they are needed. Its tokens are kept apart,
//! in a purse, because they are asked for and not read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service, Volume,
};
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::tokens::{Tokens, Wanted};

/// What a Pod refers to by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub claims: BTreeSet<String>,
    pub services: bool,
    pub tokens: BTreeSet<Wanted>,
}

/// What stands behind the names. What does not exist is absent.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
    /// The volumes that are bound to claims, by claim.
    pub volumes: BTreeMap<String, PersistentVolume>,
    pub services: Vec<Service>,
    /// Those of the Pod's service account.
    pub tokens: Tokens,
}

/// The API server could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} of namespace `{namespace}`")]
pub struct FetchError {
    what: String,
    namespace: String,
    source: Box<kube::Error>,
}

impl References {
    /// What the volumes of `pod` refer to.
    pub fn of_volumes(pod: &Pod) -> Self {
        let mut references = Self::default();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            references.add_volume(volume);
            references.claims.extend(claim_name(pod, volume));
        }
        references
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        self.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        let projections = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for projection in projections {
            self.config_maps.extend(projection.config_map.iter().map(|source| source.name.clone()));
            self.secrets.extend(projection.secret.iter().map(|source| source.name.clone()));
            self.tokens.extend(projection.service_account_token.iter().map(Wanted::of));
        }
    }

    /// What the environment of `container` refers to; services only if `links` asks for them.
    pub fn of_environment(container: &Container, links: bool) -> Self {
        let mut references = Self { services: links, ..Self::default() };
        for source in container.env_from.iter().flatten() {
            references.config_maps.extend(source.config_map_ref.iter().map(|source| source.name.clone()));
            references.secrets.extend(source.secret_ref.iter().map(|source| source.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            references.config_maps.extend(source.config_map_key_ref.iter().map(|key| key.name.clone()));
            references.secrets.extend(source.secret_key_ref.iter().map(|key| key.name.clone()));
        }
        references
    }

    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty() && self.tokens.is_empty()
    }
}

/// The claim behind a volume; one for an ephemeral volume has the Pod's name in its own.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref()?, volume.name)),
        (None, None) => None,
    }
}

/// So many Pods fetch at once: Pods that began together refresh their volumes together, and each would open a connection of
/// its own, which costs more than what is asked.
static FETCHING: Semaphore = Semaphore::const_new(4);

/// Fetches what `references` names in `namespace`.
pub async fn fetch(client: &Client, namespace: &str, references: References) -> Result<Sources, FetchError> {
    let failed = |what: String| {
        move |source| FetchError { what, namespace: namespace.to_owned(), source: Box::new(source) }
    };
    // It is never closed.
    let _turn = FETCHING.acquire().await;
    let mut sources = Sources::default();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for name in references.config_maps {
        let found = config_maps.get_opt(&name).await.map_err(failed(format!("ConfigMap `{name}`")))?;
        sources.config_maps.extend(found.map(|found| (name, found)));
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for name in references.secrets {
        let found = secrets.get_opt(&name).await.map_err(failed(format!("Secret `{name}`")))?;
        sources.secrets.extend(found.map(|found| (name, found)));
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    for name in references.claims {
        let claim = claims.get_opt(&name).await.map_err(failed(format!("PersistentVolumeClaim `{name}`")))?;
        let bound = claim.and_then(|claim| claim.spec?.volume_name).filter(|volume| !volume.is_empty());
        let Some(volume) = bound else { continue };
        let found = volumes.get_opt(&volume).await.map_err(failed(format!("PersistentVolume `{volume}`")))?;
        sources.volumes.extend(found.map(|found| (name, found)));
    }
    if references.services {
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let list =
            services.list(&kube::api::ListParams::default()).await.map_err(failed("Services".to_owned()))?;
        sources.services = list.items;
    }
    Ok(sources)
}

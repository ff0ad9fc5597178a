//! What stands in the volumes that are made of objects: ConfigMaps, Secrets, tokens, fields of the Pod. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::VolumeError;
use crate::env::{self, EnvError, Scope};
use crate::tokens::Wanted;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
}

/// The files of a volume by their path in it.
pub type Files = BTreeMap<String, File>;

const DEFAULT_MODE: i32 = 0o644;

/// The files of `volume`; `None` if it is not made of objects.
pub(super) fn of(volume: &Volume, scope: &Scope<'_>) -> Result<Option<Files>, VolumeError> {
    let mut maker = Maker { volume: &volume.name, scope, mode: DEFAULT_MODE, files: Files::new() };
    if let Some(source) = &volume.config_map {
        maker.mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        maker.config_map(&source.name, source.items.as_deref(), source.optional)?;
    } else if let Some(source) = &volume.secret {
        maker.mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        maker.secret(name, source.items.as_deref(), source.optional)?;
    } else if let Some(source) = &volume.downward_api {
        maker.mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        maker.downward(source.items.as_deref().unwrap_or_default())?;
    } else if let Some(source) = &volume.projected {
        maker.mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        for projection in source.sources.iter().flatten() {
            maker.projection(projection)?;
        }
    } else {
        return Ok(None);
    }
    Ok(Some(maker.files))
}

struct Maker<'a> {
    volume: &'a str,
    scope: &'a Scope<'a>,
    mode: i32,
    files: Files,
}

impl Maker<'_> {
    fn projection(&mut self, projection: &VolumeProjection) -> Result<(), VolumeError> {
        if let Some(source) = &projection.config_map {
            self.config_map(&source.name, source.items.as_deref(), source.optional)?;
        }
        if let Some(source) = &projection.secret {
            self.secret(&source.name, source.items.as_deref(), source.optional)?;
        }
        if let Some(source) = &projection.downward_api {
            self.downward(source.items.as_deref().unwrap_or_default())?;
        }
        if let Some(source) = &projection.service_account_token {
            self.token(source)?;
        }
        if projection.cluster_trust_bundle.is_some() {
            return Err(VolumeError::Unknown(self.volume.to_owned()));
        }
        Ok(())
    }

    fn token(&mut self, source: &ServiceAccountTokenProjection) -> Result<(), VolumeError> {
        let missing = || EnvError::NoToken(source.path.clone());
        let token = self.scope.sources.tokens.get(&Wanted::of(source)).ok_or_else(missing);
        let token = token.map_err(|source| VolumeError::Source { volume: self.volume.to_owned(), source })?;
        self.add(&source.path, token.clone().into_bytes(), None)
    }

    fn config_map(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(found) = self.scope.sources.config_maps.get(name) else {
            return self.unless_optional(EnvError::NoConfigMap(name.to_owned()), optional);
        };
        let text = found.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let bytes = found.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        self.select(("ConfigMap", name), text.chain(bytes).collect(), items, optional)
    }

    fn secret(
        &mut self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(found) = self.scope.sources.secrets.get(name) else {
            return self.unless_optional(EnvError::NoSecret(name.to_owned()), optional);
        };
        let data = found.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        self.select(("Secret", name), data.collect(), items, optional)
    }

    fn select(
        &mut self,
        (kind, name): (&'static str, &str),
        mut data: BTreeMap<String, Vec<u8>>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
    ) -> Result<(), VolumeError> {
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return data.into_iter().try_for_each(|(key, content)| self.add(&key, content, None));
        };
        for item in items {
            match data.remove(&item.key) {
                Some(content) => self.add(&item.path, content, item.mode)?,
                None => {
                    let missing = EnvError::NoKey { kind, name: name.to_owned(), key: item.key.clone() };
                    self.unless_optional(missing, optional)?;
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardAPIVolumeFile]) -> Result<(), VolumeError> {
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(selector), _) => env::field(selector, self.scope),
                (None, Some(selector)) => self.resource(selector),
                (None, None) => Ok(String::new()),
            };
            let value =
                value.map_err(|source| VolumeError::Source { volume: self.volume.to_owned(), source })?;
            self.add(&item.path, value.into_bytes(), item.mode)?;
        }
        Ok(())
    }

    fn resource(
        &self,
        selector: &k8s_openapi::api::core::v1::ResourceFieldSelector,
    ) -> Result<String, EnvError> {
        let unknown = || EnvError::NoResource(selector.resource.clone());
        let first =
            self.scope.pod.spec.as_ref().and_then(|spec| spec.containers.first()).ok_or_else(unknown)?;
        env::resource(selector, first, self.scope)
    }

    fn add(&mut self, path: &str, content: Vec<u8>, mode: Option<i32>) -> Result<(), VolumeError> {
        let harmless = !path.is_empty()
            && !path.starts_with("..")
            && std::path::Path::new(path)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !harmless {
            return Err(VolumeError::Escape { volume: self.volume.to_owned(), path: path.to_owned() });
        }
        let mode = u32::try_from(mode.unwrap_or(self.mode)).unwrap_or(0o644) & 0o777;
        self.files.insert(path.to_owned(), File { content, mode });
        Ok(())
    }

    fn unless_optional(&self, missing: EnvError, optional: Option<bool>) -> Result<(), VolumeError> {
        if optional == Some(true) {
            return Ok(());
        }
        Err(VolumeError::Source { volume: self.volume.to_owned(), source: missing })
    }
}

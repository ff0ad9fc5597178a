//! What workers keep on their machine's disk, and stores of objects, as they reach them: a folder for what is on its way, and their Secrets as files, which
//! no command line, environment or log ever holds.

use std::path::{Path, PathBuf};

use fuxi::protocol::{DiskLimit, FILES, SECRETS, Store};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, SecretVolumeSource, Volume, VolumeMount};
use model::dagjob::{DagJobSpec, Objects, Task};
use model::{Bytes, Quantity};

const FILES_VOLUME: &str = "crest-files";

pub(super) fn of_input(task: &Task) -> Option<Store> {
    let objects = task.input.as_ref()?.objects.as_ref()?;
    Some(store("input", objects))
}

pub(super) fn of_output(task: &Task) -> Option<Store> {
    let objects = &task.output.as_ref()?.objects;
    (!objects.url.is_empty()).then(|| store("output", objects))
}

fn store(role: &str, objects: &Objects) -> Store {
    let secret = objects.credentials.is_some().then(|| Path::new(SECRETS).join(role));
    Store { objects: objects.clone(), secret, files: PathBuf::from(FILES) }
}

/// How much of the disk a worker may take, and the folders that count: those of volumes that go with it.
pub(super) fn disk(spec: &DagJobSpec, task: &Task) -> DiskLimit {
    let limit = Quantity::parse(&task.resources.ephemeral_storage.0).map(Bytes::from).unwrap_or_default().0;
    let is_own = |mount: &&VolumeMount| {
        let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
        let empty = volume.and_then(|volume| volume.empty_dir.as_ref());
        empty.is_some_and(|empty| empty.medium.as_deref() != Some("Memory"))
    };
    let own = task.volume_mounts.iter().filter(is_own).map(|mount| PathBuf::from(&mount.mount_path));
    let files = (!stores(task).is_empty()).then(|| PathBuf::from(FILES));
    DiskLimit { limit, folders: files.into_iter().chain(own).collect() }
}

/// Each store with the volume that its Secret is.
fn stores(task: &Task) -> Vec<(&'static str, Store)> {
    let stores = [("crest-input", of_input(task)), ("crest-output", of_output(task))];
    stores.into_iter().filter_map(|(volume, store)| Some((volume, store?))).collect()
}

pub(super) fn volumes(task: &Task) -> Vec<Volume> {
    let stores = stores(task);
    let files = Volume {
        name: FILES_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let secret = |(volume, store): &(&str, Store)| Volume {
        name: (*volume).to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: store.objects.credentials.clone(),
            // The worker says what is missing; a Pod that waits for a Secret would say nothing to the job.
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let secrets = stores.iter().filter(|(_, store)| store.secret.is_some()).map(secret);
    (!stores.is_empty()).then_some(files).into_iter().chain(secrets).collect()
}

pub(super) fn mounts(task: &Task) -> Vec<VolumeMount> {
    let stores = stores(task);
    let mount = |volume: &str, path: &Path, read_only: Option<bool>| VolumeMount {
        name: volume.to_owned(),
        mount_path: path.display().to_string(),
        read_only,
        ..VolumeMount::default()
    };
    let files = (!stores.is_empty()).then(|| mount(FILES_VOLUME, Path::new(FILES), None));
    let secrets =
        stores.iter().filter_map(|(volume, store)| Some(mount(volume, store.secret.as_ref()?, Some(true))));
    files.into_iter().chain(secrets).collect()
}

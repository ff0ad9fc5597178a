//! What must hold of where a task's outputs go.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{Volume, VolumeMount};

use super::{Fault, FaultKind, objects};
use crate::dagjob::{DagJobSpec, Mode, Objects, Output, Place, Task};

pub(super) fn faults(path: &str, task: &Task, volumes: &[Volume], found: &mut Vec<Fault>) {
    let Some(output) = &task.output else { return };
    let path = format!("{path}.output");
    if output.path.is_empty() && output.objects != Objects::default() {
        let n_before = found.len();
        objects::faults(&path, (task, &output.objects), false, found);
        let message = match output.objects.place() {
            _ if task.mode == Mode::Stream => NOT_OF_STREAMS,
            Some(Place::Folder { path }) if found.len() == n_before && is_lost(task, path, volumes) => LOST,
            _ => return,
        };
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.url"), &output.objects.url, message));
        return;
    }
    let folder = Path::new(&output.path);
    let message = if output.objects != Objects::default() {
        "give either path, or url with what belongs to it"
    } else if task.mode == Mode::Stream {
        NOT_OF_STREAMS
    } else if !folder.is_absolute() || output.path.contains(['\n', '\0']) {
        "an absolute path, as the task's containers see it; or give a url in place of path"
    } else if climbs(folder) {
        CLIMBS
    } else if !is_mounted(task, folder) {
        "lies on none of the task's volumeMounts, and so would go with the container"
    } else if is_lost(task, &output.path, volumes) {
        LOST
    } else {
        return;
    };
    found.push(Fault::new(FaultKind::Invalid, format!("{path}.path"), &output.path, message));
}

/// Two tasks that write to one place: their instances have the same numbers, so one's outputs replace the other's.
pub(super) fn shared(spec: &DagJobSpec, found: &mut Vec<Fault>) {
    let mut takers: BTreeMap<Target<'_>, &str> = BTreeMap::new();
    for (index, task) in spec.tasks.iter().enumerate() {
        let Some(output) = &task.output else { continue };
        let Some(target) = target(task, output) else { continue };
        if let Some(other) = takers.insert(target, &task.name) {
            let (field, value) =
                if output.path.is_empty() { ("url", &output.objects.url) } else { ("path", &output.path) };
            let message = format!("task {other} has its outputs there too: one's would replace the other's");
            let field = format!("spec.tasks[{index}].output.{field}");
            found.push(Fault::new(FaultKind::Duplicate, field, value, message));
        }
    }
}

/// Where outputs end up, whatever the paths by which containers see it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Target<'a> {
    Volume { name: &'a str, sub_path: &'a str, folder: &'a Path },
    Store { endpoint: &'a str, bucket: &'a str, folder: &'a str },
}

fn target<'a>(task: &'a Task, output: &'a Output) -> Option<Target<'a>> {
    let objects = &output.objects;
    let path = match objects.place() {
        _ if !output.path.is_empty() => output.path.as_str(),
        Some(Place::S3 { bucket, key }) => {
            let endpoint = objects.endpoint.as_deref().unwrap_or_default();
            return Some(Target::Store { endpoint, bucket, folder: key.trim_end_matches('/') });
        }
        Some(Place::Folder { path }) => path,
        None => return None,
    };
    let mount = mount(task, Path::new(path))?;
    let folder = Path::new(path).strip_prefix(&mount.mount_path).ok()?;
    Some(Target::Volume {
        name: &mount.name,
        sub_path: mount.sub_path.as_deref().unwrap_or_default(),
        folder,
    })
}

const NOT_OF_STREAMS: &str =
    "goes with the mode Exec: a program that takes a stream writes aside and renames by itself";

pub(super) const CLIMBS: &str = "must not contain `..`: name the folder itself";

const LOST: &str = "lies on an emptyDir, which goes with its worker: mount a volume that stays";

pub(super) fn climbs(folder: &Path) -> bool {
    folder.components().any(|part| part == Component::ParentDir)
}

/// The mount that a folder lies on: of nested ones the innermost.
fn mount<'a>(task: &'a Task, folder: &Path) -> Option<&'a VolumeMount> {
    let above = task.volume_mounts.iter().filter(|mount| folder.starts_with(&mount.mount_path));
    above.max_by_key(|mount| Path::new(&mount.mount_path).components().count())
}

pub(super) fn is_mounted(task: &Task, folder: &Path) -> bool {
    mount(task, folder).is_some()
}

/// Whether what is written to a folder goes with the worker that wrote it.
fn is_lost(task: &Task, folder: &str, volumes: &[Volume]) -> bool {
    let mount = mount(task, Path::new(folder));
    let volume = mount.and_then(|mount| volumes.iter().find(|volume| volume.name == mount.name));
    volume.is_some_and(|volume| volume.empty_dir.is_some())
}

//! What must hold of where a task's outputs go.

use std::path::Path;

use super::{Fault, FaultKind, objects};
use crate::dagjob::{Mode, Objects, Task};

pub(super) fn faults(path: &str, task: &Task, found: &mut Vec<Fault>) {
    let Some(output) = &task.output else { return };
    let path = format!("{path}.output");
    if output.path.is_empty() && output.objects != Objects::default() {
        objects::faults(&path, (task, &output.objects), false, found);
        if task.mode == Mode::Stream {
            let field = format!("{path}.url");
            found.push(Fault::new(FaultKind::Invalid, field, &output.objects.url, NOT_OF_STREAMS));
        }
        return;
    }
    let folder = Path::new(&output.path);
    let message = if output.objects != Objects::default() {
        "give either path, or url with what belongs to it"
    } else if task.mode == Mode::Stream {
        NOT_OF_STREAMS
    } else if !folder.is_absolute() || output.path.contains(['\n', '\0']) {
        "an absolute path, as the task's containers see it; or give a url in place of path"
    } else if !is_mounted(task, folder) {
        "lies on none of the task's volumeMounts, and so would go with the container"
    } else {
        return;
    };
    found.push(Fault::new(FaultKind::Invalid, format!("{path}.path"), &output.path, message));
}

const NOT_OF_STREAMS: &str =
    "goes with the mode Exec: a program that takes a stream writes aside and renames by itself";

pub(super) fn is_mounted(task: &Task, folder: &Path) -> bool {
    task.volume_mounts.iter().any(|mount| folder.starts_with(&mount.mount_path))
}

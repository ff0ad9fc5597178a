//! What must hold of where a task's outputs go.

use std::path::Path;

use super::{Fault, FaultKind};
use crate::dagjob::{Mode, Task};

pub(super) fn faults(path: &str, task: &Task, found: &mut Vec<Fault>) {
    let Some(output) = &task.output else { return };
    let folder = Path::new(&output.path);
    let is_mounted = task.volume_mounts.iter().any(|mount| folder.starts_with(&mount.mount_path));
    let message = if task.mode == Mode::Stream {
        "goes with the mode Exec: a program that takes a stream writes aside and renames by itself"
    } else if !folder.is_absolute() || output.path.contains(['\n', '\0']) {
        "an absolute path, as the task's containers see it"
    } else if !is_mounted {
        "lies on none of the task's volumeMounts, and so would go with the container"
    } else {
        return;
    };
    found.push(Fault::new(FaultKind::Invalid, format!("{path}.output.path"), &output.path, message));
}

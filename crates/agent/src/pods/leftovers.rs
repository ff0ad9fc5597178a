//! What is left on the host of Pods that are gone: groups, volumes and logs.

use std::collections::HashSet;
use std::fs::{read_dir, remove_dir_all};
use std::path::Path;

use model::QosClass;

use super::Context;
use crate::volumes;

/// Takes away all but the logs of the Pod `uid`. False when something stays for now.
pub(super) fn clear(context: &Context, uid: &str) -> bool {
    // Of an orphan no one knows the class any more.
    let groups = [QosClass::Online, QosClass::Batch].map(|class| {
        let removed = context.groups.backend().remove(&context.groups.pod(class, uid));
        removed.inspect_err(
            |error| tracing::warn!(pod = %uid, error = %kit::Chain(error), "Group of an ended Pod stays"),
        )
    });
    let volumes = volumes::remove(&context.pod_dir(uid));
    let volumes = volumes.inspect_err(|error| {
        tracing::warn!(pod = %uid, error = %kit::Chain(error), "Volumes of an ended Pod stay");
    });
    groups.iter().all(Result::is_ok) && volumes.is_ok()
}

/// Takes away what Pods left that ended while no agent was there, such as before a reboot: all but those in `known`.
pub(super) fn sweep(context: &Context, known: &HashSet<&str>) {
    for uid in names(&context.volumes).iter().filter(|uid| !known.contains(uid.as_str())) {
        tracing::info!(pod = %uid, "Removing what a Pod left");
        clear(context, uid);
    }
    for name in names(&context.pod_logs) {
        // Neither namespaces nor names have such a character.
        let Some((_, uid)) = name.rsplit_once('_') else { continue };
        if !known.contains(uid) {
            clear(context, uid);
            let _gone = remove_dir_all(context.pod_logs.join(&name));
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

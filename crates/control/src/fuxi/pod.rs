//! What is created for a job: the worker Pods and the Secret with their token.

use std::collections::BTreeMap;
use std::path::Path;

use fuxi::grants::Resources;
use fuxi::protocol;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, HostPathVolumeSource, Pod, PodSpec, ResourceRequirements,
    Secret, SecretKeySelector, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::dagjob::{DagJobSpec, Task};
use model::names::beginning;
use model::{Bytes, MilliCpu, Quantity, names};

use super::raw::RawJob;
use super::stores;
use crate::owner::controller_reference;

const TOKEN_KEY: &str = "token";
const WORKER_VOLUME: &str = "crest-worker";
const PRIORITY_CLASS: &str = "crest-batch";
/// How long a deleted worker may take to end what it runs.
pub(super) const GRACE_SECONDS: i64 = 2;

/// What one instance of a task needs. Faulty quantities, which the job's check refuses, read as nothing.
pub(super) fn shape(task: &Task) -> Resources {
    Resources {
        cpu: Quantity::parse(&task.resources.cpu.0).map(MilliCpu::from).unwrap_or_default(),
        memory: Quantity::parse(&task.resources.memory.0).map(Bytes::from).unwrap_or_default(),
        workers: 1,
        ..Resources::default()
    }
}

/// A name for a new worker Pod of a task; short enough to be a host name.
pub(super) fn name(job: &RawJob, task: &Task) -> String {
    let job = beginning(job.metadata.name.as_deref().unwrap_or_default(), 24);
    let task = beginning(&task.name, 24);
    format!("{job}-{task}-{:08x}", rand::random::<u32>())
}

pub(super) fn secret_name(job: &RawJob) -> String {
    let uid = job.uid().split('-').next().unwrap_or_default();
    format!("{}-worker-{uid}", beginning(job.metadata.name.as_deref().unwrap_or_default(), 200))
}

pub(super) fn secret(job: &RawJob, token: &str) -> Secret {
    Secret {
        metadata: metadata(job, secret_name(job)),
        data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), ByteString(token.as_bytes().to_vec()))])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// The beginning of the names of the `ConfigMaps` with an input list; another one each time.
pub(super) fn list_name(job: &RawJob) -> String {
    let job = beginning(job.metadata.name.as_deref().unwrap_or_default(), 200);
    format!("{job}-input-{:08x}", rand::random::<u32>())
}

/// A part of a list.
pub(super) fn list_part(job: &RawJob, name: &str, (key, part): (&str, &[u8])) -> ConfigMap {
    ConfigMap {
        metadata: metadata(job, name.to_owned()),
        binary_data: Some(BTreeMap::from([(key.to_owned(), ByteString(part.to_vec()))])),
        immutable: Some(true),
        data: None,
    }
}

pub(super) fn token(secret: &Secret) -> Option<String> {
    let data = secret.data.as_ref()?.get(TOKEN_KEY)?;
    String::from_utf8(data.0.clone()).ok().filter(|token| !token.is_empty())
}

/// A worker of `task`, already placed on `node`.
pub(super) fn worker(
    job: &RawJob,
    spec: &DagJobSpec,
    task: &Task,
    (name, node): (&str, &str),
    folder: &Path,
) -> Pod {
    let mut metadata = metadata(job, name.to_owned());
    if let Some(labels) = &mut metadata.labels {
        labels.insert(names::TASK_LABEL.to_owned(), task.name.clone());
        labels.insert(names::QOS_LABEL.to_owned(), "BE".to_owned());
    }
    let mut volumes = spec.volumes.clone();
    volumes.push(Volume {
        name: WORKER_VOLUME.to_owned(),
        host_path: Some(HostPathVolumeSource {
            path: folder.to_string_lossy().into_owned(),
            type_: Some("Directory".to_owned()),
        }),
        ..Volume::default()
    });
    volumes.extend(stores::volumes(task));
    Pod {
        spec: Some(PodSpec {
            containers: vec![container((job, spec), task, &metadata)],
            volumes: Some(volumes),
            node_name: Some(node.to_owned()),
            scheduler_name: Some(names::FUXI_SCHEDULER.to_owned()),
            priority_class_name: Some(PRIORITY_CLASS.to_owned()),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            tolerations: Some(tolerations().into_iter().chain(spec.tolerations.clone()).collect()),
            ..PodSpec::default()
        }),
        metadata,
        status: None,
    }
}

fn container((job, spec): (&RawJob, &DagJobSpec), task: &Task, metadata: &ObjectMeta) -> Container {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let worker = format!("{namespace}/{}", metadata.name.as_deref().unwrap_or_default());
    let token = EnvVarSource {
        secret_key_ref: Some(SecretKeySelector {
            name: secret_name(job),
            key: TOKEN_KEY.to_owned(),
            optional: Some(false),
        }),
        ..EnvVarSource::default()
    };
    let parameter = |(name, value): (&String, &String)| EnvVar {
        name: name.clone(),
        value: Some(verbatim(value)),
        value_from: None,
    };
    // A task's own environment comes after, and so has the last word.
    let mut env: Vec<EnvVar> = spec.parameters.iter().map(parameter).chain(task.env.clone()).collect();
    env.push(EnvVar { name: protocol::env::NAME.to_owned(), value: Some(worker), value_from: None });
    env.push(EnvVar { name: protocol::env::TOKEN.to_owned(), value: None, value_from: Some(token) });
    let mut mounts = task.volume_mounts.clone();
    mounts.push(VolumeMount {
        name: WORKER_VOLUME.to_owned(),
        mount_path: protocol::MOUNT.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    });
    mounts.extend(stores::mounts(task));
    let shape = shape(task);
    let cpu = (names::BATCH_CPU.to_owned(), Text(shape.cpu.0.to_string()));
    let memory = (names::BATCH_MEMORY.to_owned(), Text(shape.memory.0.to_string()));
    Container {
        name: "worker".to_owned(),
        image: Some(task.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![format!("{}/{}", protocol::MOUNT, protocol::PROGRAM), "worker".to_owned()]),
        env: Some(env),
        volume_mounts: Some(mounts),
        resources: Some(ResourceRequirements {
            // Memory is bounded by what was granted. CPU is not: batch as a whole yields to every service, and what
            // nobody else wants at this moment would only idle.
            limits: Some(BTreeMap::from([memory.clone()])),
            requests: Some(BTreeMap::from([cpu, memory])),
            claims: None,
        }),
        ..Container::default()
    }
}

/// A value in which a dollar sign stands for itself: it is the user's and no template, in which two are one.
fn verbatim(value: &str) -> String {
    value.replace('$', "$$")
}

/// Workers stay while their Node cannot be heard: they go on, and their results wait.
fn tolerations() -> Vec<Toleration> {
    let toleration = |key: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(toleration).to_vec()
}

fn metadata(job: &RawJob, name: String) -> ObjectMeta {
    let label = names::label_value(job.metadata.name.as_deref().unwrap_or_default());
    ObjectMeta {
        name: Some(name),
        namespace: job.metadata.namespace.clone(),
        labels: Some(BTreeMap::from([(names::JOB_LABEL.to_owned(), label.to_owned())])),
        owner_references: Some(vec![controller_reference(job)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::verbatim;

    /// As Kubernetes has it: `$$` is a dollar, and `$(NAME)` a variable.
    fn expanded(template: &str) -> String {
        assert!(!template.replace("$$", "").contains('$'), "{template} names a variable");
        template.replace("$$", "$")
    }

    #[test]
    fn parameters_arrive_as_they_are() {
        for value in ["plain", "$HOME", "$(HOME)", "$$", "a$$b$", "$$(HOME)", "$$$"] {
            assert_eq!(expanded(&verbatim(value)), value);
        }
    }
}

//! `DagJob`: batch work as tasks of many short instances, with dependencies between tasks.
//!
//! ```text
//!   split (1) ──► count (200) ──► merge (1)      a task starts when all instances of its parents ended well
//! ```

pub mod check;
pub mod import;
mod input;
mod objects;
mod output;
mod policy;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, Toleration, Volume, VolumeMount};
pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use input::{Input, InputStatus, MAX_ENTRIES, MAX_ITEMS, MAX_PIECE, NumberRange};
pub use objects::{Objects, Place};
pub use output::Output;
pub use policy::{InstanceFailure, MAX_TOLERATED, SuccessPolicy};

/// What a user asks for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crest.dev",
    version = "v1alpha1",
    kind = "DagJob",
    plural = "dagjobs",
    singular = "dagjob",
    shortname = "dj",
    namespaced,
    status = "DagJobStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct DagJobSpec {
    /// The tasks of the job. Their dependencies form a graph without cycles.
    pub tasks: Vec<Task>,
    /// Volumes that the tasks' containers may mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// What differs from one submission of the job to the next: every instance has them in its environment, by these names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Jobs of higher priority are served first. Default 0.
    #[serde(default)]
    pub priority: i32,
    /// The `BatchQuota` that its workers count for: one without parts. Without one they share what quotas leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
    /// Taints of Nodes that its workers put up with, as those of a Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Keep the worker Pods of a finished task for this long, for their logs. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_workers_seconds: Option<u32>,
    /// What the job is to do: run, pause after the instances that run now, or end without the rest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub desired_state: DesiredState,
    /// Counted up, a job that failed or was cancelled goes on with its unfinished instances.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What its owner wants of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    #[default]
    Running,
    Paused,
    Cancelled,
}

/// Many instances of one command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Unique within the job: lower-case letters, digits and `-`, at most 40 characters.
    pub name: String,
    /// Tasks that must have ended well before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Start already when this share of the instances of each of those tasks has ended well. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at_percent: Option<u32>,
    /// How many instances to run. Each knows its index from `CREST_INSTANCE_INDEX`. A task has this or `input`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instances: u32,
    /// A list of which every instance gets its piece: as many instances as there are pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// Collects what instances write to `CREST_OUTPUT`. Not in the mode `Stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// How many instances may fail without failing the task. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_policy: Option<SuccessPolicy>,
    /// At most this many instances at once. Default: as many as there is room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// Begin only when there is room for so many at once, and all of it is granted together. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_parallelism: Option<u32>,
    /// The image that the instances run in.
    pub image: String,
    /// The command of an instance; in the mode `Stream` of the program that takes them.
    pub command: Vec<String>,
    /// Whether each instance is a process, or one program takes them all. Default `Exec`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// Environment of every instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Where the job's volumes appear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What one instance needs while it runs.
    #[serde(default)]
    pub resources: TaskResources,
    /// An instance that fails is tried again until it was tried this often. Default 3.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// An instance that runs longer is killed and counts as failed; in the mode `Stream` with the program that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Begin an instance a second time that runs for long after most others have ended; the first to end counts. Only for
    /// commands that may run twice at the same time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup: bool,
}

/// How a worker runs instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// The command once for each instance, which it knows from its environment; its exit code says how it ended.
    #[default]
    Exec,
    /// The command once for each worker: it stays alive, takes instances line by line on its standard input, and answers
    /// each on its standard output.
    Stream,
}

impl Task {
    /// How many instances the task has; `None` if only its input list will tell.
    pub fn count(&self) -> Option<u32> {
        match &self.input {
            Some(input) => input.count(),
            None => Some(self.instances),
        }
    }

    /// Of a parent of `count` instances, how many must have ended before this task starts: at least one.
    pub fn needs_of(&self, count: u32) -> u32 {
        needed(self.start_at_percent.unwrap_or(100), count)
    }
}

/// How many of `count` instances a share of them is: at least one.
pub fn needed(percent: u32, count: u32) -> u32 {
    let needed = (u64::from(count) * u64::from(percent.min(100))).div_ceil(100);
    u32::try_from(needed).unwrap_or(count).max(1)
}

fn default_attempts() -> u32 {
    3
}

/// What one instance needs, from what online leaves idle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskResources {
    /// CPU as a Kubernetes quantity; taken from `kubernetes.io/batch-cpu`.
    #[serde(default = "default_cpu")]
    pub cpu: Quantity,
    /// Memory as a Kubernetes quantity; taken from `kubernetes.io/batch-memory`.
    #[serde(default = "default_memory")]
    pub memory: Quantity,
    /// What a worker may keep on its machine's disk, beside volumes that are not its own, as a Kubernetes quantity: not
    /// reserved, but bounded. Default `10Gi`.
    #[serde(rename = "ephemeral-storage", default = "default_disk")]
    pub ephemeral_storage: Quantity,
}

impl Default for TaskResources {
    fn default() -> Self {
        Self { cpu: default_cpu(), memory: default_memory(), ephemeral_storage: default_disk() }
    }
}

fn default_disk() -> Quantity {
    Quantity("10Gi".to_owned())
}

fn default_cpu() -> Quantity {
    Quantity("1".to_owned())
}

fn default_memory() -> Quantity {
    Quantity("256Mi".to_owned())
}

/// How a job stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DagJobStatus {
    #[serde(default)]
    pub phase: JobPhase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Per task, by name.
    #[serde(default)]
    pub tasks: BTreeMap<String, TaskStatus>,
    /// How often the job was begun again, as `spec.retry` asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: u32,
    /// `Complete` or `Failed`, so that `kubectl wait --for=condition=Complete` works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JobPhase {
    #[default]
    Pending,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobPhase {
    /// Whether nothing of the job runs any more, nor will.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl DagJobStatus {
    /// The status with which a job that had ended begins again: what is finished stays finished, and every other instance
    /// has all its attempts anew.
    pub fn begun_again(mut self, retry: u32) -> Self {
        for task in self.tasks.values_mut() {
            (task.running, task.failed_attempts) = (0, 0);
            task.retries.clear();
            task.failed_instances.clear();
            task.failures.clear();
            task.failed = 0;
            task.last_failure = None;
        }
        self.conditions.retain(|condition| !matches!(condition.type_.as_str(), "Complete" | "Failed"));
        Self { phase: JobPhase::Pending, completion_time: None, retry, ..self }
    }
}

/// How a task stands. `finished` is the hard state: what stands there is never run again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    pub instances: u32,
    pub running: u32,
    pub succeeded: u32,
    /// Instances that had all their attempts and failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: u32,
    /// Attempts that failed, those tried again included.
    pub failed_attempts: u32,
    /// How often an instance that was late was begun a second time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backups: u32,
    /// The instances that ended well, as ranges: `0-41,43,50-199`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finished: String,
    /// The instances that failed for good, as ranges.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failed_instances: String,
    /// What the first few of them said of themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<InstanceFailure>,
    /// The list of files that was taken when the task began; none before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<InputStatus>,
    /// Unfinished instances that were tried before, as `index:failed/tried`. So a restart keeps the retry limit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub retries: String,
    /// What the last failed attempt said of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// What its instances used, if they are processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<TaskUsage>,
    /// How long its instances took that ended well. After a restart of the batch master the mean before counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_millis: Option<MeanAndMax>,
    /// Nodes where its instances fail or are late, and not elsewhere: it gets no workers there for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoided_nodes: Vec<String>,
    /// What keeps workers of it from starting, as long as none has started anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

/// What the instances of a task used, of those that ended since the batch master began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskUsage {
    /// How many instances these figures are of.
    pub instances: u32,
    /// Processor time of an instance.
    pub cpu_micros: MeanAndMax,
    /// The most memory that a process of an instance held.
    pub memory_kib: MeanAndMax,
    /// How long a worker did nothing between the end of one instance and the beginning of the next.
    pub gap_micros: MeanAndMax,
    /// What 99% of these gaps do not exceed.
    pub gap_p99_micros: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeanAndMax {
    pub mean: u64,
    pub max: u64,
}

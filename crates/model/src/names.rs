//! Names that several rooms must agree on, said once.

/// The API group of our own kinds.
pub const GROUP: &str = "crest.dev";
/// Our components' name in events, field managers and user agents.
pub const PRODUCT: &str = "crest";

/// Extended resource: CPU that online leaves idle, in milli-cores. The name is Koordinator's and Volcano's.
pub const BATCH_CPU: &str = "kubernetes.io/batch-cpu";
/// Extended resource: memory that online leaves idle, in bytes.
pub const BATCH_MEMORY: &str = "kubernetes.io/batch-memory";
/// Extended resource: CPU that services requested and will not use by what is known of their peaks, in milli-cores. The name
/// is Koordinator's.
pub const MID_CPU: &str = "kubernetes.io/mid-cpu";
/// Extended resource: the same of memory, in bytes.
pub const MID_MEMORY: &str = "kubernetes.io/mid-memory";
/// Condition of a Node that gets no new batch workers for a while, because several jobs found it faulty.
pub const BATCH_AVOIDED: &str = "BatchAvoided";

/// `spec.schedulerName` of a Pod that Sigma places. It is the default, so that plain manifests work.
pub const SIGMA_SCHEDULER: &str = "default-scheduler";
/// `spec.schedulerName` of a Pod that Fuxi placed.
pub const FUXI_SCHEDULER: &str = "fuxi";

/// Label with a Pod's class: see [`crate::class::Class`].
pub const CLASS_LABEL: &str = "crest.dev/class";
/// Label with Koordinator's QoS class, understood as it stands.
pub const QOS_LABEL: &str = "koordinator.sh/qosClass";
/// Label on worker Pods: the DagJob they work for, or [what a label can hold](label_value) of its name.
pub const JOB_LABEL: &str = "crest.dev/dagjob";
/// Label on worker Pods: the task of the DagJob.
pub const TASK_LABEL: &str = "crest.dev/task";
/// Label of a Pod that Fuxi places: the `BatchQuota` that it counts for. Label of a Namespace: the quota of what is made
/// in it and names none.
pub const QUOTA_LABEL: &str = "crest.dev/quota";
/// Label of a Pod that belongs to a PodGroup: the group's name.
pub const POD_GROUP_LABEL: &str = "crest.dev/pod-group";
/// Annotation of a service: what its latency may be, see [`crate::latency`].
pub const LATENCY_OBJECTIVE: &str = "crest.dev/latency-objective";
/// Annotation of a service: how many of its requests may fail, see [`crate::error_rate`].
pub const ERROR_OBJECTIVE: &str = "crest.dev/error-objective";
/// Annotations of a Pod, as Prometheus' users write them: where it tells its metrics.
pub const PROMETHEUS_PORT: &str = "prometheus.io/port";
pub const PROMETHEUS_PATH: &str = "prometheus.io/path";
/// Annotation of a Pod that wants CPUs of its own: see [`crate::pinning::CoreShape`].
pub const CPU_POLICY: &str = "crest.dev/cpu-policy";
/// Annotation of such a Pod: how near to each other its CPUs must be, see [`crate::pinning::NumaPolicy`].
pub const NUMA_POLICY: &str = "crest.dev/numa-policy";
/// Annotation of a bound Pod: the CPUs that are its own, as a list.
pub const CPU_SET: &str = "crest.dev/cpu-set";
/// Annotation of a Node: how its CPUs lie, see [`crate::CpuTopology`].
pub const CPU_TOPOLOGY: &str = "crest.dev/cpu-topology";
/// Annotation of a Node with several NUMA zones: what each offers batch, as `zones` of a NodeResourceTopology.
pub const NUMA_ZONES: &str = "crest.dev/numa-zones";
/// Annotation of a Node on which batch workers of other hosts' masters can run: the folder that they mount, where their
/// program and their socket are.
pub const WORKER_FOLDER: &str = "crest.dev/worker-folder";
/// Label of every Node: its name.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Environment of a batch instance.
pub mod instance_env {
    pub const JOB: &str = "CREST_JOB";
    pub const TASK: &str = "CREST_TASK";
    /// Zero-based.
    pub const INDEX: &str = "CREST_INSTANCE_INDEX";
    pub const COUNT: &str = "CREST_INSTANCE_COUNT";
    /// Its piece of the task's input list, line by line, if there is one.
    pub const INPUT: &str = "CREST_INPUT";
    /// Where that came from, line by line, if it is objects.
    pub const INPUT_URL: &str = "CREST_INPUT_URL";
    /// Where it writes what is to be collected, if its task has an `output`.
    pub const OUTPUT: &str = "CREST_OUTPUT";
    /// One-based.
    pub const ATTEMPT: &str = "CREST_INSTANCE_ATTEMPT";
}

/// Of a name as much as a label can hold, still ending as one may.
pub fn label_value(name: &str) -> &str {
    beginning(name, 63)
}

/// At most `length` bytes of a name, still ending as a name may.
pub fn beginning(name: &str, length: usize) -> &str {
    name[..name.floor_char_boundary(length)].trim_end_matches(['-', '.'])
}

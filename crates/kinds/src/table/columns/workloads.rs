//! Columns of what runs Pods, scales them and protects them.

use super::{AGE, CONTAINERS, Column, IMAGES, NAME, field, own};
use crate::Kind;

pub(super) fn columns(kind: &Kind) -> Option<&'static [Column]> {
    Some(match kind.kind {
        "Pod" => PODS,
        "PodTemplate" => POD_TEMPLATES,
        "ReplicationController" => REPLICATION_CONTROLLERS,
        "ResourceQuota" => RESOURCE_QUOTAS,
        "ControllerRevision" => CONTROLLER_REVISIONS,
        "DaemonSet" => DAEMON_SETS,
        "Deployment" => DEPLOYMENTS,
        "ReplicaSet" => REPLICA_SETS,
        "StatefulSet" => STATEFUL_SETS,
        "CronJob" => CRON_JOBS,
        "Job" => JOBS,
        "DagJob" => DAG_JOBS,
        "HorizontalPodAutoscaler" => AUTOSCALERS,
        "PodDisruptionBudget" => DISRUPTION_BUDGETS,
        _ => return None,
    })
}

const PODS: &[Column] = &[
    NAME,
    own("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    own("Status", "The aggregate status of the containers in this pod."),
    own(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod \
         has restarted.",
    ),
    AGE,
    field("IP", "core.v1.PodStatus", "podIP").wide(),
    field("Node", "core.v1.PodSpec", "nodeName").wide(),
    field("Nominated Node", "core.v1.PodStatus", "nominatedNodeName").wide(),
    field("Readiness Gates", "core.v1.PodSpec", "readinessGates").wide(),
];
const POD_TEMPLATES: &[Column] =
    &[NAME, CONTAINERS, IMAGES, own("Pod Labels", "The labels for the pod template.")];
const REPLICATION_CONTROLLERS: &[Column] = &[
    NAME,
    field("Desired", "core.v1.ReplicationControllerSpec", "replicas").integer(),
    field("Current", "core.v1.ReplicationControllerStatus", "replicas").integer(),
    field("Ready", "core.v1.ReplicationControllerStatus", "readyReplicas").integer(),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "core.v1.ReplicationControllerSpec", "selector").wide(),
];
const RESOURCE_QUOTAS: &[Column] = &[
    NAME,
    own("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    own(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the \
         node.",
    ),
    AGE,
];
const CONTROLLER_REVISIONS: &[Column] = &[
    NAME,
    own("Controller", "Controller of the object"),
    field("Revision", "apps.v1.ControllerRevision", "revision"),
    AGE,
];
const DAEMON_SETS: &[Column] = &[
    NAME,
    field("Desired", "apps.v1.DaemonSetStatus", "desiredNumberScheduled").integer(),
    field("Current", "apps.v1.DaemonSetStatus", "currentNumberScheduled").integer(),
    field("Ready", "apps.v1.DaemonSetStatus", "numberReady").integer(),
    field("Up-to-date", "apps.v1.DaemonSetStatus", "updatedNumberScheduled").integer(),
    field("Available", "apps.v1.DaemonSetStatus", "numberAvailable").integer(),
    field("Node Selector", "core.v1.PodSpec", "nodeSelector"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "apps.v1.DaemonSetSpec", "selector").wide(),
];
const DEPLOYMENTS: &[Column] = &[
    NAME,
    own("Ready", "Number of the pod with ready state"),
    field("Up-to-date", "apps.v1.DeploymentStatus", "updatedReplicas"),
    field("Available", "apps.v1.DeploymentStatus", "availableReplicas"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "apps.v1.DeploymentSpec", "selector").wide(),
];
const REPLICA_SETS: &[Column] = &[
    NAME,
    field("Desired", "apps.v1.ReplicaSetSpec", "replicas").integer(),
    field("Current", "apps.v1.ReplicaSetStatus", "replicas").integer(),
    field("Ready", "apps.v1.ReplicaSetStatus", "readyReplicas").integer(),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "apps.v1.ReplicaSetSpec", "selector").wide(),
];
const STATEFUL_SETS: &[Column] =
    &[NAME, own("Ready", "Number of the pod with ready state"), AGE, CONTAINERS.wide(), IMAGES.wide()];
const CRON_JOBS: &[Column] = &[
    NAME,
    field("Schedule", "batch.v1.CronJobSpec", "schedule"),
    field("Timezone", "batch.v1.CronJobSpec", "timeZone"),
    field("Suspend", "batch.v1.CronJobSpec", "suspend").boolean(),
    field("Active", "batch.v1.CronJobStatus", "active").integer(),
    field("Last Schedule", "batch.v1.CronJobStatus", "lastScheduleTime"),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "batch.v1.JobSpec", "selector").wide(),
];
const JOBS: &[Column] = &[
    NAME,
    own("Status", "Status of the job."),
    field("Completions", "batch.v1.JobStatus", "succeeded"),
    own("Duration", "Time required to complete the job."),
    AGE,
    CONTAINERS.wide(),
    IMAGES.wide(),
    field("Selector", "batch.v1.JobSpec", "selector").wide(),
];
const DAG_JOBS: &[Column] = &[
    NAME,
    own("Status", "How the job stands."),
    own("Tasks", "How many tasks are finished, of how many."),
    own("Instances", "How many instances ended well, of how many."),
    own("Duration", "How long the job ran, or runs."),
    AGE,
    own("Running", "How many instances run now.").integer().wide(),
    own("Failed Attempts", "How many attempts failed, those tried again included.").wide(),
];
const AUTOSCALERS: &[Column] = &[
    NAME,
    field("Reference", "autoscaling.v2.HorizontalPodAutoscalerSpec", "scaleTargetRef"),
    field("Targets", "autoscaling.v2.HorizontalPodAutoscalerSpec", "metrics"),
    field("MinPods", "autoscaling.v2.HorizontalPodAutoscalerSpec", "minReplicas"),
    field("MaxPods", "autoscaling.v2.HorizontalPodAutoscalerSpec", "maxReplicas"),
    field("Replicas", "autoscaling.v2.HorizontalPodAutoscalerStatus", "currentReplicas"),
    AGE,
];
const DISRUPTION_BUDGETS: &[Column] = &[
    NAME,
    own("Min Available", "The minimum number of pods that must be available."),
    own("Max Unavailable", "The maximum number of pods that may be unavailable."),
    own("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.").integer(),
    AGE,
];

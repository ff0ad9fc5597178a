//! What the container engine says of one Pod, in the words of the planner.

use jiff::Timestamp;
use pouch::cri;

/// Labels by which the agent knows its own after a restart; kubelets use the same.
pub mod label {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// The sandboxes and containers of one Pod, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Instance>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created: Timestamp,
    pub ips: Vec<String>,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    pub id: String,
    pub sandbox: String,
    pub name: String,
    pub attempt: u32,
    pub image: String,
    pub image_ref: String,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Created,
    Running {
        since: Timestamp,
    },
    Exited(Exit),
    /// The engine lost sight of it.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    pub code: i32,
    pub reason: String,
    pub message: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

impl Observed {
    /// The sandbox that containers are to run in, if it stands.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().find(|sandbox| sandbox.ready)
    }

    /// The newest run of container `name`.
    pub fn newest(&self, name: &str) -> Option<&Instance> {
        self.containers
            .iter()
            .filter(|instance| instance.name == name)
            .max_by_key(|instance| instance.attempt)
    }

    /// The run of `name` before its newest.
    pub fn previous(&self, name: &str) -> Option<&Instance> {
        let newest = self.newest(name)?.attempt;
        let older =
            self.containers.iter().filter(|instance| instance.name == name && instance.attempt < newest);
        older.max_by_key(|instance| instance.attempt)
    }

    pub fn running(&self) -> impl Iterator<Item = &Instance> {
        self.containers.iter().filter(|instance| instance.is_alive())
    }

    pub fn is_gone(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

impl Instance {
    /// Whether there may be a process to stop.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Running { .. } | State::Unknown)
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited(exit) => Some(exit),
            State::Created | State::Running { .. } | State::Unknown => None,
        }
    }

    pub fn from_status(status: cri::ContainerStatus, sandbox: &str) -> Self {
        let state = state(&status);
        let metadata = status.metadata.unwrap_or_default();
        Self {
            id: status.id,
            sandbox: sandbox.to_owned(),
            name: metadata.name,
            attempt: metadata.attempt,
            image: status.image.map(shown_image).unwrap_or_default(),
            image_ref: if status.image_id.is_empty() { status.image_ref } else { status.image_id },
            state,
        }
    }
}

fn shown_image(spec: cri::ImageSpec) -> String {
    if spec.user_specified_image.is_empty() { spec.image } else { spec.user_specified_image }
}

fn state(status: &cri::ContainerStatus) -> State {
    match status.state() {
        cri::ContainerState::ContainerCreated => State::Created,
        cri::ContainerState::ContainerRunning => State::Running { since: timestamp(status.started_at) },
        cri::ContainerState::ContainerExited => State::Exited(Exit {
            code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            started: timestamp(status.started_at),
            finished: timestamp(status.finished_at),
        }),
        cri::ContainerState::ContainerUnknown => State::Unknown,
    }
}

impl Sandbox {
    pub fn from_status(status: cri::PodSandboxStatus) -> Self {
        let network = status.network.clone().unwrap_or_default();
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        Self {
            ready: status.state() == cri::PodSandboxState::SandboxReady,
            attempt: status.metadata.map(|metadata| metadata.attempt).unwrap_or_default(),
            created: timestamp(status.created_at),
            ips: std::iter::once(network.ip).chain(more).filter(|ip| !ip.is_empty()).collect(),
            id: status.id,
        }
    }
}

fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default()
}

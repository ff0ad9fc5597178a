//! What an agent is told at its start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use kit::tls::PairPaths;

use crate::cgroup::IoBound;

/// One agent on one host.
#[derive(Clone)]
pub struct Config {
    pub node_name: String,
    /// The address under which the API server and other hosts reach this one.
    pub node_ip: IpAddr,
    pub client: kube::Client,
    /// The container engine's socket.
    pub cri_socket: PathBuf,
    pub kubelet_listen: SocketAddr,
    /// The kubelet server's own certificate.
    pub kubelet_pair: PairPaths,
    /// Those with a certificate of this authority may use the kubelet server.
    pub client_authority: PathBuf,
    /// What outlives a boot: logs and volumes of Pods.
    pub root: PathBuf,
    /// What a boot ends: sockets.
    pub run_dir: PathBuf,
    /// The first part of the names of all cgroups.
    pub cgroup_root: String,
    pub max_pods: u32,
    /// Labels of the Node, beside the well-known ones.
    pub labels: BTreeMap<String, String>,
    pub arbiter: Arbiter,
    /// The folder of batch workers whose master is on another host, with their program in it; `None` where none run, or
    /// their master is on this host.
    pub workers: Option<PathBuf>,
}

/// How the host's arbiter is set.
#[derive(Clone, Debug)]
pub struct Arbiter {
    pub cpu: level0::capacity::Policy,
    pub memory: level0::capacity::Policy,
    /// By what services count against batch.
    pub cpu_basis: level0::reckon::Basis,
    pub memory_basis: level0::reckon::Basis,
    pub mid: level0::mid::Policy,
    pub predict: level0::predict::Policy,
    pub squeeze: level0::squeeze::Policy,
    pub offender: level0::offender::Policy,
    pub evict: level0::evict::Policy,
    pub hands: Hands,
}

/// What is done to groups beside the quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Hands {
    /// Memory that services keep and batch is bound to; `None` leaves it to the kernel.
    pub memory: Option<level0::shield::Policy>,
    /// Whether services with a CPU limit may use what they left over in the period before.
    pub burst: bool,
    /// Whether batch is in the idle class where that is set Pod by Pod, beside a kubelet.
    pub idle: bool,
    /// Weight of batch at disks, where others have 100.
    pub io_weight: Option<u16>,
    /// Of batch, at the disk on which Pods have their files.
    pub io_bound: IoBound,
    /// The most that a batch Pod may send, in bytes per second. Pods that run already keep what they had.
    pub egress: Option<u64>,
    /// Keeps batch to some CPUs; `None` leaves it all that services may use.
    pub pool: Option<level0::pools::Policy>,
}

impl Hands {
    /// The kernel alone.
    pub fn none() -> Self {
        Self {
            memory: None,
            burst: false,
            idle: false,
            io_weight: None,
            io_bound: IoBound::default(),
            egress: None,
            pool: None,
        }
    }
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            memory: Some(level0::shield::Policy::default()),
            burst: true,
            idle: true,
            io_weight: Some(10),
            ..Self::none()
        }
    }
}

impl Default for Arbiter {
    fn default() -> Self {
        Self {
            cpu: level0::capacity::Policy { floor: 0.1, ..level0::capacity::Policy::default() },
            memory: level0::capacity::Policy::default(),
            cpu_basis: level0::reckon::Basis::Use,
            memory_basis: level0::reckon::Basis::Use,
            mid: level0::mid::Policy::default(),
            predict: level0::predict::Policy::default(),
            squeeze: level0::squeeze::Policy::default(),
            offender: level0::offender::Policy::default(),
            evict: level0::evict::Policy::default(),
            hands: Hands::default(),
        }
    }
}

impl Config {
    pub fn pod_logs(&self) -> PathBuf {
        pod_logs(&self.root)
    }

    pub fn volumes(&self) -> PathBuf {
        volumes(&self.root)
    }

    pub fn histories(&self) -> PathBuf {
        self.root.join(HISTORIES)
    }
}

/// The file of the apps' histories.
pub(crate) const HISTORIES: &str = "histories.json";
/// The colocation policy that was followed last.
pub(crate) const POLICY: &str = "policy.json";

pub(crate) fn pod_logs(root: &Path) -> PathBuf {
    root.join("pods")
}

pub(crate) fn volumes(root: &Path) -> PathBuf {
    root.join("volumes")
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("node_name", &self.node_name)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

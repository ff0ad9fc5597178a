//! The pod network: a bridge, a veth pair per sandbox, addresses, masquerade and host ports.
//!
//! ```text
//!   sandbox netns          host
//!   eth0 10.88.0.2  <----> veth...  -- bridge 10.88.0.1 -- nftables: masquerade out, host ports in -- uplink
//! ```
//!
//! What was handed out is a file (`state`), changed under a lock; devices and rules are made to follow it. So a
//! restart finds every address where it was, and no address is given twice.

mod forwarding;
pub mod ipam;
mod links;
mod namespace;
pub mod rules;
pub mod shape;
pub mod state;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::ipam::Cidr;
use self::links::{Links, Pair};
use self::rules::RulesError;
use self::state::{State, StateError};

pub use self::ipam::CidrError;
pub use self::links::LinkError;
pub use self::shape::{Bandwidth, BandwidthError};
pub use self::state::LeaseError;

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    pub bridge: String,
    /// `10.88.0.0/16`; the first address is the bridge's.
    pub pod_cidr: String,
    pub nft_table: String,
    pub state_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A port of the host that leads into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    pub protocol: Protocol,
    /// On this address of the host only.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub ip: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    pub gateway: Ipv4Addr,
    /// `0a:58:0a:58:00:02`
    pub mac: String,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot use the pod network's configuration")]
    Cidr(#[from] CidrError),
    #[error("`{name}` cannot name {what}: letters, digits and `_`, at most {longest}")]
    Name { what: &'static str, name: String, longest: usize },
    #[error("the pod network {cidr} overlaps {address} of device {device}; choose another range")]
    Overlap { cidr: Cidr, address: Ipv4Addr, device: String },
    #[error("cannot switch IPv4 forwarding on")]
    Forwarding { source: io::Error },
    #[error("cannot switch IPv4 forwarding back off")]
    Restore { source: io::Error },
    #[error("cannot keep the book of addresses")]
    State(#[from] StateError),
    #[error("cannot give sandbox {sandbox_id} an address")]
    Lease { sandbox_id: String, source: LeaseError },
    #[error("cannot enter the network namespace `{path}`", path = path.display())]
    Namespace { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("cannot set the rules of the pod network")]
    Rules(#[from] RulesError),
}

/// The pod network of one node.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    cidr: Cidr,
    /// Held from reading the state to setting the rules that follow from it.
    rules: Mutex<()>,
}

impl Network {
    pub fn new(config: NetworkConfig) -> Result<Self, NetworkError> {
        const LONGEST_DEVICE: usize = 15;
        const LONGEST_TABLE: usize = 64;
        check_name("a bridge", &config.bridge, LONGEST_DEVICE)?;
        check_name("an nftables table", &config.nft_table, LONGEST_TABLE)?;
        let cidr = config.pod_cidr.parse()?;
        Ok(Self { config, cidr, rules: Mutex::new(()) })
    }

    /// Brings bridge, forwarding and rules to where they should be; safe to repeat.
    pub async fn ensure(&self) -> Result<(), NetworkError> {
        let links = Links::open()?;
        if let Some((device, address)) = links.overlap(&self.config.bridge, &self.cidr).await? {
            return Err(NetworkError::Overlap { cidr: self.cidr, address, device });
        }
        let enabled_now = forwarding::enable().map_err(|source| NetworkError::Forwarding { source })?;
        if enabled_now {
            self.update(|state| state.restore_forwarding = true)?;
        }
        links.ensure_bridge(&self.config.bridge, &self.cidr).await?;
        forwarding::route_localnet(&self.config.bridge)
            .map_err(|source| NetworkError::Forwarding { source })?;
        self.apply_rules().await
    }

    /// Gives the namespace at `netns` an address and a way out. Repeating it yields the same address.
    pub async fn attach(
        &self,
        sandbox_id: &str,
        netns: &Path,
        host_ports: &[HostPort],
    ) -> Result<Attachment, NetworkError> {
        let lease = self
            .update(|state| state.lease(sandbox_id, &self.cidr, host_ports))?
            .map_err(|source| NetworkError::Lease { sandbox_id: sandbox_id.to_owned(), source })?;
        let attachment = Attachment {
            ip: lease.ip,
            prefix: self.cidr.prefix(),
            gateway: self.cidr.gateway(),
            mac: ipam::shown_mac(ipam::mac(lease.ip)),
        };
        if let Err(error) = self.connect(sandbox_id, netns, lease.ip, !host_ports.is_empty()).await {
            // The first failure is the one to tell; what it leaves behind is taken back here.
            if let Err(error) = self.detach(sandbox_id).await {
                tracing::warn!(sandbox = sandbox_id, error = %kit::Chain(&error), "Address not taken back");
            }
            return Err(error);
        }
        Ok(attachment)
    }

    /// Holds what the sandbox sends and receives to `bandwidth`, once it is attached.
    pub async fn shape(
        &self,
        sandbox_id: &str,
        netns: &Path,
        bandwidth: Bandwidth,
    ) -> Result<(), NetworkError> {
        if let Some(rate) = bandwidth.egress {
            namespace::run_in(netns, async move || Links::open()?.shape(links::POD_DEVICE, rate).await)
                .await?;
        }
        if let Some(rate) = bandwidth.ingress {
            Links::open()?.shape(&self.host_device(sandbox_id), rate).await?;
        }
        Ok(())
    }

    /// Takes the address back; no error if there is none, or if the namespace is gone.
    pub async fn detach(&self, sandbox_id: &str) -> Result<(), NetworkError> {
        Links::open()?.delete(&self.host_device(sandbox_id)).await?;
        // The device first: an address must not be given away while it is still in use.
        let released = self.update(|state| state.release(sandbox_id))?;
        match released {
            Some(lease) if !lease.host_ports.is_empty() => self.apply_rules().await,
            _ => Ok(()),
        }
    }

    /// The sandboxes that hold an address.
    pub fn attached(&self) -> Result<Vec<String>, NetworkError> {
        Ok(State::read(&self.config.state_dir)?.leases.into_keys().collect())
    }

    /// Leaves nothing: no bridge, veth, rule; forwarding as it was found.
    pub async fn teardown(&self) -> Result<(), NetworkError> {
        let _rules = self.rules.lock().await;
        Links::open()?.delete_bridge(&self.config.bridge).await?;
        rules::remove(&self.config.nft_table).await?;
        let state = State::read(&self.config.state_dir)?;
        if state.restore_forwarding {
            forwarding::disable().map_err(|source| NetworkError::Restore { source })?;
        }
        Ok(State::delete(&self.config.state_dir)?)
    }

    /// Brings the loopback device of a namespace up, for sandboxes without the pod network.
    pub async fn loopback_up(netns: &Path) -> Result<(), NetworkError> {
        namespace::run_in(netns, async || Links::open()?.up("lo").await).await
    }

    async fn connect(
        &self,
        sandbox_id: &str,
        netns: &Path,
        ip: Ipv4Addr,
        has_ports: bool,
    ) -> Result<(), NetworkError> {
        let inside = namespace::open(netns)?;
        let is_connected =
            namespace::run_in(netns, async move || Links::open()?.has_pod_device(ip).await).await?;
        if !is_connected {
            let pair = Pair {
                bridge: &self.config.bridge,
                host: &self.host_device(sandbox_id),
                mac: ipam::mac(ip),
                netns: &inside,
            };
            Links::open()?.create_pair(&pair).await?;
        }
        let cidr = self.cidr;
        namespace::run_in(netns, async move || Links::open()?.configure_pod(ip, &cidr).await).await?;
        if has_ports { self.apply_rules().await } else { Ok(()) }
    }

    async fn apply_rules(&self) -> Result<(), NetworkError> {
        let _rules = self.rules.lock().await;
        let state = State::read(&self.config.state_dir)?;
        let text = rules::render(&self.config.nft_table, &self.config.bridge, &self.cidr, &state);
        Ok(rules::apply(&text).await?)
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, NetworkError> {
        Ok(State::update(&self.config.state_dir, change)?)
    }

    /// Device names have 15 letters, ids of sandboxes 64. The bridge is part of it: two nodes may share a host.
    fn host_device(&self, sandbox_id: &str) -> String {
        let digest =
            crate::image::digest::Digest::of(format!("{}/{sandbox_id}", self.config.bridge).as_bytes());
        format!("{}{}", links::HOST_DEVICE_PREFIX, &digest.hex()[..11])
    }
}

fn check_name(what: &'static str, name: &str, longest: usize) -> Result<(), NetworkError> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // Bridges may have a dash; nft takes it in quotes only, which the rules use.
    let is_dashed =
        what == "a bridge" && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if starts_well && (is_plain || is_dashed) && name.len() <= longest {
        Ok(())
    } else {
        Err(NetworkError::Name { what, name: name.to_owned(), longest })
    }
}

#[cfg(test)]
mod tests;

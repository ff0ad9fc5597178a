//! The pod network: a bridge, a veth pair per sandbox, addresses, masquerade and host ports.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    pub bridge: String,
    /// `10.88.0.0/16`; the first address is the bridge's.
    pub pod_cidr: String,
    pub nft_table: String,
    pub state_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A port of the host that leads into a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
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
pub enum NetworkError {}

#[derive(Debug)]
pub struct Network {}

impl Network {
    pub fn new(_config: NetworkConfig) -> Result<Self, NetworkError> {
        todo!()
    }
    /// Brings bridge, forwarding and rules to where they should be; safe to repeat.
    pub async fn ensure(&self) -> Result<(), NetworkError> {
        todo!()
    }
    /// Gives the namespace at `netns` an address and a way out. Repeating it yields the same address.
    pub async fn attach(
        &self,
        _sandbox_id: &str,
        _netns: &Path,
        _host_ports: &[HostPort],
    ) -> Result<Attachment, NetworkError> {
        todo!()
    }
    /// Takes the address back; no error if there is none, or if the namespace is gone.
    pub async fn detach(&self, _sandbox_id: &str) -> Result<(), NetworkError> {
        todo!()
    }
    /// Leaves nothing: no bridge, veth, rule; forwarding as it was found.
    pub async fn teardown(&self) -> Result<(), NetworkError> {
        todo!()
    }
    /// Brings the loopback device of a namespace up, for sandboxes without the pod network.
    pub async fn loopback_up(_netns: &Path) -> Result<(), NetworkError> {
        todo!()
    }
}

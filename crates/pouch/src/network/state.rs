//! Who has which address: one file, changed under a lock, replaced whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::HostPort;
use super::ipam::Cidr;
use crate::image::layout::{Lock, write_atomically};

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot read `{path}`", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is damaged", path = path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("cannot write `{path}`", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Why a sandbox gets no address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    #[error("every address of {cidr} is taken")]
    Exhausted { cidr: String },
    #[error("port {port} of the host belongs to sandbox {owner}")]
    PortTaken { port: u16, owner: String },
}

/// What one sandbox holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub host_ports: Vec<HostPort>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub leases: BTreeMap<String, Lease>,
    last: Option<Ipv4Addr>,
    /// Forwarding was off before we came.
    pub restore_forwarding: bool,
}

impl State {
    pub(super) fn read(directory: &Path) -> Result<Self, StateError> {
        let path = file(directory);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StateError::Parse { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(StateError::Read { path, source }),
        }
    }

    pub(super) fn update<T>(directory: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, StateError> {
        let path = file(directory);
        let write = |source| StateError::Write { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(write)?;
        let _lock =
            Lock::take(&directory.join("network.lock"), FlockOperation::LockExclusive).map_err(write)?;
        let mut state = Self::read(directory)?;
        let result = change(&mut state);
        let bytes =
            serde_json::to_vec(&state).map_err(|source| StateError::Parse { path: path.clone(), source })?;
        write_atomically(&path, &bytes).map_err(write)?;
        Ok(result)
    }

    pub(super) fn delete(directory: &Path) -> Result<(), StateError> {
        for path in [file(directory), directory.join("network.lock")] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StateError::Write { path, source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The address of a sandbox: the one that it has, or a new one.
    pub fn lease(
        &mut self,
        sandbox_id: &str,
        cidr: &Cidr,
        host_ports: &[HostPort],
    ) -> Result<Lease, LeaseError> {
        for (owner, lease) in self.leases.iter().filter(|(owner, _)| *owner != sandbox_id) {
            let clash =
                host_ports.iter().find(|wanted| lease.host_ports.iter().any(|held| clashes(held, wanted)));
            if let Some(port) = clash {
                return Err(LeaseError::PortTaken { port: port.host_port, owner: owner.clone() });
            }
        }
        let held = self.leases.get(sandbox_id).map(|lease| lease.ip).filter(|ip| cidr.contains(*ip));
        let ip = match held {
            Some(ip) => ip,
            None => {
                let taken: BTreeSet<Ipv4Addr> = self.leases.values().map(|lease| lease.ip).collect();
                let free = cidr.next_free(&taken, self.last);
                free.ok_or_else(|| LeaseError::Exhausted { cidr: cidr.to_string() })?
            }
        };
        self.last = Some(ip);
        let lease = Lease { ip, host_ports: host_ports.to_vec() };
        self.leases.insert(sandbox_id.to_owned(), lease.clone());
        Ok(lease)
    }

    pub fn release(&mut self, sandbox_id: &str) -> Option<Lease> {
        self.leases.remove(sandbox_id)
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("network.json")
}

/// One port of the host leads to one place; on different addresses there is room for both.
fn clashes(one: &HostPort, other: &HostPort) -> bool {
    let same_address = match (one.host_ip, other.host_ip) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    one.protocol == other.protocol && one.host_port == other.host_port && same_address
}

#[cfg(test)]
mod tests {
    use super::{LeaseError, State};
    use crate::network::ipam::Cidr;
    use crate::network::{HostPort, Protocol};

    fn port(host_port: u16) -> HostPort {
        HostPort { protocol: Protocol::Tcp, host_ip: None, host_port, container_port: 80 }
    }

    #[test]
    fn a_lease_survives_a_restart_and_a_port_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let cidr: Cidr = "10.9.0.0/29".parse().unwrap();
        let lease = |id: &str, ports: &[HostPort]| {
            State::update(directory.path(), |state| state.lease(id, &cidr, ports)).unwrap()
        };
        let first = lease("a", &[port(8080)]).unwrap();
        assert_eq!(lease("a", &[port(8080)]).unwrap(), first);
        let refused = LeaseError::PortTaken { port: 8080, owner: "a".to_owned() };
        assert_eq!(lease("b", &[port(8080)]).unwrap_err(), refused);
        for id in ["b", "c", "d", "e"] {
            assert_ne!(lease(id, &[]).unwrap().ip, first.ip);
        }
        assert_eq!(lease("f", &[]).unwrap_err(), LeaseError::Exhausted { cidr: "10.9.0.0/29".to_owned() });
        State::update(directory.path(), |state| state.release("a")).unwrap();
        assert_eq!(lease("f", &[port(8080)]).unwrap().ip, first.ip);
    }
}

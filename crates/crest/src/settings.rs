//! Where everything of one Crest instance stands: folders, ports, names of kernel objects.
//!
//! All of it follows from the instance's name, so that several instances (a test's, a user's) never meet.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// One instance on this host.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) instance: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) api_port: u16,
    pub(crate) kubelet_port: u16,
    pub(crate) pod_cidr: String,
    pub(crate) service_cidr: String,
    /// Registries to ask first when an image is pulled.
    pub(crate) registry_mirrors: Vec<pouch::image::Mirror>,
    /// Folders above the instance's own, `/var/lib` and `/run` unless a test says otherwise.
    pub(crate) state_parent: PathBuf,
    pub(crate) run_parent: PathBuf,
    /// Instead of the folder that the instance's name gives.
    pub(crate) own_state_dir: Option<PathBuf>,
    /// Instead of `pki` in the state folder: an authority that several servers share.
    pub(crate) own_pki_dir: Option<PathBuf>,
}

impl Settings {
    /// The same instance with other folders, where they are given.
    pub(crate) fn with_folders(&self, state_dir: Option<PathBuf>, pki_dir: Option<PathBuf>) -> Self {
        Self { own_state_dir: state_dir, own_pki_dir: pki_dir, ..self.clone() }
    }

    /// What survives a reboot: objects, certificates, images, logs.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.own_state_dir.clone().unwrap_or_else(|| self.state_parent.join(&self.instance))
    }

    /// What a reboot clears: sockets, locks, pinned namespaces.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.run_parent.join(&self.instance)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state_dir().join("kubeconfig")
    }

    pub(crate) fn pki_dir(&self) -> PathBuf {
        self.own_pki_dir.clone().unwrap_or_else(|| self.state_dir().join("pki"))
    }

    pub(crate) fn store_file(&self) -> PathBuf {
        self.state_dir().join("store.redb")
    }

    pub(crate) fn pouch_dir(&self) -> PathBuf {
        self.state_dir().join("pouch")
    }

    /// Who did what, as lines of JSON.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.state_dir().join("audit.log")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.state_dir().join("crest.log")
    }

    pub(crate) fn cri_socket(&self) -> PathBuf {
        self.run_dir().join("pouch.sock")
    }

    /// Mounted into batch workers: the binary and the socket over which they take instances.
    pub(crate) fn worker_dir(&self) -> PathBuf {
        self.run_dir().join("worker")
    }

    pub(crate) fn api_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.api_port))
    }

    pub(crate) fn kubelet_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.kubelet_port))
    }

    /// nftables knows no `-` in names.
    pub(crate) fn nft_table(&self) -> String {
        self.instance.replace('-', "_")
    }

    /// Interface names hold at most 15 bytes.
    pub(crate) fn bridge(&self) -> String {
        let name: String = self.instance.chars().take(14).collect();
        format!("{name}0")
    }
}

/// Reads an instance's name, which becomes part of paths, cgroups and interface names.
pub(crate) fn parse_instance(text: &str) -> Result<String, String> {
    let sound = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if starts && text.len() <= 14 && text.as_bytes().iter().all(sound) {
        return Ok(text.to_owned());
    }
    Err("an instance's name is 1 to 14 lower-case letters, digits and '-', and begins with a letter"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_instance;

    #[test]
    fn names_that_fit_everywhere() {
        for (text, sound) in
            [("crest", true), ("t-1", true), ("", false), ("../x", false), ("Ab", false), ("1a", false)]
        {
            assert_eq!(parse_instance(text).is_ok(), sound, "{text}");
        }
        assert!(parse_instance("a-name-that-is-too-long").is_err());
    }
}

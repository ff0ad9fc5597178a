//! The certificates of a one-machine cluster, all from the cluster's own authority, and the administrator's
//! kubeconfig: made at the start, and anew while the cluster runs, long before they end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use api::authority::{Authority, Holder, write_secret};
use jiff::Timestamp;
use kit::tls::PairPaths;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// Where each party's certificate lies.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    /// The authority's key, for the one controller that signs in its name.
    pub(crate) authority_key: PathBuf,
    pub(super) api_server: PairPaths,
    /// With which the API server calls the agents.
    pub(super) kubelet_client: PairPaths,
    pub(super) agent: PairPaths,
    /// The keys of service-account tokens, the one that signs first.
    pub(super) service_account_keys: Vec<PathBuf>,
    /// The key under which Secrets lie in the store.
    pub(super) encryption_key: PathBuf,
    /// The administrator's kubeconfig, with all data embedded.
    kubeconfig: String,
}

/// How often it is looked whether a certificate ends soon.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Makes anew what will end within weeks, for as long as the cluster runs; servers and clients follow their files.
pub(crate) async fn keep_current(
    settings: Settings,
    node: String,
    mut held: Certificates,
    token: CancellationToken,
) {
    while token.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_some() {
        if let Err(error) = held.renew(&settings, &node, kit::clock::wall()) {
            tracing::warn!(error = %format!("{error:#}"), "Certificates not renewed; they are looked at in an hour");
        }
    }
}

impl Certificates {
    /// Makes what is missing or ends soon. The kubeconfig is written only if it says something new: its owner may have
    /// changed what else stands in it.
    fn renew(&mut self, settings: &Settings, node: &str, now: Timestamp) -> anyhow::Result<()> {
        let issued = issue(settings, node, now)?;
        if issued.kubeconfig != self.kubeconfig {
            issued.write_kubeconfig(settings)?;
        }
        *self = issued;
        Ok(())
    }

    fn write_kubeconfig(&self, settings: &Settings) -> anyhow::Result<()> {
        let path = settings.kubeconfig();
        write_secret(&path, self.kubeconfig.as_bytes())
            .with_context(|| format!("cannot write the kubeconfig `{}`", path.display()))
    }
}

/// Everything that a cluster needs at its start.
pub(crate) fn prepare(settings: &Settings, node: &str) -> anyhow::Result<Certificates> {
    let certificates = issue(settings, node, kit::clock::wall())?;
    certificates.write_kubeconfig(settings)?;
    Ok(certificates)
}

/// Makes what is missing or ends soon.
fn issue(settings: &Settings, node: &str, now: Timestamp) -> anyhow::Result<Certificates> {
    let authority =
        Authority::build(&settings.pki_dir(), now).context("cannot set up the cluster's authority")?;
    let address = IpAddr::from(settings.address);
    let service = first_address(&settings.service_cidr)?;
    let holder = Holder::api_server([node.to_owned()], [address], service);
    // Servers that share an authority have each a certificate of their own.
    let name = match &settings.own_pki_dir {
        None => "api-server".to_owned(),
        Some(_) => format!("api-server-{}-{}", settings.address, settings.api_port),
    };
    let api_server = authority.certificate(&name, &holder, now)?;
    let holder = Holder::client("kube-apiserver-kubelet-client", "system:masters");
    let kubelet_client = authority.certificate("kubelet-client", &holder, now)?;
    let agent = authority.certificate("agent", &Holder::agent(node, [address]), now)?;
    let admin = authority.certificate("admin", &Holder::client("kubernetes-admin", "system:masters"), now)?;
    let server = format!("https://{}", settings.api_address());
    let kubeconfig = authority.kubeconfig(&server, "admin", &admin)?;
    Ok(Certificates {
        authority: authority.certificate_path(),
        authority_key: authority.key_path(),
        api_server,
        kubelet_client,
        agent,
        service_account_keys: authority.service_account_keys()?,
        encryption_key: authority.encryption_key()?,
        kubeconfig,
    })
}

/// The first address of a range such as `10.96.0.0/16`: that of the Service `kubernetes`.
fn first_address(cidr: &str) -> anyhow::Result<IpAddr> {
    let network = cidr.split('/').next().unwrap_or_default();
    let network: std::net::Ipv4Addr =
        network.parse().with_context(|| format!("`{cidr}` is no range of addresses"))?;
    Ok(IpAddr::from(std::net::Ipv4Addr::from(u32::from(network).saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use jiff::SignedDuration;

    use super::prepare;
    use crate::cli::Cli;

    #[test]
    fn what_ends_soon_is_made_anew_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Cli::parse_from(["crest", "status"])
            .settings()
            .with_folders(Some(folder.path().to_owned()), None);
        let mut certificates = prepare(&settings, "node-1").unwrap();
        let server = certificates.api_server.certificate.clone();
        let read =
            || (fs::read_to_string(&server).unwrap(), fs::read_to_string(settings.kubeconfig()).unwrap());
        let first = read();
        let mut after = |days: i64| {
            let now = kit::clock::wall() + SignedDuration::from_hours(24 * days);
            certificates.renew(&settings, "node-1", now).unwrap();
            read()
        };

        fs::write(settings.kubeconfig(), "the owner's own words").unwrap();
        let later = after(300);
        assert_eq!((&later.0, later.1.as_str()), (&first.0, "the owner's own words"));
        let renewed = after(340);
        assert_ne!(renewed.0, first.0);
        assert!(renewed.1 != first.1 && renewed.1.contains("client-certificate-data"), "{}", renewed.1);
    }
}

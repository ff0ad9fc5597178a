//! The certificates of a one-machine cluster, all from the cluster's own authority, and the administrator's
//! kubeconfig.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use api::authority::{Authority, Holder, write_secret};
use kit::tls::PairPaths;

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
}

pub(crate) fn prepare(settings: &Settings, node: &str) -> anyhow::Result<Certificates> {
    let now = kit::clock::wall();
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
    let path = settings.kubeconfig();
    write_secret(&path, kubeconfig.as_bytes())
        .with_context(|| format!("cannot write the kubeconfig `{}`", path.display()))?;
    Ok(Certificates {
        authority: authority.certificate_path(),
        authority_key: authority.key_path(),
        api_server,
        kubelet_client,
        agent,
        service_account_keys: authority.service_account_keys()?,
        encryption_key: authority.encryption_key()?,
    })
}

/// The first address of a range such as `10.96.0.0/16`: that of the Service `kubernetes`.
fn first_address(cidr: &str) -> anyhow::Result<IpAddr> {
    let network = cidr.split('/').next().unwrap_or_default();
    let network: std::net::Ipv4Addr =
        network.parse().with_context(|| format!("`{cidr}` is no range of addresses"))?;
    Ok(IpAddr::from(std::net::Ipv4Addr::from(u32::from(network).saturating_add(1))))
}

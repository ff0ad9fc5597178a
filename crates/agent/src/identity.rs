//! Who an agent is to others: certificates that it asks the cluster for, and asks for anew before they end.
//!
//! ```text
//!   key of its own ──request──► CertificateSigningRequest ──approved, signed──► <folder>/<purpose>.crt and .key
//!                                          ▲ by a bootstrap token at first, by its own certificate ever after
//! ```
//! The key never leaves the host. A pair is replaced in one step, so a crash leaves the old one or the new one.

mod decide;

#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kit::tls::PairPaths;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::wait::{self, await_condition};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

pub use decide::{Validity, renewal};

/// How long an approver may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To speak to the API server.
    Client,
    /// To be spoken to, at these addresses.
    Serving(Vec<IpAddr>),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot make a key and a request for a certificate")]
    Key { source: rcgen::Error },
    #[error("cannot ask for a certificate")]
    Ask { source: Box<kube::Error> },
    #[error("cannot wait for the certificate of request `{request}`")]
    Wait { request: String, source: wait::Error },
    #[error(
        "nobody approved request `{request}` in time; approve it with `kubectl certificate approve {request}`"
    )]
    Unapproved { request: String },
    #[error("request `{request}` was refused: {why}")]
    Refused { request: String, why: String },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
}

/// Where the certificates of one node lie.
#[derive(Clone, Debug)]
pub struct Identity {
    pub folder: PathBuf,
    pub node: String,
}

impl Identity {
    /// The files of a certificate for `purpose`, there or not.
    pub fn paths(&self, purpose: &Purpose) -> PairPaths {
        let name = match purpose {
            Purpose::Client => "client",
            Purpose::Serving(_) => "serving",
        };
        let file = |extension: &str| self.folder.join(format!("{name}.{extension}"));
        PairPaths { certificate: file("crt"), key: file("key") }
    }

    /// From when to when the certificate for `purpose` is good; `None` if there is none that can be used.
    pub fn validity(&self, purpose: &Purpose) -> Option<Validity> {
        let paths = self.paths(purpose);
        let (certificate, key) = (fs::read_to_string(&paths.certificate), fs::read_to_string(&paths.key));
        Validity::of(&certificate.ok()?, &key.ok()?)
    }

    /// Asks for a certificate and waits until it is there.
    pub async fn request(&self, client: &Client, purpose: &Purpose) -> Result<Validity, IdentityError> {
        let failed = |source| IdentityError::Key { source };
        let key = KeyPair::generate().map_err(failed)?;
        let pem = self.wanted(purpose).map_err(failed)?.serialize_request(&key).map_err(failed)?;
        let request = request(&self.node, purpose, pem.pem().map_err(failed)?);
        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        let asked = requests.create(&PostParams::default(), &request).await;
        let name = asked.map_err(|source| IdentityError::Ask { source: Box::new(source) })?.name_any();
        tracing::info!(request = name, "Asked for a certificate");
        let certificate = issued(requests, &name).await?;
        let paths = self.paths(purpose);
        save(&paths.key, key.serialize_pem().as_bytes())?;
        save(&paths.certificate, &certificate)?;
        let why = || IdentityError::Refused {
            request: name.clone(),
            why: "what was issued is no certificate for the key".to_owned(),
        };
        self.validity(purpose).ok_or_else(why)
    }

    /// The certificate to serve with: that which was issued or, until there is one, one that vouches for itself, so that
    /// the agent can make its node known at all.
    pub fn serving_pair(&self, serving: &Purpose) -> Result<PairPaths, IdentityError> {
        if self.validity(serving).is_some() {
            return Ok(self.paths(serving));
        }
        let failed = |source| IdentityError::Key { source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = self.wanted(serving).and_then(|params| params.self_signed(&key)).map_err(failed)?;
        let [certificate_path, key_path] =
            ["crt", "key"].map(|extension| self.folder.join(format!("initial.{extension}")));
        save(&key_path, key.serialize_pem().as_bytes())?;
        save(&certificate_path, certificate.pem().as_bytes())?;
        Ok(PairPaths { certificate: certificate_path, key: key_path })
    }

    fn wanted(&self, purpose: &Purpose) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node));
        if let Purpose::Serving(addresses) = purpose {
            params.subject_alt_names.push(SanType::DnsName(self.node.as_str().try_into()?));
            params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        }
        Ok(params)
    }
}

fn request(node: &str, purpose: &Purpose, pem: String) -> CertificateSigningRequest {
    let (signer, usage) = match purpose {
        Purpose::Client => ("kubernetes.io/kube-apiserver-client-kubelet", "client auth"),
        Purpose::Serving(_) => ("kubernetes.io/kubelet-serving", "server auth"),
    };
    CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(format!("node-{node}-")), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), usage.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    }
}

/// Waits for the certificate of a request.
async fn issued(requests: Api<CertificateSigningRequest>, name: &str) -> Result<Vec<u8>, IdentityError> {
    let is_decided = |request: Option<&CertificateSigningRequest>| {
        request.is_none_or(|request| decide::outcome(request).is_some())
    };
    let request = || name.to_owned();
    let waiting = tokio::time::timeout(PATIENCE, await_condition(requests, name, is_decided));
    let decided = waiting.await.map_err(|_| IdentityError::Unapproved { request: request() })?;
    let decided = decided.map_err(|source| IdentityError::Wait { request: request(), source })?;
    let refused = |why: String| IdentityError::Refused { request: request(), why };
    match decided.as_ref().and_then(decide::outcome) {
        Some(Ok(certificate)) => Ok(certificate),
        Some(Err(why)) => Err(refused(why)),
        None => Err(refused("it was deleted".to_owned())),
    }
}

/// Writes a file that its owner alone may read, in one step.
fn save(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let part = path.with_extension("part");
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}

/// How long until the certificates that end at these times are to be asked for anew.
pub fn until_renewal(certificates: &[Validity], now: Timestamp) -> Duration {
    certificates.iter().map(|validity| renewal(*validity, now)).min().unwrap_or(PATIENCE)
}

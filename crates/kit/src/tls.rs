//! TLS from PEM files: server and client configurations, and who the peer is by its certificate.
//!
//! ring is named as the provider in each configuration, so nothing depends on a process-wide default. A pair that is
//! replaced on disk is taken up by servers and clients that run.

mod live_pair;
mod trusting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use self::live_pair::LivePair;

/// Where a certificate (with its chain) and its private key lie, both in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairPaths {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a TLS configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read a certificate from `{path}`")]
    Certificate { path: PathBuf, source: pem::Error },
    #[error("`{path}` holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("cannot read a private key from `{path}`")]
    Key { path: PathBuf, source: pem::Error },
    #[error("cannot trust the certificates in `{path}`")]
    Authority { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot use the certificate `{certificate}` with the key `{key}`")]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot choose TLS versions")]
    Versions { source: rustls::Error },
}

/// Who a peer is by a certificate that was verified against the authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject's common name: the user.
    pub common_name: String,
    /// The subject's organizations: the groups.
    pub organizations: Vec<String>,
}

/// The crypto provider of all our TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes ring the process's default, for libraries that ask for one. A second call changes nothing.
pub fn install_default_provider() {
    // An error means that a default is installed already, by an earlier call.
    let _already_set = rustls::crypto::ring::default_provider().install_default();
}

/// A server's side, offering HTTP/2 and HTTP/1.1. With `client_authority`, clients may present certificates,
/// which must be signed by it; those that present none are let in without an identity.
pub fn server(pair: &PairPaths, client_authority: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Versions { source })?;
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities(path)?, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Authority { path: path.to_owned(), source: error.into() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let pair = LivePair::load(pair, crate::clock::monotonic())?;
    let mut config = builder.with_cert_resolver(Arc::new(pair));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's side for HTTP/1.1: trusts servers signed by `server_authority`, and presents `pair` if asked to.
pub fn client(pair: Option<&PairPaths>, server_authority: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Versions { source })?
        .with_root_certificates(authorities(server_authority)?);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            builder.with_client_cert_resolver(Arc::new(LivePair::load(pair, crate::clock::monotonic())?))
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A client's side that trusts whoever answers: only to be told what proves itself otherwise.
pub fn client_without_trust() -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Versions { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trusting::Trusting))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// `sha256:` and the hash of the key of a certificate in PEM: by which an authority is known when its certificate is
/// not at hand. `None` if the text is no certificate.
pub fn key_hash(certificate: &str) -> Option<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let hash = ring::digest::digest(&ring::digest::SHA256, certificate.public_key().raw);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{hex}"))
}

/// All certificates in a PEM file; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The first private key in a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Key { path: path.to_owned(), source })
}

/// What a certificate says of its holder; empty where it says nothing that can be read.
pub fn identity(certificate: &CertificateDer<'_>) -> PeerIdentity {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return PeerIdentity::default();
    };
    let subject = parsed.subject();
    let text =
        |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    PeerIdentity {
        common_name: subject.iter_common_name().find_map(text).unwrap_or_default(),
        organizations: subject.iter_organization().filter_map(text).collect(),
    }
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority { path: path.to_owned(), source: error.into() })?;
    }
    Ok(Arc::new(roots))
}

fn mismatch(pair: &PairPaths, source: rustls::Error) -> TlsError {
    TlsError::Pair { certificate: pair.certificate.clone(), key: pair.key.clone(), source }
}

#[cfg(test)]
pub(crate) mod tests;

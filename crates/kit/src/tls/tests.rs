//! Certificates made for a test, and what is said of files that are none.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{PairPaths, TlsError};

/// An authority with one server and one client certificate, in a directory that is removed with it.
pub(crate) struct Pki {
    directory: tempfile::TempDir,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text).unwrap();
        write("ca.crt", authority.pem());
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "dev");
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.crt"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn pair(&self, name: &str) -> PairPaths {
        PairPaths {
            certificate: self.path().join(format!("{name}.crt")),
            key: self.path().join(format!("{name}.key")),
        }
    }

    /// A server that asks for client certificates.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        super::server(&self.pair("server"), Some(&self.authority())).unwrap()
    }

    /// A client with a certificate.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        super::client(Some(&self.pair("client")), &self.authority()).unwrap()
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.path().join("ca.crt")
    }

    pub(crate) fn connector(&self, client: Option<&str>) -> TlsConnector {
        let pair = client.map(|name| self.pair(name));
        TlsConnector::from(super::client(pair.as_ref(), &self.authority()).unwrap())
    }

    pub(crate) async fn connect_http2(&self, address: SocketAddr) -> TlsStream<TcpStream> {
        let client = self.client();
        let mut config = (*client).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(name(), stream).await.unwrap()
    }
}

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn check(outcome: Result<impl Sized, TlsError>, directory: &Path, expected: &str) {
    let error = outcome.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string().replace(&*directory.to_string_lossy(), "DIR"), expected);
}

#[test]
fn bad_files_are_named() {
    let pki = Pki::new();
    let directory = pki.path();
    std::fs::write(directory.join("empty.crt"), "").unwrap();
    std::fs::write(directory.join("empty.key"), "").unwrap();
    std::fs::copy(directory.join("client.key"), directory.join("swapped.key")).unwrap();
    std::fs::copy(directory.join("server.crt"), directory.join("swapped.crt")).unwrap();
    check(super::server(&pki.pair("none"), None), directory, "cannot read a certificate from `DIR/none.crt`");
    check(super::server(&pki.pair("empty"), None), directory, "`DIR/empty.crt` holds no certificate");
    check(
        super::private_key(&directory.join("empty.key")),
        directory,
        "cannot read a private key from `DIR/empty.key`",
    );
    let swapped = "cannot use the certificate `DIR/swapped.crt` with the key `DIR/swapped.key`";
    check(super::server(&pki.pair("swapped"), None), directory, swapped);
    check(super::client(Some(&pki.pair("swapped")), &pki.authority()), directory, swapped);
    check(
        super::client(None, &directory.join("empty.crt")),
        directory,
        "`DIR/empty.crt` holds no certificate",
    );
}

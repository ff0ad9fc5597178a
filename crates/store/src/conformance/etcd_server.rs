//! A real etcd for tests: one member on free ports of the loopback, with a data directory of its own.

use std::io::{BufRead, BufReader, Error, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kit::tls::PairPaths;

/// A running etcd. Dropping it ends it; its data stays, as the caller owns the directory.
#[derive(Debug)]
pub struct EtcdServer {
    data: PathBuf,
    ports: [u16; 2],
    tls: Option<(PathBuf, PairPaths)>,
    child: Option<Child>,
}

impl EtcdServer {
    /// Starts one with its data in the folder `data`; `None` where etcd is not installed, which is said.
    pub fn start(data: &Path) -> std::io::Result<Option<Self>> {
        Self::start_with(data, None)
    }

    /// As [`EtcdServer::start`], but over TLS: it presents `pair` and asks for certificates of the authority.
    pub fn start_tls(data: &Path, authority: &Path, pair: PairPaths) -> std::io::Result<Option<Self>> {
        Self::start_with(data, Some((authority.to_owned(), pair)))
    }

    fn start_with(data: &Path, tls: Option<(PathBuf, PairPaths)>) -> std::io::Result<Option<Self>> {
        let ports = [free_port()?, free_port()?];
        let mut server = Self { data: data.to_owned(), ports, tls, child: None };
        match server.resume() {
            Ok(()) => Ok(Some(server)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: etcd is not installed (Debian's package etcd-server)");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[0])
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to end.
            _ = child.kill();
            _ = child.wait();
        }
    }

    /// Starts it again where it was; returns once it serves.
    pub fn resume(&mut self) -> std::io::Result<()> {
        let peer = format!("http://127.0.0.1:{}", self.ports[1]);
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(&self.data).args(["--name", "test", "--logger", "zap"]);
        command.args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
        // The suite writes values of some MiB; etcd's own limit is 1.5 MiB.
        command.args(["--max-request-bytes", "10485760", "--initial-cluster", &format!("test={peer}")]);
        for option in ["--listen-client-urls", "--advertise-client-urls"] {
            command.args([option, &self.url()]);
        }
        for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.args([option, &peer]);
        }
        if let Some((authority, pair)) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(authority);
            command.arg("--cert-file").arg(&pair.certificate).arg("--key-file").arg(&pair.key);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let ready = wait_until_ready(&mut child);
        self.child = Some(child);
        ready
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads what it logs until it says that it serves clients.
fn wait_until_ready(child: &mut Child) -> std::io::Result<()> {
    let stderr = child.stderr.take().ok_or_else(|| Error::other("etcd has no standard error"))?;
    let mut lines = BufReader::new(stderr);
    let mut said = String::new();
    loop {
        let start = said.len();
        if lines.read_line(&mut said)? == 0 {
            return Err(Error::other(format!("etcd ended at its start: {said}")));
        }
        if said[start..].contains("serving client traffic") {
            // A pipe that nobody reads would stop it some day.
            std::thread::spawn(move || _ = std::io::copy(&mut lines.by_ref(), &mut std::io::sink()));
            return Ok(());
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

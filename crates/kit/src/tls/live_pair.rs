//! A certificate and key that are followed: replaced on disk, they are presented from the next handshakes on, while
//! connections that stand go on with what they began with.
//!
//! Two files are replaced one after the other, so in between they do not match. Then, and when they cannot be read, what
//! was presented before goes on being presented, and the files are looked at again.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{PairPaths, TlsError, certificates, mismatch, private_key, provider};

/// How often, at most, the files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is presented, and where it comes from.
#[derive(Debug)]
pub(super) struct LivePair {
    paths: PairPaths,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    key: Arc<CertifiedKey>,
    stamp: Stamp,
    looked: Instant,
}

/// By which two states of the files are told apart; `None` for a file that cannot be looked at.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl LivePair {
    pub(super) fn load(paths: &PairPaths, now: Instant) -> Result<Self, TlsError> {
        // The stamp first: what changes while it is read is read again.
        let stamp = stamp(paths);
        let held = Held { key: load(paths)?, stamp, looked: now };
        Ok(Self { paths: paths.clone(), held: Mutex::new(held) })
    }

    /// What to present now.
    fn current(&self, now: Instant) -> Arc<CertifiedKey> {
        let mut held = self.held.lock();
        if now.saturating_duration_since(held.looked) >= LOOK_AGAIN {
            held.looked = now;
            self.follow(&mut held);
        }
        held.key.clone()
    }

    fn follow(&self, held: &mut Held) {
        let stamp = stamp(&self.paths);
        if stamp == held.stamp {
            return;
        }
        let certificate = self.paths.certificate.display();
        match load(&self.paths) {
            Ok(key) => {
                tracing::info!(%certificate, "Certificate taken up");
                (held.key, held.stamp) = (key, stamp);
            }
            Err(error) => {
                tracing::warn!(%certificate, error = %crate::Chain(&error), "Goes on with the old certificate");
            }
        }
    }
}

fn stamp(paths: &PairPaths) -> Stamp {
    [&paths.certificate, &paths.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(paths: &PairPaths) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, key) = (certificates(&paths.certificate)?, private_key(&paths.key)?);
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|source| mismatch(paths, source))
}

impl ResolvesServerCert for LivePair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current(crate::clock::monotonic()))
    }
}

impl ResolvesClientCert for LivePair {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current(crate::clock::monotonic()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOK_AGAIN, LivePair};
    use crate::tls::certificates;
    use crate::tls::tests::Pki;

    #[test]
    fn what_is_replaced_is_presented_from_then_on() {
        let pki = Pki::new();
        let (server, client) = (pki.pair("server"), pki.pair("client"));
        let start = crate::clock::monotonic();
        let pair = LivePair::load(&server, start).unwrap();
        let presented = |rounds: u32| pair.current(start + rounds * LOOK_AGAIN).cert.clone();
        let (old, new) =
            (certificates(&server.certificate).unwrap(), certificates(&client.certificate).unwrap());

        assert_eq!(presented(0), old);
        std::fs::copy(&client.key, &server.key).unwrap();
        assert_eq!(presented(1), old, "the key came first and does not match yet");
        std::fs::remove_file(&server.certificate).unwrap();
        assert_eq!(presented(2), old, "there is no certificate");
        std::fs::copy(&client.certificate, &server.certificate).unwrap();
        assert_eq!(pair.current(start + 2 * LOOK_AGAIN).cert, old, "it is not time to look");
        assert_eq!(presented(3), new);
    }
}

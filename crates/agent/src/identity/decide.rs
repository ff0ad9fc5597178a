//! What a request has come to, and when a certificate is to be renewed. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{KeyPair, PublicKeyData};

/// From when to when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Validity {
    /// Of a certificate and its key, both in PEM; `None` if they are not that.
    pub(super) fn of(certificate: &str, key: &str) -> Option<Self> {
        let key = KeyPair::from_pem(key).ok()?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        if certificate.public_key().subject_public_key.data != key.der_bytes() {
            return None;
        }
        let moment = |seconds| Timestamp::from_second(seconds).ok();
        let validity = certificate.validity();
        Some(Self {
            start: moment(validity.not_before.timestamp())?,
            end: moment(validity.not_after.timestamp())?,
        })
    }

    pub fn holds(self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }
}

/// How long a certificate is used before another is asked for: four fifths of its life.
pub fn renewal(validity: Validity, now: Timestamp) -> Duration {
    let life = validity.end.duration_since(validity.start);
    let due = validity.start.saturating_add(SignedDuration::from_secs(life.as_secs() / 5 * 4));
    let left = due.unwrap_or(validity.end).duration_since(now);
    Duration::try_from(left).unwrap_or_default()
}

/// The certificate, or why there will be none; `None` while neither is sure.
pub(super) fn outcome(request: &CertificateSigningRequest) -> Option<Result<Vec<u8>, String>> {
    let status = request.status.as_ref()?;
    let refusal = status.conditions.iter().flatten().find(|condition| {
        matches!(condition.type_.as_str(), "Denied" | "Failed") && condition.status == "True"
    });
    if let Some(refusal) = refusal {
        return Some(Err(refusal.message.clone().or_else(|| refusal.reason.clone()).unwrap_or_default()));
    }
    status.certificate.as_ref().map(|certificate| Ok(certificate.0.clone()))
}

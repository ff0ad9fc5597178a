//! Makes certificates, and reads what is in those that were made before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::{AUTHORITY_DAYS, CERTIFICATE_DAYS, days};

/// Whom a certificate is for. One that has names or addresses is good for a server, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The common name: the user.
    pub user: String,
    /// The organization: the group.
    pub group: Option<String>,
    /// Host names that a server answers to.
    pub names: BTreeSet<String>,
    /// Addresses that a server answers at.
    pub addresses: BTreeSet<IpAddr>,
}

impl Holder {
    /// A client: `user` in `group`.
    pub fn client(user: &str, group: &str) -> Self {
        Self { user: user.to_owned(), group: Some(group.to_owned()), ..Self::default() }
    }

    /// The API server at these names and addresses, besides those that every cluster's server has. `service` is
    /// the address of the Service `kubernetes`, the first of the service range.
    pub fn api_server(
        names: impl IntoIterator<Item = String>,
        addresses: impl IntoIterator<Item = IpAddr>,
        service: IpAddr,
    ) -> Self {
        let usual = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), service];
        Self {
            user: "kube-apiserver".to_owned(),
            group: None,
            names: usual.map(str::to_owned).into_iter().chain(names).collect(),
            addresses: loopback.into_iter().chain(addresses).collect(),
        }
    }

    /// A node's agent: a client of the API server and a server of the kubelet API, by one certificate.
    pub fn agent(node: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            names: BTreeSet::from([node.to_owned()]),
            addresses: addresses.into_iter().collect(),
            ..Self::client(
                &format!("{}{node}", crate::authentication::NODE_PREFIX),
                crate::authentication::NODES,
            )
        }
    }

    fn is_server(&self) -> bool {
        !self.names.is_empty() || !self.addresses.is_empty()
    }
}

/// A certificate for `holder` and its new key, in PEM.
pub(super) fn issue(
    issuer: &Issuer<'_, KeyPair>,
    holder: &Holder,
    now: Timestamp,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = valid_for(CERTIFICATE_DAYS, now);
    params.distinguished_name.push(DnType::CommonName, holder.user.as_str());
    if let Some(group) = &holder.group {
        params.distinguished_name.push(DnType::OrganizationName, group.as_str());
    }
    for name in &holder.names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(holder.addresses.iter().copied().map(SanType::IpAddress));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if holder.is_server() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The authority's own certificate, in PEM.
pub(super) fn self_signed(key: &KeyPair, now: Timestamp) -> Result<String, rcgen::Error> {
    let mut params = valid_for(AUTHORITY_DAYS, now);
    params.distinguished_name.push(DnType::CommonName, "crest");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params.self_signed(key)?.pem())
}

/// Valid from yesterday, for peers whose clocks are late.
fn valid_for(count: i64, now: Timestamp) -> CertificateParams {
    let date = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(now - days(1));
    params.not_after = date(now + days(count));
    params
}

/// What a certificate says.
pub(super) struct Facts {
    pem: Pem,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Facts {
    /// `None` if the text is no certificate.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
        let (start, end) = {
            let validity = pem.parse_x509().ok()?.validity().clone();
            (validity.not_before.timestamp(), validity.not_after.timestamp())
        };
        let moment = |seconds| Timestamp::from_second(seconds).ok();
        Some(Self { pem, start: moment(start)?, end: moment(end)? })
    }

    fn certificate(&self) -> Option<X509Certificate<'_>> {
        self.pem.parse_x509().ok()
    }

    /// Whether `key` is the certificate's.
    pub(super) fn is_of(&self, key: &KeyPair) -> bool {
        self.certificate()
            .is_some_and(|certificate| certificate.public_key().subject_public_key.data == key.der_bytes())
    }

    /// Whether the authority whose certificate is `authority` (PEM) has signed it.
    pub(super) fn is_signed_by(&self, authority: &str) -> bool {
        let authority = Self::read(authority);
        let authority = authority.as_ref().and_then(Self::certificate);
        let certificate = self.certificate();
        let (Some(certificate), Some(authority)) = (certificate, authority) else { return false };
        certificate.verify_signature(Some(authority.public_key())).is_ok()
    }

    /// Whether it says of its holder exactly what `holder` says.
    pub(super) fn says(&self, holder: &Holder) -> bool {
        self.certificate().and_then(|certificate| said(&certificate)).as_ref() == Some(holder)
    }
}

fn said(certificate: &X509Certificate<'_>) -> Option<Holder> {
    let subject = certificate.subject();
    let mut holder = Holder {
        user: subject.iter_common_name().next()?.as_str().ok()?.to_owned(),
        group: subject.iter_organization().next().and_then(|group| Some(group.as_str().ok()?.to_owned())),
        ..Holder::default()
    };
    let alternatives = certificate.subject_alternative_name().ok()?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => _ = holder.names.insert((*name).to_owned()),
            GeneralName::IPAddress(bytes) => _ = holder.addresses.insert(address(bytes)?),
            _ => return None,
        }
    }
    Some(holder)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

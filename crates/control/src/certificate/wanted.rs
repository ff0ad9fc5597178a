//! What a request for a certificate asks for, read from its DER.

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// Whom the certificate is to be for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The user.
    pub(crate) common_name: String,
    /// The groups.
    pub(crate) organizations: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Names of other sorts, such as mail addresses.
    pub(crate) has_other_names: bool,
}

impl Wanted {
    /// `None` if the text (PEM) is no request.
    pub(crate) fn read(request: &[u8]) -> Option<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(request).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
        let subject = &request.certification_request_info.subject;
        // Of several, readers may disagree on which one is the user.
        let mut common_names = subject.iter_common_name();
        let (common_name, None) = (common_names.next(), common_names.next()) else { return None };
        let common_name = common_name.map_or(Some(""), |name| name.as_str().ok())?;
        let organizations: Option<Vec<String>> =
            subject.iter_organization().map(|name| name.as_str().ok().map(str::to_owned)).collect();
        let mut wanted =
            Self { common_name: common_name.to_owned(), organizations: organizations?, ..Self::default() };
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(alternatives) = extension {
                alternatives.general_names.iter().for_each(|name| wanted.add(name));
            }
        }
        Some(wanted)
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => self.addresses.push(address),
                None => self.has_other_names = true,
            },
            _ => self.has_other_names = true,
        }
    }

    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty() || !self.addresses.is_empty() || self.has_other_names
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

//! The cluster's authority as a signer of others' requests: subject, key and names are copied byte by byte as they were
//! asked for, everything else is ours.

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use sha2::{Digest, Sha256};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use yasna::models::ObjectIdentifier;
use yasna::tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME};
use yasna::{DERWriter, DERWriterSeq, Tag};

/// Clocks of those who check may be this late.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);
/// What lives less than this ends as late as was asked for, whatever it is dated back.
const SHORT: SignedDuration = SignedDuration::from_hours(8);

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const EXTENDED_USAGE: &[u64] = &[2, 5, 29, 37];

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the authority's certificate cannot be read")]
    Certificate,
    #[error("the authority's key cannot be read")]
    Key { source: rcgen::Error },
    #[error("the authority's key is of a sort that cannot sign certificates")]
    Algorithm,
    #[error("the authority's key is not that of its certificate")]
    Mismatch,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("it is no request for a certificate")]
    Unreadable,
    #[error("it is not signed with the key that it is for")]
    Unproven,
    #[error("the authority has expired")]
    Expired,
    #[error("the key refuses")]
    Key { source: rcgen::Error },
}

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client,
    Server,
}

/// What a certificate says beside what its request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) now: Timestamp,
    pub(crate) lifetime: SignedDuration,
    pub(crate) is_signature: bool,
    pub(crate) is_encipherment: bool,
    pub(crate) purpose: Purpose,
}

/// The cluster's authority: its name, and its key.
pub struct SigningAuthority {
    /// In DER.
    name: Vec<u8>,
    key: KeyPair,
    algorithm: Algorithm,
    /// By which others find the authority's certificate.
    key_id: Vec<u8>,
    end: Timestamp,
}

impl std::fmt::Debug for SigningAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningAuthority").field("end", &self.end).finish_non_exhaustive()
    }
}

/// How a key signs.
#[derive(Clone, Copy, Debug)]
struct Algorithm {
    id: &'static [u64],
    has_null: bool,
}

impl Algorithm {
    fn of(key: &KeyPair) -> Option<Self> {
        let table: [(_, &'static [u64], bool); 4] = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &[1, 2, 840, 10045, 4, 3, 2], false),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &[1, 2, 840, 10045, 4, 3, 3], false),
            (&rcgen::PKCS_ED25519, &[1, 3, 101, 112], false),
            (&rcgen::PKCS_RSA_SHA256, &[1, 2, 840, 113_549, 1, 1, 11], true),
        ];
        let row = table.into_iter().find(|(algorithm, ..)| *algorithm == key.algorithm());
        row.map(|(_, id, has_null)| Self { id, has_null })
    }

    fn write(self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(self.id));
            if self.has_null {
                writer.next().write_null();
            }
        });
    }
}

impl SigningAuthority {
    /// The authority of this certificate and this key, both in PEM.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(|source| AuthorityError::Key { source })?;
        let algorithm = Algorithm::of(&key).ok_or(AuthorityError::Algorithm)?;
        let pem = read(certificate.as_bytes()).ok_or(AuthorityError::Certificate)?;
        let certificate = pem.parse_x509().map_err(|_| AuthorityError::Certificate)?;
        if certificate.public_key().subject_public_key.data != key.der_bytes() {
            return Err(AuthorityError::Mismatch);
        }
        let end = Timestamp::from_second(certificate.validity().not_after.timestamp());
        let said = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let key_id = said.unwrap_or_else(|| Sha256::digest(key.der_bytes())[..20].to_vec());
        let name = certificate.subject().as_raw().to_vec();
        Ok(Self { name, key, algorithm, key_id, end: end.map_err(|_| AuthorityError::Certificate)? })
    }

    /// The certificate, in PEM, for a request in PEM. `serial` must be unlike any other.
    pub(crate) fn sign(&self, request: &[u8], terms: &Terms, serial: &[u8; 16]) -> Result<String, SignError> {
        let pem = read(request).ok_or(SignError::Unreadable)?;
        let parsed = X509CertificationRequest::from_der(&pem.contents);
        let (_, request) = parsed.map_err(|_| SignError::Unreadable)?;
        request.verify_signature().map_err(|_| SignError::Unproven)?;
        let (start, end) = self.validity(terms)?;
        let signed = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_u8(2));
                writer.next().write_bigint_bytes(serial, true);
                self.algorithm.write(writer.next());
                writer.next().write_der(&self.name);
                writer.next().write_sequence(|writer| {
                    time(writer.next(), start);
                    time(writer.next(), end);
                });
                writer.next().write_der(request.certification_request_info.subject.as_raw());
                writer.next().write_der(request.certification_request_info.subject_pki.raw);
                let extensions = |writer: &mut DERWriterSeq<'_>| self.extensions(writer, terms, &request);
                writer.next().write_tagged(Tag::context(3), |writer| writer.write_sequence(extensions));
            });
        });
        let signature = self.key.sign(&signed).map_err(|source| SignError::Key { source })?;
        let certificate = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&signed);
                self.algorithm.write(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(armoured(certificate))
    }

    /// From when to when, never longer than the authority itself.
    fn validity(&self, terms: &Terms) -> Result<(Timestamp, Timestamp), SignError> {
        if self.end <= terms.now {
            return Err(SignError::Expired);
        }
        let start = terms.now - BACKDATE;
        let from = if terms.lifetime < SHORT { terms.now } else { start };
        Ok((start, (from + terms.lifetime).min(self.end)))
    }

    fn extensions(
        &self,
        writer: &mut DERWriterSeq<'_>,
        terms: &Terms,
        request: &X509CertificationRequest<'_>,
    ) {
        // Bits 0 and 2, counted from the highest; the unused bits at the end are left out.
        let (bits, length) = match (terms.is_signature, terms.is_encipherment) {
            (true, true) => (0b1010_0000, 3),
            (false, true) => (0b0010_0000, 3),
            (true, false) => (0b1000_0000, 1),
            (false, false) => (0, 0),
        };
        if length > 0 {
            extension(writer, KEY_USAGE, true, |writer| writer.write_bitvec_bytes(&[bits], length));
        }
        let purpose = match terms.purpose {
            Purpose::Server => 1,
            Purpose::Client => 2,
        };
        extension(writer, EXTENDED_USAGE, false, |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&oid(&[1, 3, 6, 1, 5, 5, 7, 3, purpose]));
            });
        });
        extension(writer, BASIC_CONSTRAINTS, true, |writer| writer.write_sequence(|_| {}));
        extension(writer, AUTHORITY_KEY, false, |writer| {
            writer.write_sequence(|writer| {
                writer
                    .next()
                    .write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(&self.key_id));
            });
        });
        if let Some((value, critical)) = alternative_names(request) {
            extension(writer, ALTERNATIVE_NAMES, critical, |writer| writer.write_der(value));
        }
    }
}

/// When a certificate in PEM ends.
pub(crate) fn end(certificate: &[u8]) -> Option<Timestamp> {
    let pem = read(certificate)?;
    let certificate = pem.parse_x509().ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

fn read(pem: &[u8]) -> Option<Pem> {
    x509_parser::pem::parse_x509_pem(pem).ok().map(|(_, pem)| pem)
}

fn alternative_names<'a>(request: &'a X509CertificationRequest<'_>) -> Option<(&'a [u8], bool)> {
    let attributes = request.certification_request_info.iter_attributes();
    let mut extensions = attributes.filter_map(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
        _ => None,
    });
    let names = extensions.find_map(|extensions| {
        extensions.iter().find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
    });
    names.map(|extension| (extension.value, extension.critical))
}

fn extension(writer: &mut DERWriterSeq<'_>, id: &[u64], critical: bool, value: impl FnOnce(DERWriter<'_>)) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&oid(id));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(&yasna::construct_der(value));
    });
}

/// Years before 2050 have two digits, by the rules of certificates.
fn time(writer: DERWriter<'_>, at: Timestamp) {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let (tag, format) = if at.year() < 2050 {
        (TAG_UTCTIME, "%y%m%d%H%M%SZ")
    } else {
        (TAG_GENERALIZEDTIME, "%Y%m%d%H%M%SZ")
    };
    let text = at.strftime(format).to_string();
    writer.write_tagged_implicit(tag, |writer| writer.write_bytes(text.as_bytes()));
}

fn oid(parts: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(parts)
}

fn armoured(certificate: Vec<u8>) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate), unix)
}

//! Certificates are given by those who may speak for their signer: a role says whose requests someone approves and
//! signs, and nobody asks the cluster for a certificate of its masters.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinds::status::Failure;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::authentication::MASTERS;
use crate::authorization::{Action, ObjectAction};
use crate::call::Call;
use crate::object;
use crate::strategy::Part;

const GROUP: &str = "certificates.k8s.io";
/// Whose certificates the API server takes as proof of a user and its groups.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn is_request(call: &Call) -> bool {
    call.path.kind.group == GROUP && call.path.kind.plural == "certificatesigningrequests"
}

/// The group of masters is given by the cluster's own certificates only: who holds such a one can never be stopped.
pub(super) fn create(call: &Call, new: &Value) -> Result<(), Failure> {
    if !is_request(call) || signer(new) != CLIENT_SIGNER {
        return Ok(());
    }
    let why = match organizations(new["spec"]["request"].as_str().unwrap_or_default()) {
        Some(groups) if !groups.iter().any(|group| group == MASTERS) => return Ok(()),
        Some(_) => format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"),
        None => "spec.request is no request for a certificate that could be read".to_owned(),
    };
    Err(Failure::forbidden(&call.path.kind, object::name(new), &why))
}

pub(super) fn update(call: &Call, new: &Value, current: &Value, part: Part) -> Result<(), Failure> {
    if !is_request(call) {
        return Ok(());
    }
    let (verb, what) = match part {
        Part::Approval => ("approve", "approve requests with"),
        Part::Status if new["status"] != current["status"] => ("sign", "sign requests with"),
        Part::Main | Part::Status | Part::EphemeralContainers | Part::Resize => return Ok(()),
    };
    let signer = signer(current);
    // A role names one signer, or all of a domain.
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*")).unwrap_or_default();
    if [signer, &domain].into_iter().any(|name| may(call, verb, name)) {
        return Ok(());
    }
    let why = format!("user not permitted to {what} signerName \"{signer}\"");
    Err(Failure::forbidden(&call.path.kind, object::name(current), &why))
}

fn may(call: &Call, verb: &str, signer: &str) -> bool {
    let action = ObjectAction {
        verb,
        group: GROUP,
        resource: "signers",
        name: Some(signer),
        ..ObjectAction::default()
    };
    call.context.authorizer.decide(&call.user, Action::Object(action)).is_allowed()
}

fn signer(request: &Value) -> &str {
    request["spec"]["signerName"].as_str().unwrap_or_default()
}

/// The groups that a request asks for; `None` if it cannot be read.
fn organizations(request: &str) -> Option<Vec<String>> {
    let pem = STANDARD.decode(request).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    subject.iter_organization().map(|group| group.as_str().ok().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(groups: &[&str]) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for group in groups {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
    }

    #[test]
    fn the_groups_of_a_request_are_read() {
        assert_eq!(organizations(&request(&["dev"])), Some(vec!["dev".to_owned()]));
        assert_eq!(organizations(&request(&[])), Some(Vec::new()));
        assert_eq!(organizations(&STANDARD.encode("no request")), None);
    }
}

//! What must hold of roles, their bindings and certificate requests.

use std::collections::HashSet;

use base64::engine::{Engine, general_purpose::STANDARD};
use serde_json::Value;

use super::{Faults, items, list, metadata, names, text};
use crate::Kind;
use crate::status::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &Kind, object: &Value, faults: &mut Faults) {
    let rules = list(object, "rules").iter().enumerate();
    for (path, rule) in rules.map(|(index, rule)| (format!("rules[{index}]"), rule)) {
        self::rule(kind, &path, rule, faults);
    }
    let aggregation = &object["aggregationRule"];
    if aggregation.is_null() {
        return;
    }
    const PATH: &str = "aggregationRule";
    if list(aggregation, "clusterRoleSelectors").is_empty() {
        let message = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        faults.push(FieldError::required(format!("{PATH}.clusterRoleSelectors"), message));
    }
    for (path, selector) in items(PATH, aggregation, "clusterRoleSelectors") {
        metadata::selector(&path, selector, faults);
    }
}

fn rule(kind: &Kind, path: &str, rule: &Value, faults: &mut Faults) {
    if list(rule, "verbs").is_empty() {
        faults.push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
    }
    let urls = list(rule, "nonResourceURLs");
    if !urls.is_empty() {
        let resources = ["apiGroups", "resources", "resourceNames"];
        let message = if kind.is_namespaced() {
            "namespaced rules cannot apply to non-resource URLs"
        } else if resources.iter().any(|field| !list(rule, field).is_empty()) {
            "rules cannot apply to both regular resources and non-resource URLs"
        } else {
            return;
        };
        let value = rule["nonResourceURLs"].clone();
        faults.push(FieldError::invalid(format!("{path}.nonResourceURLs"), value, message));
        return;
    }
    if list(rule, "apiGroups").is_empty() {
        let message = "resource rules must supply at least one api group";
        faults.push(FieldError::required(format!("{path}.apiGroups"), message));
    }
    if list(rule, "resources").is_empty() {
        let message = "resource rules must supply at least one resource";
        faults.push(FieldError::required(format!("{path}.resources"), message));
    }
}

pub(super) fn binding(kind: &Kind, object: &Value, faults: &mut Faults) {
    let role = &object["roleRef"];
    if text(role, "apiGroup") != GROUP {
        faults.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]));
    }
    let supported: &[&str] = if kind.is_namespaced() { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    if !supported.contains(&text(role, "kind")) {
        faults.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), supported));
    }
    let name = text(role, "name");
    if name.is_empty() {
        faults.push(FieldError::required("roleRef.name", ""));
    } else {
        let faulty = names::path_segment(name).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid("roleRef.name", name, fault)));
    }
    let subjects = list(object, "subjects").iter().enumerate();
    for (path, subject) in subjects.map(|(index, subject)| (format!("subjects[{index}]"), subject)) {
        self::subject(kind, &path, subject, faults);
    }
}

fn subject(kind: &Kind, path: &str, subject: &Value, faults: &mut Faults) {
    const KINDS: &[&str] = &["Group", "ServiceAccount", "User"];
    let name = text(subject, "name");
    if name.is_empty() {
        faults.push(FieldError::required(format!("{path}.name"), ""));
    }
    let group = match text(subject, "kind") {
        "ServiceAccount" => {
            let faulty = names::subdomain(name).into_iter().filter(|_| !name.is_empty());
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            if !kind.is_namespaced() && text(subject, "namespace").is_empty() {
                faults.push(FieldError::required(format!("{path}.namespace"), ""));
            }
            ""
        }
        "User" | "Group" => GROUP,
        other => {
            faults.push(FieldError::not_supported(format!("{path}.kind"), other, KINDS));
            return;
        }
    };
    let given = text(subject, "apiGroup");
    if given != group {
        faults.push(FieldError::not_supported(format!("{path}.apiGroup"), given, &[group]));
    }
}

/// What a signer is asked to sign must at least look like a request for a certificate.
pub(super) fn signing_request(object: &Value, faults: &mut Faults) {
    signing_status(&object["status"], faults);
    let spec = &object["spec"];
    let request = text(spec, "request");
    if !is_certificate_request(request) {
        let message = "PEM block type must be CERTIFICATE REQUEST";
        faults.push(FieldError::invalid("spec.request", request, message));
    }
    let mut seen = HashSet::new();
    for (path, usage) in items("spec", spec, "usages") {
        super::unique(&mut seen, usage.as_str().unwrap_or_default(), path, faults);
    }
    let signer = text(spec, "signerName");
    if signer == "kubernetes.io/legacy-unknown" {
        let message = "must not be kubernetes.io/legacy-unknown";
        faults.push(FieldError::invalid("spec.signerName", signer, message));
    } else if !signer.is_empty() {
        signer_name("spec.signerName", signer, faults);
    }
}

/// Who signs: a path below a domain.
pub(super) fn signer_name(path: &str, signer: &str, faults: &mut Faults) {
    const MOST_DOMAIN: usize = 571;
    let parts: Vec<&str> = signer.split('/').collect();
    let [domain, name] = parts.as_slice() else {
        let message = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        faults.push(FieldError::invalid(path, signer, message));
        return;
    };
    let faulty = names::subdomain(domain).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(path, *domain, fault)));
    if domain.split('.').count() < 2 {
        let message = "should be a domain with at least two segments separated by dots";
        faults.push(FieldError::invalid(path, *domain, message));
    }
    let faulty = name.split('.').flat_map(names::label);
    faults.extend(faulty.map(|fault| FieldError::invalid(path, *name, fault)));
    if signer.len() > MOST_DOMAIN {
        faults.push(FieldError::too_long(path, MOST_DOMAIN));
    }
}

/// What approvers and signers may say of a request, whatever they said before.
fn signing_status(status: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, condition) in items("status", status, "conditions") {
        let kind = text(condition, "type");
        super::required(&path, condition, "type", faults);
        super::unique(&mut seen, kind, format!("{path}.type"), faults);
        let supported: &[&str] =
            if LASTING.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if text(condition, "status").is_empty() {
            faults.push(FieldError::required(format!("{path}.status"), ""));
        } else {
            super::one_of(&path, condition, "status", supported, faults);
        }
        let opposite = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => continue,
        };
        if seen.contains(opposite) {
            let message = "Approved and Denied conditions are mutually exclusive";
            faults.push(FieldError::invalid(format!("{path}.type"), kind, message));
        }
    }
    let certificate = text(status, "certificate");
    if !certificate.is_empty() && !is_pem(certificate, "CERTIFICATE") {
        let message = "must be certificates in PEM, each in a block of type CERTIFICATE";
        faults.push(FieldError::invalid("status.certificate", "<certificate data>", message));
    }
}

/// Conditions of a request that, once true, stay so.
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// What was decided on a request, and what was signed, is not taken back.
pub(super) fn signing_request_update(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (&new["status"], &old["status"]);
    let count = |status: &Value, kind: &str| {
        list(status, "conditions").iter().filter(|condition| condition["type"] == kind).count()
    };
    for kind in LASTING.into_iter().filter(|kind| count(new, kind) < count(old, kind)) {
        let message = format!("updates may not remove a condition of type \"{kind}\"");
        faults.push(FieldError::forbidden("status.conditions", message));
    }
    let before = text(old, "certificate");
    if !before.is_empty() && text(new, "certificate") != before {
        let message = "updates may not modify existing certificate content";
        faults.push(FieldError::forbidden("status.certificate", message));
    }
}

fn is_certificate_request(encoded: &str) -> bool {
    is_pem(encoded, "CERTIFICATE REQUEST")
}

/// Whether the base64 text is PEM that begins with a block of this type.
fn is_pem(encoded: &str, label: &str) -> bool {
    /// The tag of a sequence, with which certificates and requests begin.
    const SEQUENCE: u8 = 0x30;
    let pem = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let body = pem.as_deref().and_then(|pem| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        Some(body.split_whitespace().collect::<String>())
    });
    let der = body.and_then(|body| STANDARD.decode(body).ok());
    der.is_some_and(|der| der.first() == Some(&SEQUENCE))
}

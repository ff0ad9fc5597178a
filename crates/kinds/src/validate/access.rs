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
    let message = match signer.split_once('/') {
        _ if signer.is_empty() => return,
        _ if signer == "kubernetes.io/legacy-unknown" => "must not be kubernetes.io/legacy-unknown",
        Some((domain, path))
            if !path.is_empty() && domain.contains('.') && names::subdomain(domain).is_empty() =>
        {
            return;
        }
        _ => "must be a fully qualified domain and path of the form 'example.com/signer-name'",
    };
    faults.push(FieldError::invalid("spec.signerName", signer, message));
}

fn is_certificate_request(encoded: &str) -> bool {
    /// The tag of a sequence, with which every request begins.
    const SEQUENCE: u8 = 0x30;
    let pem = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let body = pem.as_deref().and_then(|pem| {
        let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE REQUEST-----")?;
        Some(rest.split_once("-----END CERTIFICATE REQUEST-----")?.0.split_whitespace().collect::<String>())
    });
    let der = body.and_then(|body| STANDARD.decode(body).ok());
    der.is_some_and(|der| der.first() == Some(&SEQUENCE))
}

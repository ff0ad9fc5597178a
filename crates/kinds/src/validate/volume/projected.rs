//! What must hold of a volume that is put together from several sources.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, downward, file, is_said, keys, list, local, required, text};
use crate::status::FieldError;
use crate::validate::{access, in_range, items, metadata, names};

const SOURCES: [&str; 6] =
    ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
/// How long a token may last, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;
const KEY_TYPES: &[&str] = &["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];

pub(super) fn check(whole: &str, projected: &Value, faults: &mut Faults) {
    let mut places = HashSet::new();
    for (path, source) in items(whole, projected, "sources") {
        let given = SOURCES.iter().filter(|name| is_said(source, name));
        let mut count = 0;
        for name in given {
            count += 1;
            let (path, source) = (format!("{path}.{name}"), &source[*name]);
            self::source((whole, &path), name, source, faults);
            for place in files(name, source) {
                if !place.is_empty() && !places.insert(place) {
                    faults.push(FieldError::invalid(whole, place, "conflicting duplicate paths"));
                }
            }
        }
        if count > 1 {
            faults.push(FieldError::forbidden(path, "may not specify more than 1 volume type per source"));
        }
    }
}

/// The files that a source makes, as far as they are named. Those of tokens may stand beside others.
fn files<'a>(name: &str, source: &'a Value) -> Vec<&'a str> {
    match name {
        "secret" | "configMap" | "downwardAPI" => {
            list(source, "items").iter().map(|item| text(item, "path")).collect()
        }
        "clusterTrustBundle" => vec![text(source, "path")],
        "podCertificate" => ["credentialBundlePath", "keyPath", "certificateChainPath"]
            .map(|field| text(source, field))
            .into(),
        _ => Vec::new(),
    }
}

fn source((whole, path): (&str, &str), name: &str, source: &Value, faults: &mut Faults) {
    match name {
        "secret" | "configMap" => {
            required(path, source, "name", faults);
            keys(path, source, faults);
        }
        "downwardAPI" => list(source, "items").iter().for_each(|item| downward(path, item, faults)),
        "serviceAccountToken" => {
            in_range(path, source, "expirationSeconds", TOKEN_SECONDS, faults);
            // Told of the volume, as Kubernetes does.
            file(whole, source, "path", faults);
        }
        "clusterTrustBundle" => bundle(path, source, faults),
        "podCertificate" => certificate(path, source, faults),
        _ => {}
    }
}

fn bundle(path: &str, source: &Value, faults: &mut Faults) {
    match (source["name"].as_str(), source["signerName"].as_str()) {
        (Some(_), Some(_)) => {
            let message = "only one of name and signerName may be used";
            faults.push(FieldError::invalid(path, source.clone(), message));
        }
        (Some(name), None) => {
            required(path, source, "name", faults);
            let faulty = names::subdomain(name.rsplit(':').next().unwrap_or_default()).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
            if !source["labelSelector"].is_null() {
                let selector = source["labelSelector"].clone();
                let message = "must be unset if name is specified";
                faults.push(FieldError::invalid(format!("{path}.labelSelector"), selector, message));
            }
        }
        (None, Some(signer)) => {
            required(path, source, "signerName", faults);
            access::signer_name(&format!("{path}.signerName"), signer, faults);
            metadata::selector(&format!("{path}.labelSelector"), &source["labelSelector"], faults);
        }
        (None, None) => {
            faults.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    file(path, source, "path", faults);
}

fn certificate(path: &str, source: &Value, faults: &mut Faults) {
    access::signer_name(&format!("{path}.signerName"), text(source, "signerName"), faults);
    let key = text(source, "keyType");
    if !KEY_TYPES.contains(&key) {
        faults.push(FieldError::not_supported(format!("{path}.keyType"), key, KEY_TYPES));
    }
    in_range(path, source, "maxExpirationSeconds", 3600..=7_862_400, faults);
    let fields = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    for field in fields {
        local(&format!("{path}.{field}"), text(source, field), faults);
    }
    if fields.iter().all(|field| text(source, field).is_empty()) {
        let message = "must name at least one of credentialBundlePath, keyPath and certificateChainPath";
        faults.push(FieldError::required(path, message));
    }
}

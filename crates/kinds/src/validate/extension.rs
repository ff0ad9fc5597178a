//! What must hold of what extends or guards the API: webhooks, admission policies, API services, priority and fairness.

use std::collections::HashSet;

use serde_json::Value;

use super::{Faults, in_range, items, list, metadata, names, one_of, required, text, unique};
use crate::admission::policy::{Conditions, Policy};
use crate::status::{FieldError, FieldErrorKind};

pub(super) fn webhooks(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    let webhooks = list(object, "webhooks").iter().enumerate();
    for (path, webhook) in webhooks.map(|(index, webhook)| (format!("webhooks[{index}]"), webhook)) {
        let name = text(webhook, "name");
        if !name.is_empty() {
            qualified(&format!("{path}.name"), name, faults);
        }
        unique(&mut seen, name, format!("{path}.name"), faults);
        review_versions(&path, webhook, faults);
        let versions = list(webhook, "admissionReviewVersions");
        if !versions.is_empty() && !versions.iter().any(|version| *version == "v1" || *version == "v1beta1") {
            let message = "must include at least one of v1, v1beta1";
            let value = webhook["admissionReviewVersions"].clone();
            faults.push(FieldError::invalid(format!("{path}.admissionReviewVersions"), value, message));
        }
        for (path, rule) in items(&path, webhook, "rules") {
            wildcards(&path, rule, faults);
        }
        conditions(&path, webhook, faults);
        faults.extend(Conditions::of_webhook(webhook, &path).err().into_iter().flatten());
        client(&format!("{path}.clientConfig"), &webhook["clientConfig"], faults);
    }
}

/// A name of at least three parts.
fn qualified(path: &str, name: &str, faults: &mut Faults) {
    let faulty = names::subdomain(name).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(path, name, fault)));
    if name.split('.').filter(|part| !part.is_empty()).count() < 3 {
        let message = "should be a domain with at least three segments separated by dots";
        faults.push(FieldError::invalid(path, name, message));
    }
}

/// `*` says all there is to say, so nothing may stand beside it.
fn wildcards(path: &str, rule: &Value, faults: &mut Faults) {
    for field in ["operations", "apiGroups", "apiVersions"] {
        let values = list(rule, field);
        if values.len() > 1 && values.iter().any(|value| *value == "*") {
            let message = "if '*' is present, must not specify others";
            let value = rule[field].clone();
            faults.push(FieldError::invalid(format!("{path}.{field}"), value, message));
        }
    }
    for field in ["apiVersions", "resources"] {
        for (path, value) in items(path, rule, field) {
            if value == "" {
                faults.push(FieldError::required(path, ""));
            }
        }
    }
    resources(path, rule, faults);
}

/// Names of resources and their parts, which must not cover one another.
fn resources(path: &str, rule: &Value, faults: &mut Faults) {
    let (mut whole, mut of_all) = (HashSet::new(), HashSet::new());
    let (mut everything, mut all, mut bare) = (false, false, false);
    for (path, name) in items(path, rule, "resources") {
        let name = name.as_str().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        everything |= name == "*/*";
        all |= name == "*";
        let Some((resource, part)) = name.split_once('/') else {
            bare = name != "*";
            continue;
        };
        if whole.contains(resource) {
            let message = format!("if '{resource}/*' is present, must not specify {name}");
            faults.push(FieldError::invalid(path.as_str(), name, message));
        }
        if of_all.contains(part) {
            let message = format!("if '*/{part}' is present, must not specify {name}");
            faults.push(FieldError::invalid(path, name, message));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            of_all.insert(part);
        }
    }
    let mut refused = |message: &str| {
        faults.push(FieldError::invalid(format!("{path}.resources"), rule["resources"].clone(), message));
    };
    if everything && list(rule, "resources").len() > 1 {
        refused("if '*/*' is present, must not specify other resources");
    }
    if all && bare {
        refused("if '*' is present, must not specify other resources without subresources");
    }
}

fn review_versions(path: &str, webhook: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (path, version) in items(path, webhook, "admissionReviewVersions") {
        let version = version.as_str().unwrap_or_default();
        if !seen.insert(version) {
            faults.push(FieldError::invalid(path, version, "duplicate version"));
            continue;
        }
        let faulty = names::label_1035(version).into_iter();
        faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), version, fault)));
    }
}

fn conditions(path: &str, object: &Value, faults: &mut Faults) {
    const MOST: usize = 64;
    let count = list(object, "matchConditions").len();
    if count > MOST {
        let (kind, field) = (FieldErrorKind::TooMany, format!("{path}.matchConditions"));
        let message = format!("must have at most {MOST} items");
        faults.push(FieldError { kind, field, value: count.into(), message });
    }
    let mut seen = HashSet::new();
    for (path, condition) in items(path, object, "matchConditions") {
        let name = text(condition, "name");
        let faulty = names::qualified_name(name).into_iter().filter(|_| !name.is_empty());
        faults.extend(faulty.map(|fault| FieldError::invalid(format!("{path}.name"), name, fault)));
        unique(&mut seen, name, format!("{path}.name"), faults);
    }
}

pub(super) fn client(path: &str, config: &Value, faults: &mut Faults) {
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        faults.push(FieldError::required(path, "exactly one of url or service is required"));
        return;
    }
    if let Some(given) = url.as_str() {
        web_address(&format!("{path}.url"), given, faults);
    }
    let given = text(service, "path");
    if !given.is_empty() && !given.starts_with('/') {
        let message = "must start with a '/'";
        faults.push(FieldError::invalid(format!("{path}.service.path"), given, message));
    }
}

fn web_address(path: &str, url: &str, faults: &mut Faults) {
    let mut fault = |message: &str| faults.push(FieldError::invalid(path, url, message));
    let Some((scheme, rest)) = url.split_once("://") else {
        fault("url must be a valid URL with a scheme; format: https://host/path");
        return;
    };
    if scheme != "https" {
        fault("'https' is the only allowed URL scheme; desired format: https://host/path");
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        fault("host must be specified; desired format: https://host/path");
    }
    for (sign, message) in [
        ('@', "user information is not permitted in URLs"),
        ('?', "query parameters are not permitted in webhook URLs"),
        ('#', "fragments are not permitted in webhook URLs"),
    ] {
        if rest.contains(sign) {
            fault(message);
        }
    }
}

pub(super) fn policy(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    matched("spec.matchConstraints", &spec["matchConstraints"], faults);
    conditions("spec", spec, faults);
    let mut seen = HashSet::new();
    for (path, variable) in items("spec", spec, "variables") {
        let name = text(variable, "name");
        if !name.is_empty() && !is_identifier(name) {
            let message = format!("name is not a valid CEL identifier: {name}");
            faults.push(FieldError::invalid(format!("{path}.name"), name, message));
        }
        unique(&mut seen, name, format!("{path}.name"), faults);
    }
    if object["kind"] == "ValidatingAdmissionPolicy" {
        let fields = ["validations", "auditAnnotations"];
        if fields.iter().all(|field| list(spec, field).is_empty()) {
            let message = "validations or auditAnnotations must contain at least one item";
            faults.extend(fields.map(|field| FieldError::required(format!("spec.{field}"), message)));
        }
        items("spec", spec, "validations").for_each(|(path, item)| message(&path, item, faults));
        annotations(text(&object["metadata"], "name"), spec, faults);
    }
    faults.extend(Policy::compile(object).err().into_iter().flatten());
    for (path, mutation) in items("spec", spec, "mutations") {
        for (kind, field) in [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")] {
            match (mutation["patchType"] == kind, mutation[field].is_null()) {
                (true, true) => {
                    let message = format!("must be specified when patchType is {kind}");
                    faults.push(FieldError::required(format!("{path}.{field}"), message));
                }
                (true, false) => required(&format!("{path}.{field}"), &mutation[field], "expression", faults),
                _ => {}
            }
        }
    }
}

/// What a validation says when it does not hold is one line.
fn message(path: &str, validation: &Value, faults: &mut Faults) {
    let (said, is_said) = (text(validation, "message").trim(), !text(validation, "message").is_empty());
    let field = format!("{path}.message");
    if is_said && said.is_empty() {
        let message = "message must be non-empty if specified";
        faults.push(FieldError::invalid(field, text(validation, "message"), message));
    } else if said.contains('\n') {
        faults.push(FieldError::invalid(
            field,
            text(validation, "message"),
            "message must not contain line breaks",
        ));
    } else if !is_said && text(validation, "expression").trim().contains('\n') {
        faults.push(FieldError::required(
            field,
            "message must be specified if expression contains line breaks",
        ));
    }
    let expression = text(validation, "messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        let message = "must be non-empty if specified";
        faults.push(FieldError::invalid(format!("{path}.messageExpression"), expression, message));
    }
}

/// Notes for the audit log, whose keys stand there behind the name of their policy.
fn annotations(policy: &str, spec: &Value, faults: &mut Faults) {
    const MOST: usize = 20;
    let count = list(spec, "auditAnnotations").len();
    if count > MOST {
        let message = format!("must not have more than {MOST} auditAnnotations");
        faults.push(FieldError::invalid("spec.auditAnnotations", count, message));
    }
    let mut seen = HashSet::new();
    for (path, annotation) in items("spec", spec, "auditAnnotations") {
        let key = text(annotation, "key");
        let path = format!("{path}.key");
        if !key.is_empty() {
            let faulty = names::qualified_name(&format!("{policy}/{key}"));
            faults.extend(faulty.into_iter().map(|fault| FieldError::invalid(path.as_str(), key, fault)));
        }
        unique(&mut seen, key, path, faults);
    }
}

fn matched(path: &str, matched: &Value, faults: &mut Faults) {
    if matched.is_null() {
        return;
    }
    for field in ["namespaceSelector", "objectSelector"] {
        metadata::selector(&format!("{path}.{field}"), &matched[field], faults);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (path, rule) in items(path, matched, field) {
            for field in ["operations", "apiGroups", "apiVersions", "resources"] {
                if list(rule, field).is_empty() {
                    faults.push(FieldError::required(format!("{path}.{field}"), ""));
                }
            }
            for (path, operation) in items(&path, rule, "operations") {
                let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
                if !operation.as_str().is_some_and(|operation| known.contains(&operation)) {
                    faults.push(FieldError::not_supported(path, operation.clone(), &known));
                }
            }
            one_of(&path, rule, "scope", &["*", "Cluster", "Namespaced"], faults);
            wildcards(&path, rule, faults);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: &[&str] = &["false", "in", "null", "true"];
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first == '_' || first.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
        && !RESERVED.contains(&name)
}

pub(super) fn policy_binding(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    matched("spec.matchResources", &spec["matchResources"], faults);
    let actions: Vec<&str> = list(spec, "validationActions").iter().filter_map(Value::as_str).collect();
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        unique(&mut seen, action, format!("spec.validationActions[{index}]"), faults);
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let message = "must not contain both Deny and Warn (repeating the same validation failure information in \
                       the API response and headers serves no purpose)";
        let value = spec["validationActions"].clone();
        faults.push(FieldError::invalid("spec.validationActions", value, message));
    }
    let parameters = &spec["paramRef"];
    if parameters.is_null() {
        return;
    }
    match (text(parameters, "name").is_empty(), parameters["selector"].is_null()) {
        (true, true) => {
            let message = "one of name or selector must be specified";
            faults.push(FieldError::required("spec.paramRef.name", message));
        }
        (false, false) => {
            let message = "name and selector are mutually exclusive";
            faults.push(FieldError::forbidden("spec.paramRef.name", message));
        }
        _ => metadata::selector("spec.paramRef.selector", &parameters["selector"], faults),
    }
}

pub(super) fn api_service(object: &Value, faults: &mut Faults) {
    let spec = &object["spec"];
    let expected = format!("{}.{}", text(spec, "version"), text(spec, "group"));
    let name = text(&object["metadata"], "name");
    if name != expected {
        let message = format!("must be `spec.version+\".\"+spec.group`: \"{expected}\"");
        faults.push(FieldError::invalid("metadata.name", name, message));
    }
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let value = spec[field].as_i64().unwrap_or_default();
        if !(1..=most).contains(&value) {
            let message = format!("must be positive and less than {most}");
            faults.push(FieldError::invalid(format!("spec.{field}"), value, message));
        }
    }
    let service = &spec["service"];
    if service.is_null() {
        if spec["insecureSkipTLSVerify"] == true {
            let message = "local APIServices may not have insecureSkipTLSVerify";
            faults.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, message));
        }
        if !text(spec, "caBundle").is_empty() {
            let message = "local APIServices may not have a caBundle";
            faults.push(FieldError::invalid("spec.caBundle", text(spec, "caBundle"), message));
        }
        return;
    }
    required("spec.service", service, "namespace", faults);
    required("spec.service", service, "name", faults);
    in_range("spec.service", service, "port", 1..=65535, faults);
    if spec["insecureSkipTLSVerify"] == true && !text(spec, "caBundle").is_empty() {
        let message = "may not be true if caBundle is present";
        faults.push(FieldError::invalid("spec.insecureSkipTLSVerify", true, message));
    }
}

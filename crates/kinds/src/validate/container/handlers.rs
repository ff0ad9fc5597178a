//! What must hold of the probes and hooks of a container.

use serde_json::Value;

use super::super::{Faults, in_range, list, names, not_negative, one_of, required, text};
use crate::status::FieldError;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

pub(super) fn check(path: &str, container: &Value, spec: &Value, faults: &mut Faults) {
    const KNOWN: &[&str] = &["exec", "httpGet", "tcpSocket", "sleep"];
    let lifecycle = &container["lifecycle"];
    for field in ["postStart", "preStop"] {
        let hook = &lifecycle[field];
        if !hook.is_null() {
            let path = format!("{path}.lifecycle.{field}");
            handlers(&path, hook, (KNOWN, spec), faults);
        }
    }
    if !lifecycle["stopSignal"].is_null() {
        stop_signal(&format!("{path}.lifecycle.stopSignal"), text(lifecycle, "stopSignal"), spec, faults);
    }
    for field in PROBES.into_iter().filter(|field| !container[*field].is_null()) {
        probe(&format!("{path}.{field}"), &container[field], field, spec, faults);
    }
}

/// A signal means something to one operating system only.
fn stop_signal(path: &str, signal: &str, spec: &Value, faults: &mut Faults) {
    match text(&spec["os"], "name") {
        "" => {
            let message = "may not be set for containers with empty `spec.os.name`";
            faults.push(FieldError::forbidden(path, message));
        }
        "windows" if !matches!(signal, "SIGKILL" | "SIGTERM") => {
            faults.push(FieldError::not_supported(path, signal, &["SIGKILL", "SIGTERM"]));
        }
        "linux" if !signal.starts_with("SIG") => {
            faults.push(FieldError::not_supported(path, signal, &["SIGINT", "SIGKILL", "SIGTERM"]));
        }
        _ => {}
    }
}

fn probe(path: &str, probe: &Value, field: &str, spec: &Value, faults: &mut Faults) {
    handlers(path, probe, (&["exec", "httpGet", "tcpSocket", "grpc"], spec), faults);
    for number in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        not_negative(path, probe, number, faults);
    }
    let grace = &probe["terminationGracePeriodSeconds"];
    let place = || format!("{path}.terminationGracePeriodSeconds");
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        faults.push(FieldError::invalid(place(), grace.clone(), "must be greater than 0"));
    }
    if field == "readinessProbe" {
        if !grace.is_null() {
            let message = "must not be set for readinessProbes";
            faults.push(FieldError::invalid(place(), grace.clone(), message));
        }
        return;
    }
    let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
    if threshold != 1 {
        faults.push(FieldError::invalid(format!("{path}.successThreshold"), threshold, "must be 1"));
    }
}

/// One of `known`, and only one: the first counts, the others are too many.
fn handlers(path: &str, object: &Value, (known, spec): (&[&str], &Value), faults: &mut Faults) {
    let mut given = known.iter().copied().filter(|handler| object[*handler].is_object());
    let Some(first) = given.next() else {
        faults.push(FieldError::required(path, "must specify a handler type"));
        return;
    };
    handler(&format!("{path}.{first}"), &object[first], first, spec, faults);
    for extra in given {
        let message = "may not specify more than 1 handler type";
        faults.push(FieldError::forbidden(format!("{path}.{extra}"), message));
    }
}

fn handler(path: &str, handler: &Value, name: &str, spec: &Value, faults: &mut Faults) {
    match name {
        "exec" if list(handler, "command").is_empty() => {
            faults.push(FieldError::required(format!("{path}.command"), ""));
        }
        "httpGet" => {
            required(path, handler, "path", faults);
            port(path, handler, faults);
            one_of(path, handler, "scheme", &["HTTP", "HTTPS"], faults);
            for header in list(handler, "httpHeaders") {
                let name = text(header, "name");
                let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
                if name.is_empty() || !name.chars().all(is_allowed) {
                    let message = "must be a name of a header: letters, digits and '-'";
                    faults.push(FieldError::invalid(format!("{path}.httpHeaders"), name, message));
                }
            }
        }
        "tcpSocket" | "grpc" => port(path, handler, faults),
        "sleep" => {
            let seconds = handler["seconds"].as_i64().unwrap_or_default();
            let grace = spec["terminationGracePeriodSeconds"].as_i64();
            if grace.is_some_and(|grace| !(0..=grace).contains(&seconds)) {
                let message = "must not be negative nor more than `terminationGracePeriodSeconds`";
                faults.push(FieldError::invalid(path, seconds, message));
            }
        }
        _ => {}
    }
}

fn port(path: &str, handler: &Value, faults: &mut Faults) {
    match &handler["port"] {
        Value::Number(_) => in_range(path, handler, "port", 1..=65535, faults),
        Value::String(name) => {
            let faulty = names::port_name(name).into_iter();
            faults.extend(
                faulty.map(|fault| FieldError::invalid(format!("{path}.port"), name.as_str(), fault)),
            );
        }
        _ => {
            let message = "must be between 1 and 65535, inclusive";
            faults.push(FieldError::invalid(format!("{path}.port"), 0, message));
        }
    }
}

//! What must hold of a place in a store of objects. What may be a secret in the wrong place is not repeated.

use std::path::Path;

use super::output::{CLIMBS, climbs, is_mounted};
use super::{Fault, FaultKind};
use crate::dagjob::{Objects, Place, Task};

/// Faults of the objects that stand at `path`.
pub(super) fn faults(
    path: &str,
    (task, objects): (&Task, &Objects),
    may_be_pattern: bool,
    found: &mut Vec<Fault>,
) {
    let mut fault = |field: &str, value: &str, message: &str| {
        found.push(Fault::new(FaultKind::Invalid, format!("{path}.{field}"), value, message));
    };
    match objects.place() {
        _ if has_password(&objects.url) => fault("url", "", PASSWORD),
        None => fault("url", &objects.url, "begins with s3://BUCKET/, or with file:/// for a mounted folder"),
        Some(Place::S3 { bucket, .. }) if !is_bucket(bucket) => {
            fault("url", &objects.url, "a bucket has 3 to 63 lower-case letters, digits, '-' and '.'");
        }
        Some(place) => {
            if let Some(message) = of_key(place.key(), may_be_pattern) {
                fault("url", &objects.url, &message);
            }
            if let Place::Folder { path } = place {
                if climbs(Path::new(path)) {
                    fault("url", &objects.url, CLIMBS);
                } else if !is_mounted(task, Path::new(path)) {
                    fault("url", &objects.url, "lies on none of the task's volumeMounts");
                }
                if (Objects { url: objects.url.clone(), ..Objects::default() }) != *objects {
                    fault(
                        "url",
                        &objects.url,
                        "a folder has no endpoint, region or credentials: leave them out",
                    );
                }
            }
        }
    }
    if let Some(endpoint) = &objects.endpoint {
        match endpoint.split_once("://") {
            Some((_, _)) if has_password(endpoint) => fault("endpoint", "", PASSWORD),
            Some(("http", host)) if !host.is_empty() && !objects.allow_http => {
                fault("endpoint", endpoint, "is not encrypted: use https://, or allow it by allowHTTP: true");
            }
            Some(("http" | "https", host)) if is_host(host) => {}
            _ => fault("endpoint", endpoint, "https://HOST or https://HOST:PORT, without a path"),
        }
    }
    if let Some(region) = objects.region.as_ref().filter(|region| !is_name(region)) {
        fault("region", region, "letters, digits and '-', such as eu-central-1");
    }
    if let Some(secret) = objects.credentials.as_ref().filter(|secret| !is_name(secret)) {
        fault("credentials", secret, "the name of a Secret in the job's namespace");
    }
}

const PASSWORD: &str =
    "credentials do not stand in a URL: put them into a Secret, and name it in credentials";

fn of_key(key: &str, may_be_pattern: bool) -> Option<String> {
    if key.contains(['\n', '\0']) || key.contains("//") || key.starts_with('/') {
        return Some("must not contain line breaks, zero bytes or empty parts".to_owned());
    }
    if !may_be_pattern {
        let has_pattern = key.contains(['*', '?', '[']);
        return has_pattern.then(|| "a folder, not a pattern".to_owned());
    }
    let error = glob::Pattern::new(key).err()?;
    Some(format!("is no pattern: {} (at character {} of the key)", error.msg, error.pos))
}

/// Whether a URL has a user or password before its host.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().is_some_and(|host| host.contains('@'))
}

fn is_bucket(name: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    (3..=63).contains(&name.len()) && name.bytes().all(sound)
}

fn is_host(host: &str) -> bool {
    let sound =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | ':' | '[' | ']');
    let host = host.strip_suffix('/').unwrap_or(host);
    !host.is_empty() && host.chars().all(sound)
}

fn is_name(name: &str) -> bool {
    let sound = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    (1..=253).contains(&name.len()) && name.chars().all(sound)
}

//! What must hold of a Pod's own names and name servers.

use serde_json::Value;

use super::{Faults, address, items, list, names, one_of, text};
use crate::status::FieldError;

const MAX_NAME_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    one_of(path, spec, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"], faults);
    config(&format!("{path}.dnsConfig"), spec, faults);
    for (path, alias) in items(path, spec, "hostAliases") {
        address::check(&format!("{path}.ip"), text(alias, "ip"), faults);
        for (path, name) in items(&path, alias, "hostnames") {
            let name = name.as_str().unwrap_or_default();
            let faulty = names::subdomain(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), name, fault)));
        }
    }
    host_name(path, spec, faults);
}

/// The name that a Pod's host has for itself.
fn host_name(path: &str, spec: &Value, faults: &mut Faults) {
    const MOST: usize = 64;
    if spec["hostnameOverride"].is_null() {
        return;
    }
    let (name, path) = (text(spec, "hostnameOverride"), format!("{path}.hostnameOverride"));
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec[field] == true {
            let message = format!("may not be specified when {field} is true");
            faults.push(FieldError::forbidden(path.as_str(), message));
        }
    }
    if name.len() > MOST {
        faults.push(FieldError::too_long(path.as_str(), MOST));
    }
    let faulty = names::subdomain(name).into_iter();
    faults.extend(faulty.map(|fault| FieldError::invalid(path.as_str(), name, fault)));
}

fn config(path: &str, spec: &Value, faults: &mut Faults) {
    let config = &spec["dnsConfig"];
    if spec["dnsPolicy"] == "None" && list(config, "nameservers").is_empty() {
        let path = if config.is_null() { path.to_owned() } else { format!("{path}.nameservers") };
        let message = "must name at least one server when `dnsPolicy` is None";
        faults.push(FieldError::required(path, message));
        return;
    }
    for (field, most) in [("nameservers", MAX_NAME_SERVERS), ("searches", MAX_SEARCHES)] {
        let found = list(config, field);
        if found.len() > most {
            let message = format!("must not have more than {most} {field}");
            faults.push(FieldError::invalid(format!("{path}.{field}"), found.to_vec(), message));
        }
    }
    for (path, server) in items(path, config, "nameservers") {
        address::check(&path, server.as_str().unwrap_or_default(), faults);
    }
    let searches: Vec<&str> = list(config, "searches").iter().filter_map(Value::as_str).collect();
    if searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        let message = format!("must not have more than {MAX_SEARCH_CHARACTERS} characters");
        faults.push(FieldError::invalid(format!("{path}.searches"), searches.concat(), message));
    }
    for (path, search) in items(path, config, "searches") {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            // Names of services and hosts that never were names of the domain system are searched, too.
            let name = search.strip_suffix('.').unwrap_or(search).replace('_', "-");
            let parts: Vec<&str> = name.split('.').map(|part| part.trim_start_matches('-')).collect();
            let faulty = names::subdomain(&parts.join(".")).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), search, fault)));
        }
    }
    for (path, option) in items(path, config, "options") {
        if text(option, "name").is_empty() {
            faults.push(FieldError::required(path, "must not be empty"));
        }
    }
}

//! What must hold of a Pod's own names and name servers.

use std::net::IpAddr;

use serde_json::Value;

use super::{Faults, items, list, names, text};
use crate::status::FieldError;

const MAX_NAME_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

pub(super) fn check(path: &str, spec: &Value, faults: &mut Faults) {
    config(&format!("{path}.dnsConfig"), &spec["dnsConfig"], faults);
    for (path, alias) in items(path, spec, "hostAliases") {
        address(format!("{path}.ip"), text(alias, "ip"), faults);
        for (path, name) in items(&path, alias, "hostnames") {
            let name = name.as_str().unwrap_or_default();
            let faulty = names::subdomain(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), name, fault)));
        }
    }
}

fn config(path: &str, config: &Value, faults: &mut Faults) {
    for (field, most) in [("nameservers", MAX_NAME_SERVERS), ("searches", MAX_SEARCHES)] {
        let found = list(config, field);
        if found.len() > most {
            let message = format!("must not have more than {most} {field}");
            faults.push(FieldError::invalid(format!("{path}.{field}"), found.to_vec(), message));
        }
    }
    for (path, server) in items(path, config, "nameservers") {
        address(path, server.as_str().unwrap_or_default(), faults);
    }
    for (path, search) in items(path, config, "searches") {
        let search = search.as_str().unwrap_or_default();
        let name = search.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(search);
        if name != "." {
            let faulty = names::subdomain(name).into_iter();
            faults.extend(faulty.map(|fault| FieldError::invalid(path.clone(), search, fault)));
        }
    }
    for (path, option) in items(path, config, "options") {
        if text(option, "name").is_empty() {
            faults.push(FieldError::required(path, "must not be empty"));
        }
    }
}

fn address(path: String, address: &str, faults: &mut Faults) {
    if address.parse::<IpAddr>().is_err() {
        let message = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        faults.push(FieldError::invalid(path, address, message));
    }
}

//! The table is consistent with itself.

use std::collections::BTreeMap;

use super::{all, find, find_api_version, find_kind};

#[test]
fn every_entry_is_found_by_its_path_and_by_its_kind() {
    for kind in all() {
        assert_eq!(find(kind.group, kind.version, kind.plural), Some(kind));
        assert_eq!(find_kind(kind.group, kind.version, kind.kind), Some(kind));
        assert_eq!(find_api_version(&kind.api_version(), kind.kind), Some(kind));
        assert_eq!(kind.singular, kind.kind.to_lowercase());
        assert!(kind.storage_prefix().ends_with('/'));
    }
}

#[test]
fn short_names_mean_one_resource() {
    let mut seen = BTreeMap::new();
    for kind in all() {
        for short in kind.short_names {
            // Groups and versions may share a resource.
            assert_eq!(*seen.entry(short).or_insert(kind.plural), kind.plural);
        }
    }
}

#[test]
fn both_event_kinds_are_stored_in_one_place() {
    let core = find("", "v1", "events").unwrap();
    let new = find("events.k8s.io", "v1", "events").unwrap();
    assert_eq!(core.storage_prefix(), new.storage_prefix());
    assert_eq!(core.storage_prefix(), "/registry/core/events/");
    assert_eq!(find("apps", "v1", "deployments").unwrap().path_prefix(), "/apis/apps/v1");
}

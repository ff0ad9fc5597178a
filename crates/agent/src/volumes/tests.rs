//! Volumes on a real file system.

use std::fs::{metadata, read_to_string};

use serde_json::{Value, json};

use super::*;
use crate::env::Host;
use crate::sources::Sources;
use crate::tokens::Wanted;

fn pod(volumes: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c" }], "volumes": volumes },
    }))
    .unwrap()
}

fn sources(value: &str) -> Sources {
    let mut sources = Sources::default();
    let config_map = json!({ "data": { "one": value, "two": "2" } });
    sources.config_maps.insert("cm".into(), serde_json::from_value(config_map).unwrap());
    let secret = json!({ "data": { "key": "c2VjcmV0" } });
    sources.secrets.insert("s".into(), serde_json::from_value(secret).unwrap());
    let wanted = Wanted { audience: String::new(), seconds: 3607 };
    sources.tokens.insert(wanted, "signed".into());
    sources
}

fn make(dir: &Path, volumes: &Value, sources: &Sources) -> Result<Places, VolumeError> {
    let (pod, host) = (pod(volumes), Host::default());
    prepare(dir, &Scope { pod: &pod, pod_ips: &[], host: &host, sources })
}

#[test]
fn config_maps_follow_their_object_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = json!([{ "name": "v", "configMap": { "name": "cm", "defaultMode": 0o400 } }]);
    let place = make(dir.path(), &volumes, &sources("1")).unwrap().remove("v").unwrap();
    assert_eq!(read_to_string(place.join("one")).unwrap(), "1");
    assert_eq!(metadata(place.join("one")).unwrap().permissions().mode() & 0o777, 0o400);
    let version = std::fs::read_link(place.join("..data")).unwrap();
    make(dir.path(), &volumes, &sources("1")).unwrap();
    assert_eq!(std::fs::read_link(place.join("..data")).unwrap(), version, "no change, no write");
    let mut fewer = sources("new");
    fewer.config_maps.get_mut("cm").unwrap().data.as_mut().unwrap().remove("two");
    make(dir.path(), &volumes, &fewer).unwrap();
    assert_eq!(read_to_string(place.join("one")).unwrap(), "new");
    assert!(!place.join("two").exists());
    assert!(!place.join(version).exists());
}

#[test]
fn items_projections_and_fields() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = json!([{ "name": "v", "projected": { "sources": [
        { "configMap": { "name": "cm", "items": [{ "key": "one", "path": "deep/er", "mode": 0o600 }] } },
        { "secret": { "name": "s" } },
        { "secret": { "name": "none", "optional": true } },
        { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
        { "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
    ] } }]);
    let place = make(dir.path(), &volumes, &sources("1")).unwrap().remove("v").unwrap();
    assert_eq!(read_to_string(place.join("deep/er")).unwrap(), "1");
    assert_eq!(read_to_string(place.join("key")).unwrap(), "secret");
    assert_eq!(read_to_string(place.join("token")).unwrap(), "signed");
    assert_eq!(read_to_string(place.join("labels")).unwrap(), "a=\"b\"");
}

#[test]
fn refusals() {
    let dir = tempfile::tempdir().unwrap();
    let check = |volume: Value, expected: &str| {
        let error = make(dir.path(), &json!([volume]), &sources("1")).unwrap_err();
        let shown = kit::Chain(&error).to_string().replace(dir.path().to_str().unwrap(), "DIR");
        assert_eq!(shown, expected);
    };
    check(
        json!({ "name": "v", "configMap": { "name": "none" } }),
        "volume `v` refers to what does not exist: configmap \"none\" not found",
    );
    check(
        json!({ "name": "v", "secret": { "secretName": "s", "items": [{ "key": "key", "path": "../../etc/x" }] } }),
        "volume `v` has a path that leaves it: `../../etc/x`",
    );
    check(
        json!({ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "t", "audience": "a" } }] } }),
        "volume `v` refers to what does not exist: no token was given for t",
    );
    check(
        json!({ "name": "v", "nfs": { "path": "/", "server": "s" } }),
        "volume `v` is of a kind that this agent does not know",
    );
    let missing = dir.path().join("missing");
    check(
        json!({ "name": "v", "hostPath": { "path": missing, "type": "Directory" } }),
        "volume `v`: hostPath type check failed: DIR/missing is not a directory",
    );
}

#[test]
fn host_paths_and_empty_dirs() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let pod_dir = dir.path().join("pod");
    let volumes = json!([
        { "name": "h", "hostPath": { "path": made, "type": "DirectoryOrCreate" } },
        { "name": "e", "emptyDir": {} },
        { "name": "m", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
    ]);
    let places = make(&pod_dir.join("volumes"), &volumes, &sources("1")).unwrap();
    assert!(made.is_dir());
    assert_eq!(metadata(&places["e"]).unwrap().permissions().mode() & 0o777, 0o777);
    let mounted = nix::sys::statfs::statfs(&places["m"]).unwrap();
    assert_eq!(mounted.filesystem_type(), nix::sys::statfs::TMPFS_MAGIC);
    std::fs::write(places["e"].join("kept"), "x").unwrap();
    make(&pod_dir.join("volumes"), &volumes, &sources("1")).unwrap();
    assert!(places["e"].join("kept").exists());
    remove(&pod_dir).unwrap();
    assert!(!pod_dir.exists() && made.is_dir());
    remove(&pod_dir).unwrap();
}

#[test]
fn sub_paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    assert!(sub_path("v", dir.path(), "a/b").unwrap().ends_with("a/b"));
    assert!(sub_path("v", dir.path(), "../x").is_err());
    assert!(sub_path("v", dir.path(), "/etc").is_err());
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
    assert!(sub_path("v", dir.path(), "out").is_err());
}

#[test]
fn mounts_left_in_a_volume_are_not_emptied() {
    let (home, precious) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(precious.path().join("kept"), "").unwrap();
    let place = home.path().join("pod/volumes/v/a b");
    std::fs::create_dir_all(&place).unwrap();
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(precious.path()), &place, None::<&str>, flags, None::<&str>).unwrap();
    assert!(place.join("kept").exists());
    remove(&home.path().join("pod")).unwrap();
    assert!(!home.path().join("pod").exists());
    assert!(precious.path().join("kept").exists());
}

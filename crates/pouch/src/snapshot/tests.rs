use std::fs;
use std::path::Path;

use super::Snapshots;
use crate::image::samples::{Tar, layout};
use crate::image::{Image, ImageStore};

/// A store below a fresh root, with one image of these layers. Unmounts when done, also by a failing test.
struct Sample {
    root: tempfile::TempDir,
    image: Image,
}

impl Sample {
    fn new(layers: &[Vec<u8>]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::open(root.path()).unwrap();
        let source = root.path().join("source");
        layout(Some("sample:1"), layers).write_directory(&source);
        let image = store.load(&source, &()).unwrap().remove(0);
        Self { root, image }
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::open(self.root.path()).unwrap()
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.snapshots().cleanup().unwrap();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn upper_layers_hide_and_replace_lower_ones() {
    let sample = Sample::new(&[
        Tar::default()
            .file("etc/a", b"low")
            .file("etc/gone", b"x")
            .file("old/one", b"1")
            .file("dir/x", b"x")
            .finish(),
        Tar::default()
            .file("etc/a", b"high")
            .file("etc/.wh.gone", b"")
            .file("old/.wh..wh..opq", b"")
            .finish(),
        Tar::default()
            .file("old/two", b"2")
            .file(".wh.dir", b"")
            .directory("dir")
            .file("dir/y", b"y")
            .finish(),
    ]);
    let rootfs = sample.snapshots().prepare(&sample.image, "c1").unwrap();
    assert_eq!(fs::read_to_string(rootfs.path.join("etc/a")).unwrap(), "high");
    assert_eq!(names(&rootfs.path.join("etc")), ["a"]);
    assert_eq!(names(&rootfs.path.join("old")), ["two"]);
    assert_eq!(names(&rootfs.path.join("dir")), ["y"]);
}

#[test]
fn a_layer_may_hide_everything_below_it() {
    let sample = Sample::new(&[
        Tar::default().file("low", b"").finish(),
        Tar::default().file(".wh..wh..opq", b"").file("high", b"").finish(),
    ]);
    let rootfs = sample.snapshots().prepare(&sample.image, "c1").unwrap();
    assert_eq!(names(&rootfs.path), ["high"]);
}

#[test]
fn what_a_container_writes_survives_a_reboot_and_nobody_elses() {
    let sample = Sample::new(&[Tar::default().file("a", b"image").finish()]);
    let snapshots = sample.snapshots();
    let first = snapshots.prepare(&sample.image, "c1").unwrap();
    let second = snapshots.prepare(&sample.image, "c2").unwrap();
    fs::write(first.path.join("a"), "mine").unwrap();
    assert_eq!(fs::read_to_string(second.path.join("a")).unwrap(), "image");

    // What a reboot does.
    snapshots.cleanup().unwrap();
    assert_eq!(names(&first.path), [""; 0]);
    assert_eq!(snapshots.mount("c1").unwrap().unwrap(), first);
    assert_eq!(fs::read_to_string(first.path.join("a")).unwrap(), "mine");
    assert_eq!(snapshots.prepare(&sample.image, "c1").unwrap(), first);

    assert_eq!(snapshots.list().unwrap(), ["c1", "c2"]);
    snapshots.remove("c1").unwrap();
    snapshots.remove("c1").unwrap();
    assert_eq!(snapshots.mount("c1").unwrap(), None);
    assert_eq!(snapshots.list().unwrap(), ["c2"]);
}

#[test]
fn a_snapshot_goes_though_a_file_in_it_is_open() {
    let sample = Sample::new(&[Tar::default().file("a", b"image").finish()]);
    let rootfs = sample.snapshots().prepare(&sample.image, "c1").unwrap();
    let open = fs::File::open(rootfs.path.join("a")).unwrap();
    sample.snapshots().remove("c1").unwrap();
    assert!(!rootfs.path.exists());
    drop(open);
}

#[test]
fn many_layers_fit() {
    let layers: Vec<Vec<u8>> = (0..150)
        .map(|i| Tar::default().file(&format!("f{i}"), b"").file("top", i.to_string().as_bytes()).finish())
        .collect();
    let sample = Sample::new(&layers);
    let rootfs = sample.snapshots().prepare(&sample.image, "c1").unwrap();
    assert_eq!(names(&rootfs.path).len(), 151);
    assert_eq!(fs::read_to_string(rootfs.path.join("top")).unwrap(), "149");
}

#[test]
fn layers_in_use_outlive_their_image() {
    let sample = Sample::new(&[Tar::default().file("a", b"image").finish()]);
    let store = ImageStore::open(sample.root.path()).unwrap();
    let rootfs = sample.snapshots().prepare(&sample.image, "c1").unwrap();
    store.remove("sample:1").unwrap().unwrap();
    assert_eq!(fs::read_to_string(rootfs.path.join("a")).unwrap(), "image");
    sample.snapshots().remove("c1").unwrap();
    store.collect_garbage().unwrap();
    assert_eq!(names(&sample.root.path().join("images/layers")), [""; 0]);
    let error = sample.snapshots().prepare(&sample.image, "c2").unwrap_err();
    assert!(error.to_string().ends_with("is not in the store"), "{error}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let sample = Sample::new(&[Tar::default().file("a", b"image").finish()]);
    for name in ["", ".", "..", "../x", "a/b", "a\0b"] {
        assert!(sample.snapshots().prepare(&sample.image, name).is_err(), "{name}");
    }
}

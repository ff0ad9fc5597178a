//! The store end to end, on a real filesystem.

use std::fs;
use std::io::Write;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

use super::ImageStore;
use super::digest::Digest;
use super::samples::{Layout, Tar, docker_archive, layout};

fn layer(content: &[u8]) -> Vec<u8> {
    Tar::default().file("etc/name", content).finish()
}

/// A fresh store and a place for archives.
struct Place {
    directory: tempfile::TempDir,
    store: ImageStore,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&directory.path().join("state")).unwrap();
        Self { directory, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<super::Image>, super::LoadError> {
        let path = self.directory.path().join("some.archive.tar");
        fs::write(&path, archive).unwrap();
        self.store.load(&path, &())
    }

    /// What `load` answers, as a person sees it; a refusal must leave nothing behind.
    fn refused(&self, archive: &[u8]) -> String {
        let error = self.load(archive).unwrap_err();
        assert_eq!(self.count("blobs/sha256"), 0, "blobs were left");
        assert_eq!(self.count("layers"), 0, "layers were left");
        assert_eq!(self.count("staging"), 0, "unfinished work was left");
        assert!(self.store.list().unwrap().is_empty());
        // Digests of generated content are of no interest here.
        let text = kit::Chain(&error).to_string();
        text.replace(&self.directory.path().display().to_string(), "")
    }

    fn count(&self, what: &str) -> usize {
        fs::read_dir(self.directory.path().join("state/images").join(what)).unwrap().count()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_kind_of_archive_gives_the_same_image() {
    let sample = layout(Some("web:1"), &[layer(b"low"), layer(b"high")]);
    let docker = docker_archive("web:1", &[layer(b"low"), layer(b"high")]);
    let tar = sample.tar();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for archive in [tar.clone(), gzip(&tar), zstd(&tar), docker.clone(), gzip(&docker), zstd(&docker)] {
        let place = Place::new();
        let images = place.load(&archive).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].references, ["docker.io/library/web:1"]);
        assert_eq!(images[0].layers.len(), 2);
        assert_eq!(place.count("layers"), 2);
        assert_eq!(place.count("staging"), 0);
    }
    let place = Place::new();
    let directory = sample.write_directory(&place.directory.path().join("layout"));
    assert_eq!(place.store.load(&directory, &()).unwrap()[0].id, sample.config.to_string());
}

#[test]
fn an_image_is_found_by_all_its_names_until_it_is_removed() {
    let place = Place::new();
    let sample = layout(Some("web:1"), &[layer(b"one")]);
    let image = place.load(&sample.tar()).unwrap().remove(0);
    place.store.tag("web:1", "registry.example/team/web:stable").unwrap().unwrap();
    let hex = sample.config.hex();
    for name in
        ["web:1", "docker.io/library/web:1", &image.id, hex, &hex[..12], "registry.example/team/web:stable"]
    {
        assert_eq!(
            place.store.resolve(name).unwrap().map(|found| found.id).as_ref(),
            Some(&image.id),
            "{name}"
        );
    }
    for name in ["web", "web:2", "ffffffffffff", &Digest::of(b"").to_string()] {
        assert!(place.store.resolve(name).unwrap().is_none(), "{name}");
    }
    assert!(place.store.resolve("No Name").is_err());
    assert_eq!(place.store.list().unwrap().len(), 1);
    assert!(place.store.remove("registry.example/team/web:stable").unwrap().is_some());
    assert!(place.store.remove("web:1").unwrap().is_none());
    assert_eq!((place.count("blobs/sha256"), place.count("layers")), (0, 0));
}

#[test]
fn a_tag_moves_to_the_newer_image_and_shared_layers_stay() {
    let place = Place::new();
    let old = place.load(&layout(Some("web:1"), &[layer(b"base"), layer(b"old")]).tar()).unwrap().remove(0);
    let new = place.load(&layout(Some("web:1"), &[layer(b"base"), layer(b"new")]).tar()).unwrap().remove(0);
    assert_eq!(old.layers[0], new.layers[0]);
    assert_eq!(place.store.resolve("web:1").unwrap().unwrap().id, new.id);
    assert!(place.store.resolve(&old.id).unwrap().unwrap().references.is_empty());
    assert_eq!(place.count("layers"), 3);
    place.store.remove(&old.id).unwrap().unwrap();
    assert_eq!(place.count("layers"), 2);
}

#[test]
fn a_bare_tag_is_a_tag_of_the_archives_name() {
    let place = Place::new();
    let images = place.load(&layout(Some("stable"), &[layer(b"x")]).tar()).unwrap();
    assert_eq!(images[0].references, ["docker.io/library/some:stable"]);
    let images = place.load(&layout(None, &[layer(b"y")]).tar()).unwrap();
    assert!(images[0].references.is_empty());
}

/// Replaces the content of the blob that `pick` names, leaving its name.
fn tamper(sample: &mut Layout, pick: &Digest, content: &[u8]) {
    let name = format!("blobs/sha256/{}", pick.hex());
    sample.files.iter_mut().find(|(file, _)| *file == name).unwrap().1 = content.to_vec();
}

#[test]
fn wrong_content_is_refused_whole() {
    let place = Place::new();
    let good = layout(Some("web:1"), &[layer(b"one")]);
    let mut config = good.clone();
    let mut bytes =
        config.files.iter().find(|(name, _)| name.ends_with(good.config.hex())).unwrap().1.clone();
    bytes[20] ^= 1;
    tamper(&mut config, &good.config, &bytes);
    assert!(place.refused(&config.tar()).contains("its content was changed or damaged"));

    let mut short = good.clone();
    tamper(&mut short, &good.config, b"{}");
    assert!(place.refused(&short.tar()).contains("has 2 bytes where its manifest says"));

    let mut missing = good.clone();
    missing.files.retain(|(name, _)| !name.ends_with(good.config.hex()));
    assert!(place.refused(&missing.tar()).contains("the archive holds no file `blobs/sha256/"));

    let mut diff = good.clone();
    let (other, mine) = (Digest::of(&layer(b"two")), Digest::of(&layer(b"one")));
    rewrite(&mut diff, &|text| text.replace(&mine.to_string(), &other.to_string()));
    assert!(place.refused(&diff.tar()).contains("where the image's configuration says"));
    assert!(place.load(&good.tar()).is_ok());
}

/// Changes the configuration and everything that names it, as a forger with care would.
fn rewrite(sample: &mut Layout, change: &dyn Fn(&str) -> String) {
    let blob = |sample: &Layout, digest: &Digest| {
        let (_, content) = sample.files.iter().find(|(name, _)| name.ends_with(digest.hex())).unwrap();
        String::from_utf8(content.clone()).unwrap()
    };
    let old_config = blob(sample, &sample.config);
    let new_config = change(&old_config);
    let config = Digest::of(new_config.as_bytes());
    let mut manifest: Value = serde_json::from_str(&blob(sample, &sample.manifest)).unwrap();
    manifest["config"] =
        super::samples::descriptor(manifest["config"]["mediaType"].as_str().unwrap(), new_config.as_bytes());
    let manifest = manifest.to_string();
    let digest = Digest::of(manifest.as_bytes());
    let mut index: Value = serde_json::from_slice(&sample.files[0].1).unwrap();
    index["manifests"][0]["digest"] = json!(digest.to_string());
    index["manifests"][0]["size"] = json!(manifest.len());
    sample.files[0].1 = index.to_string().into_bytes();
    for (old, new, content) in [(&sample.config, &config, new_config), (&sample.manifest, &digest, manifest)]
    {
        let file = sample.files.iter_mut().find(|(name, _)| name.ends_with(old.hex())).unwrap();
        *file = (format!("blobs/sha256/{}", new.hex()), content.into_bytes());
    }
    (sample.config, sample.manifest) = (config, digest);
}

#[test]
fn hostile_and_broken_archives_are_refused_whole() {
    let place = Place::new();
    let escape = |tar: Tar| layout(Some("evil:1"), &[layer(b"fine"), tar.finish()]).tar();
    let mut text = String::new();
    let without_digest = |message: String| {
        let start = message.find("sha256:");
        start.map_or(message.clone(), |at| message.replace(&message[at..at + 71], "DIGEST"))
    };
    for archive in [
        escape(Tar::default().file("../../evil", b"x")),
        escape(Tar::default().hard_link("h", "../../../etc/passwd")),
        escape(Tar::default().file("a/.wh...", b"")),
        b"this is no archive".to_vec(),
        b"BZh9 neither is this".to_vec(),
        Tar::default().file("hello", b"x").finish(),
        Tar::default().file("index.json", b"{").finish(),
        Tar::default().file("index.json", br#"{"schemaVersion":2,"manifests":[]}"#).finish(),
        Tar::default().file("manifest.json", br#"[{"Config":"../../etc/passwd","Layers":[]}]"#).finish(),
        Tar::default().hard_link("manifest.json", "manifest.json").finish(),
        layout(Some("web:1"), &[layer(b"one")]).tar()[..3000].to_vec(),
        gzip(&layout(Some("web:1"), &[layer(b"one")]).tar())[..300].to_vec(),
    ] {
        text += &without_digest(place.refused(&archive));
        text.push('\n');
    }
    expect![[r#"
        cannot install an image of the archive: cannot unpack layer DIGEST: layer entry `../../evil` climbs out of the layer by `..`
        cannot install an image of the archive: cannot unpack layer DIGEST: layer entry `h` is a hard link to `../../../etc/passwd`, which climbs out of the layer by `..`
        cannot install an image of the archive: cannot unpack layer DIGEST: layer entry `a/.wh...` is a malformed whiteout
        `/some.archive.tar` is no tar archive: the tar stream ends in the middle of an entry at byte 0
        cannot unpack `/some.archive.tar` to a temporary file: bzip2 compression is not supported; recompress with gzip or zstd
        `/some.archive.tar` is neither an OCI image layout nor a docker archive
        `index.json` in the archive cannot be read: EOF while parsing an object at line 1 column 1
        `/some.archive.tar` holds no image
        the archive holds no file `../../etc/passwd`
        `/some.archive.tar` is neither an OCI image layout nor a docker archive
        the archive holds no file `blobs/sha256/76345608833df3638349765ed712257447ce49e2a3876b60dc600ff10cda2d9d`
        cannot unpack `/some.archive.tar` to a temporary file: incomplete deflate stream
    "#]].assert_eq(&text);
    assert!(place.store.load(Path::new("/nowhere"), &()).is_err());
}

#[test]
fn an_index_leads_to_the_image_for_this_machine() {
    let place = Place::new();
    let mine = layout(None, &[layer(b"mine")]);
    let foreign = layout(None, &[layer(b"foreign")]);
    let entry = |sample: &Layout, architecture: &str| {
        let index: Value = serde_json::from_slice(&sample.files[0].1).unwrap();
        let mut entry = index["manifests"][0].clone();
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "multi:1"});
        entry
    };
    let here = super::manifest::architecture();
    let index = |entries: Vec<Value>| {
        let mut files = vec![(
            "index.json".to_owned(),
            json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes(),
        )];
        files.extend(mine.files[1..].iter().chain(&foreign.files[1..]).cloned());
        Layout { files, ..mine.clone() }.tar()
    };
    let none = index(vec![entry(&foreign, "s390x"), entry(&foreign, "riscv64")]);
    assert!(place.refused(&none).contains("it holds linux/s390x, linux/riscv64"));
    let images = place.load(&index(vec![entry(&foreign, "s390x"), entry(&mine, here)])).unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].id, mine.config.to_string());
}

#[test]
fn many_loaders_and_removers_at_once_leave_whole_images() {
    let place = Place::new();
    let paths: Vec<_> = (0..4)
        .map(|i| {
            let layers = [layer(b"base"), layer(format!("{i}").as_bytes())];
            let path = place.directory.path().join(format!("web{i}.tar"));
            fs::write(&path, layout(Some(&format!("web:{i}")), &layers).tar()).unwrap();
            path
        })
        .collect();
    std::thread::scope(|scope| {
        for (i, path) in paths.iter().enumerate() {
            let store = &place.store;
            scope.spawn(move || {
                for _ in 0..10 {
                    store.load(path, &()).unwrap();
                    if i % 2 == 0 {
                        store.remove(&format!("web:{i}")).unwrap();
                    }
                }
            });
        }
    });
    place.store.collect_garbage().unwrap();
    assert_eq!(place.store.list().unwrap().len(), 2);
    assert_eq!(place.count("layers"), 3);
    assert_eq!(place.count("staging"), 0);
}

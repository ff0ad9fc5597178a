use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{Recipe, pack};
use crate::image::ImageStore;
use crate::snapshot::Snapshots;

fn sample(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/tool"), "tool").unwrap();
    fs::set_permissions(root.join("bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("bin/tool"), root.join("bin/same")).unwrap();
    symlink("bin/tool", root.join("link")).unwrap();
    fs::write(root.join("n".repeat(180)), "long").unwrap();
    rustix::fs::setxattr(root.join("bin"), "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
}

fn recipe() -> Recipe {
    Recipe {
        tag: "tools:1".to_owned(),
        entrypoint: vec!["/bin/tool".to_owned()],
        cmd: vec!["-x".to_owned()],
        env: vec!["A=b".to_owned()],
        exposed_ports: ["80/tcp", "443/tcp", "53/udp"].map(str::to_owned).to_vec(),
        stop_signal: Some("SIGQUIT".to_owned()),
        ..Recipe::default()
    }
}

#[test]
fn the_same_directory_packs_to_the_same_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    // One directory, packed twice: two that are made apart may differ in their files' times.
    let root = scratch.path().join("root");
    sample(&root);
    let archives: Vec<Vec<u8>> = ["one", "two"]
        .iter()
        .map(|name| {
            let archive = scratch.path().join(format!("{name}.tar"));
            pack(&root, &recipe(), &archive).unwrap();
            fs::read(archive).unwrap()
        })
        .collect();
    assert!(archives[0] == archives[1]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "temporary files were left");
}

#[test]
fn a_packed_directory_comes_back_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("rootfs");
    sample(&root);
    let store = ImageStore::open(&scratch.path().join("state")).unwrap();
    let image = store.build(&root, &recipe(), &()).unwrap();
    assert_eq!(image.references, ["docker.io/library/tools:1"]);
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.entrypoint().as_deref().unwrap(), ["/bin/tool"]);
    assert_eq!(config.cmd().as_deref().unwrap(), ["-x"]);
    assert!(config.env().as_deref().unwrap().contains(&"A=b".to_owned()));

    let snapshots = Snapshots::open(&scratch.path().join("state")).unwrap();
    let rootfs = snapshots.prepare(&image, "c1").unwrap();
    let tool = fs::metadata(rootfs.path.join("link")).unwrap();
    assert_eq!(tool.permissions().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_to_string(rootfs.path.join("bin/same")).unwrap(), "tool");
    assert_eq!(fs::read_to_string(rootfs.path.join("n".repeat(180))).unwrap(), "long");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(rootfs.path.join("bin"), "user.note", &mut value[..]), Ok(1));
    snapshots.remove("c1").unwrap();
}

#[test]
fn bad_recipes_and_directories_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("a.tar");
    let bad_tag = Recipe { tag: "A b".to_owned(), ..Recipe::default() };
    assert!(pack(scratch.path(), &bad_tag, &archive).is_err());
    let error = pack(Path::new("/nowhere"), &recipe(), &archive).unwrap_err();
    assert_eq!(error.to_string(), "cannot pack `/nowhere`");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "temporary files were left");
}

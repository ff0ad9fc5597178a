use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tar::EntryType;

use super::{Limits, unpack};
use crate::image::samples::Tar;

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000 };

/// Everything below `directory` that a layer can put there.
fn tree(directory: &Path) -> String {
    let mut text = String::new();
    list(directory, Path::new(""), &mut text);
    text
}

fn list(directory: &Path, inside: &Path, text: &mut String) {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let (path, inside) = (directory.join(&name), inside.join(&name));
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_char_device() {
            format!("device {}", metadata.rdev())
        } else if kind.is_dir() {
            let mut value = [0; 8];
            let opaque = rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value[..]).is_ok();
            format!("directory{}", if opaque { " opaque" } else { "" })
        } else {
            format!("file {:?} links {}", fs::read_to_string(&path).unwrap_or_default(), metadata.nlink())
        };
        *text += &format!("{} {:o} {what}\n", inside.display(), metadata.mode() & 0o7777);
        if kind.is_dir() {
            list(&path, &inside, text);
        }
    }
}

/// Unpacks into a directory that lies beside a bait, and shows what became of both.
fn run(tar: Tar) -> String {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("layer");
    fs::create_dir(&root).unwrap();
    fs::write(outside.path().join("bait"), "untouched").unwrap();
    let bytes = tar.finish();
    let result = unpack(&bytes[..], &root, LIMITS);
    assert_eq!(fs::read_to_string(outside.path().join("bait")).unwrap(), "untouched");
    assert_eq!(fs::metadata(outside.path().join("bait")).unwrap().nlink(), 1);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "something was written outside");
    match result {
        Ok(_) => tree(&root),
        Err(error) => format!("refused: {}\n", kit::Chain(&error)).replace('\0', "(zero)"),
    }
}

fn check(cases: Vec<(&str, Tar)>, expected: Expect) {
    let text: String = cases.into_iter().map(|(name, tar)| format!("{name}:\n{}", run(tar))).collect();
    expected.assert_eq(&text);
}

#[test]
fn nothing_leaves_the_layer() {
    let tar = Tar::default;
    check(
        vec![
            ("parent", tar().file("../bait", b"evil")),
            ("parent inside", tar().directory("a").file("a/../../bait", b"evil")),
            ("absolute is the layer's root", tar().file("/bait", b"inside")),
            ("through an absolute link", tar().symlink("l", "/").file("l/bait", b"inside")),
            ("through a relative link", tar().symlink("l", "../..").file("l/bait", b"inside")),
            ("over a link", tar().symlink("bait", "../bait").file("bait", b"inside")),
            ("through /proc", tar().symlink("p", "/proc/self/root").file("p/bait", b"evil")),
            ("hard link to a parent", tar().hard_link("h", "../bait")),
            ("hard link through a link", tar().symlink("l", "..").hard_link("h", "l/bait")),
            ("absolute hard link", tar().hard_link("h", "/etc/passwd")),
            (
                "hard link to a link, then written",
                tar().symlink("l", "../bait").hard_link("h", "l").file("h", b"x"),
            ),
            ("directory over a link", tar().symlink("d", "..").directory("d").file("d/bait", b"inside")),
        ],
        expect![[r#"
            parent:
            refused: layer entry `../bait` climbs out of the layer by `..`
            parent inside:
            refused: layer entry `a/../../bait` climbs out of the layer by `..`
            absolute is the layer's root:
            bait 644 file "inside" links 1
            through an absolute link:
            bait 644 file "inside" links 1
            l 777 -> /
            through a relative link:
            bait 644 file "inside" links 1
            l 777 -> ../..
            over a link:
            bait 644 file "inside" links 1
            through /proc:
            refused: layer entry `p/bait` lies below something that is no directory
            hard link to a parent:
            refused: layer entry `h` is a hard link to `../bait`, which climbs out of the layer by `..`
            hard link through a link:
            refused: layer entry `h` is a hard link to `l/bait`, which this layer does not hold: No such file or directory (os error 2)
            absolute hard link:
            refused: layer entry `h` is a hard link to `/etc/passwd`, which this layer does not hold: No such file or directory (os error 2)
            hard link to a link, then written:
            h 644 file "x" links 1
            l 777 -> ../bait
            directory over a link:
            d 755 directory
            d/bait 644 file "inside" links 1
        "#]],
    );
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    let tar = Tar::default;
    check(
        vec![
            ("file", tar().file("a/.wh.b", b"")),
            ("opaque", tar().directory("a").file("a/.wh..wh..opq", b"").file("a/new", b"n")),
            ("then a directory", tar().file(".wh.a", b"").directory("a").file("a/b", b"x")),
            ("then a file below", tar().file(".wh.a", b"").file("a/b", b"x")),
            ("after the directory", tar().file("a/b", b"x").file(".wh.a", b"")),
            ("after the file", tar().file("a", b"x").file(".wh.a", b"")),
            ("books of aufs", tar().file(".wh..wh.plnk", b"").file(".wh..wh.aufs", b"")),
            ("names nothing", tar().file(".wh.", b"")),
            ("names the directory itself", tar().file("a/.wh..", b"")),
            ("names the parent", tar().file("a/.wh...", b"")),
            ("in the middle", tar().file("a/.wh.b/c", b"")),
            ("as a device", tar().device("a", 0, 0)),
            ("as an attribute", tar().pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")]).directory("a")),
            ("redirect", tar().pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")]).directory("a")),
            ("linked", tar().file(".wh.a", b"").hard_link("b", "a")),
        ],
        expect![[r#"
            file:
            a 755 directory
            a/b 0 device 0
            opaque:
            a 755 directory opaque
            a/new 644 file "n" links 1
            then a directory:
            a 755 directory opaque
            a/b 644 file "x" links 1
            then a file below:
            a 755 directory opaque
            a/b 644 file "x" links 1
            after the directory:
            a 755 directory opaque
            a/b 644 file "x" links 1
            after the file:
            a 644 file "x" links 1
            books of aufs:
            names nothing:
            refused: layer entry `.wh.` is a malformed whiteout
            names the directory itself:
            refused: layer entry `a/.wh..` is a malformed whiteout
            names the parent:
            refused: layer entry `a/.wh...` is a malformed whiteout
            in the middle:
            refused: layer entry `a/.wh.b/c` is a malformed whiteout
            as a device:
            refused: layer entry `a` forges a whiteout: it is made as a device 0:0 or with overlay attributes
            as an attribute:
            refused: layer entry `a` forges a whiteout: it is made as a device 0:0 or with overlay attributes
            redirect:
            refused: layer entry `a` forges a whiteout: it is made as a device 0:0 or with overlay attributes
            linked:
            refused: layer entry `b` is a hard link to `a`, which this layer does not hold: No such file or directory (os error 2)
        "#]],
    );
}

#[test]
fn later_entries_replace_earlier_ones() {
    let tar = Tar::default;
    check(
        vec![
            ("file twice", tar().file("a", b"one").file("a", b"two")),
            ("file over a directory", tar().file("a/b/c", b"x").file("a", b"file")),
            ("directory over a file", tar().file("a", b"file").directory("a").file("a/b", b"x")),
            ("directory again keeps its content", tar().file("a/b", b"x").directory("a")),
            ("hard link to itself", tar().file("a", b"x").hard_link("a", "a")),
            ("hard link over a file", tar().file("a", b"x").file("b", b"y").hard_link("b", "./a")),
            ("below a file", tar().file("a", b"x").file("a/b", b"y")),
            ("the root as a file", tar().file("./", b"").entry(EntryType::Fifo, ".", "", b"")),
        ],
        expect![[r#"
            file twice:
            a 644 file "two" links 1
            file over a directory:
            a 644 file "file" links 1
            directory over a file:
            a 755 directory
            a/b 644 file "x" links 1
            directory again keeps its content:
            a 755 directory
            a/b 644 file "x" links 1
            hard link to itself:
            a 644 file "x" links 1
            hard link over a file:
            a 644 file "x" links 2
            b 644 file "x" links 2
            below a file:
            refused: layer entry `a/b` lies below something that is no directory
            the root as a file:
            refused: layer entry `.` has a path that is empty, too long, or holds a zero byte
        "#]],
    );
}

#[test]
fn bombs_are_bounded() {
    let tar = Tar::default;
    let many = (0..1001).fold(tar(), |tar, i| tar.file(&format!("f{i}"), b""));
    check(
        vec![
            ("declared too large", tar().pax(&[("size", b"1099511627776")]).file("a", b"x")),
            ("really too large", tar().file("a", &vec![0; 600_000]).file("b", &vec![0; 600_000])),
            ("too many", many),
            (
                "size overflow",
                tar().pax(&[("size", b"18446744073709551615")]).file("a", b"x").file("b", b"x"),
            ),
            ("short", tar().pax(&[("size", b"4000")]).file("a", b"x")),
            (
                "size on a link",
                tar().raw("l", "t", b"", |header| {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(1 << 30);
                }),
            ),
            ("owner", tar().pax(&[("uid", b"4294967295")]).file("a", b"x")),
            ("zero byte", tar().pax(&[("path", b"a\0b")]).file("a", b"x")),
        ],
        expect![[r#"
            declared too large:
            refused: the layer unpacks to more than 1048576 bytes, at entry `a`
            really too large:
            refused: the layer unpacks to more than 1048576 bytes, at entry `b`
            too many:
            refused: the layer holds more than 1000 entries
            size overflow:
            refused: the layer unpacks to more than 1048576 bytes, at entry `a`
            short:
            refused: layer entry `a` ends early: 2464 bytes are missing
            size on a link:
            l 777 -> t
            owner:
            refused: layer entry `a` has an owner beyond 32 bits
            zero byte:
            refused: layer entry `a(zero)b` has a path that is empty, too long, or holds a zero byte
        "#]],
    );
}

#[test]
fn owners_modes_times_capabilities_and_devices_arrive() {
    let directory = tempfile::tempdir().unwrap();
    // cap_net_bind_service=ep, as setcap writes it.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .raw("./", "", b"", |header| {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o750);
        })
        .raw("su", "", b"x", |header| {
            header.set_mode(0o4755);
            header.set_uid(1234);
        })
        .pax(&[("SCHILY.xattr.security.capability", &capability), ("SCHILY.xattr.user.note", b"a\nb")])
        .file("bind", b"x")
        .directory("d")
        .file("d/late", b"x")
        .device("null", 1, 3)
        .entry(EntryType::Fifo, "pipe", "", b"")
        .finish();
    unpack(&tar[..], directory.path(), LIMITS).unwrap();
    let at = |name: &str| fs::symlink_metadata(directory.path().join(name)).unwrap();
    assert_eq!(at("").mode() & 0o7777, 0o750);
    assert_eq!((at("su").mode() & 0o7777, at("su").uid()), (0o4755, 1234));
    assert_eq!((at("d").mtime(), at("d/late").mtime()), (1_000_000_000, 1_000_000_000));
    assert_eq!(at("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(at("pipe").file_type().is_fifo());
    let mut value = [0; 64];
    let attribute = |name, value: &mut [u8]| rustix::fs::getxattr(directory.path().join("bind"), name, value);
    assert_eq!(attribute("security.capability", &mut value[..]), Ok(20));
    assert_eq!(value[..20], capability);
    assert_eq!(attribute("user.note", &mut value[..]), Ok(3));
}

/// Names that meet each other often.
fn name() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just(".."),
        Just("."),
        Just(""),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just(".wh..."),
        Just("bait"),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_sequence_of_entries_reaches_outside(
        entries in prop::collection::vec((0u8..6, name(), name()), 1..12)
    ) {
        let tar = entries.iter().fold(Tar::default(), |tar, (kind, path, target)| match kind {
            0 | 1 => tar.file(path, b"content"),
            2 => tar.directory(path),
            3 => tar.symlink(path, target),
            4 => tar.hard_link(path, target),
            _ => tar.symlink(path, &format!("/{target}")),
        });
        // `run` itself checks that the bait and its directory are as they were.
        run(tar);
    }
}

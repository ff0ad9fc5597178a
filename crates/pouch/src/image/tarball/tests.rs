use std::io::Read;

use expect_test::expect;
use proptest::prelude::*;
use tar::EntryType;

use super::Entries;
use crate::image::samples::Tar;

/// Every entry on one line, or the error.
fn shown(bytes: &[u8]) -> String {
    let mut entries = Entries::new(bytes);
    let mut text = String::new();
    loop {
        match entries.next() {
            Ok(None) => return text,
            Err(error) => return text + &format!("error: {}\n", kit::Chain(&error)),
            Ok(Some(member)) => {
                let mut body = Vec::new();
                entries.read_to_end(&mut body).unwrap();
                let mut path = member.shown();
                if path.len() > 40 {
                    path = format!("{}... ({})", &path[..10], path.len());
                }
                text += &format!(
                    "{:?} {path} size {} body {} uid {} mtime {:?} xattrs {}\n",
                    member.kind,
                    member.size,
                    body.len(),
                    member.uid,
                    member.mtime,
                    member.xattrs.len()
                );
            }
        }
    }
}

#[test]
fn extended_headers_apply_to_the_next_entry_only() {
    let long = "d/".repeat(100) + "name";
    let bytes = Tar::default()
        .pax(&[
            ("path", long.as_bytes()),
            ("uid", b"3000000"),
            ("mtime", b"12.5"),
            ("SCHILY.xattr.user.a", b"two\nlines 9 x=y\n"),
        ])
        .file("short", b"abc")
        .file("next", b"")
        .entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}2\0").as_bytes())
        .directory("x")
        .finish();
    expect![[r#"
        Regular d/d/d/d/d/... (204) size 3 body 3 uid 3000000 mtime (12, 500000000) xattrs 1
        Regular next size 0 body 0 uid 0 mtime (1000000000, 0) xattrs 0
        Directory d/d/d/d/d/... (205) size 0 body 0 uid 0 mtime (1000000000, 0) xattrs 0
    "#]]
    .assert_eq(&shown(&bytes));
}

#[test]
fn a_size_beyond_eight_gibibytes_comes_from_the_extended_header() {
    let bytes = Tar::default().pax(&[("size", b"9000000000")]).file("big", b"abc").finish();
    let mut entries = Entries::new(&bytes[..]);
    assert_eq!(entries.next().unwrap().unwrap().size, 9_000_000_000);
    expect!["the tar stream ends in the middle of an entry at byte 1536"]
        .assert_eq(&entries.next().unwrap_err().to_string());
}

#[test]
fn damage_is_told() {
    let good = Tar::default().file("a", b"abc").finish();
    let mut flipped = good.clone();
    flipped[0] = b'b';
    let huge = Tar::default().raw("x", "", b"", |header| {
        header.set_entry_type(EntryType::XHeader);
        header.set_size(1 << 40);
    });
    let sparse = Tar::default().entry(EntryType::GNUSparse, "s", "", b"");
    let text: String = [flipped, good[..514].to_vec(), good[..100].to_vec(), huge.finish(), sparse.finish()]
        .iter()
        .map(|bytes| shown(bytes))
        .collect();
    expect![[r#"
        error: the tar header at byte 0 has a wrong checksum
        Regular a size 3 body 2 uid 0 mtime (1000000000, 0) xattrs 0
        error: the tar stream ends in the middle of an entry at byte 514
        error: the tar stream ends in the middle of an entry at byte 0
        error: the tar extension at byte 512 is 1099511627776 bytes long, over the limit of 1048576
        error: tar entry `s` is of a kind that is not supported: sparse file
    "#]]
    .assert_eq(&text);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut noise in prop::collection::vec(any::<u8>(), 0..3000), at in 0usize..1500) {
        shown(&noise);
        // An honest archive with a few bytes changed comes further.
        let mut bytes = Tar::default().pax(&[("path", b"p")]).file("a", b"abc").symlink("l", "t").finish();
        noise.truncate(3);
        for (i, byte) in noise.iter().enumerate() {
            let length = bytes.len();
            bytes[(at * 7 + i) % length] = *byte;
        }
        shown(&bytes);
    }

    #[test]
    fn extended_records_of_any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Tar::default().entry(EntryType::XHeader, "x", "", &body).file("a", b"").finish();
        shown(&bytes);
    }
}

//! Applies one layer's tar stream to an empty directory, and to nothing else.
//!
//! Every path is resolved by the kernel inside the layer's root (`openat2` with `RESOLVE_IN_ROOT`), so that a
//! symbolic link leads where it would lead inside the container; no other process' path is ever touched. Names
//! with `..` are refused outright. A leading `/` means the layer's root, as real image builders write it.
//! Whiteouts become what overlayfs understands: a character device 0:0, or the attribute `trusted.overlay.opaque`.

mod place;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use self::place::Place;
use super::tarball::{Entries, Kind, Member, TarError};

/// How much one layer may become on disk.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: u64,
    pub entries: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("cannot read the layer")]
    Tar {
        #[from]
        source: TarError,
    },
    #[error("cannot open the directory `{path}` for the layer", path = path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error("layer entry `{path}` climbs out of the layer by `..`")]
    Escape { path: String },
    #[error("layer entry `{path}` is a hard link to `{target}`, which climbs out of the layer by `..`")]
    LinkEscape { path: String, target: String },
    #[error("layer entry `{path}` is a hard link to `{target}`, which this layer does not hold")]
    LinkTarget { path: String, target: String, source: io::Error },
    #[error("layer entry `{path}` is a malformed whiteout")]
    Whiteout { path: String },
    #[error("layer entry `{path}` forges a whiteout: it is made as a device 0:0 or with overlay attributes")]
    ForgedWhiteout { path: String },
    #[error("layer entry `{path}` lies below something that is no directory")]
    NotADirectory { path: String },
    #[error("layer entry `{path}` has a path that is empty, too long, or holds a zero byte")]
    Path { path: String },
    #[error("layer entry `{path}` has an owner beyond 32 bits")]
    Owner { path: String },
    #[error("the layer unpacks to more than {limit} bytes, at entry `{path}`")]
    TooLarge { path: String, limit: u64 },
    #[error("the layer holds more than {limit} entries")]
    TooMany { limit: u64 },
    #[error("layer entry `{path}` ends early: {missing} bytes are missing")]
    Short { path: String, missing: u64 },
    #[error("cannot {action} for layer entry `{path}`")]
    Write { action: &'static str, path: String, source: io::Error },
}

/// What a layer became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    pub bytes: u64,
    pub entries: u64,
}

/// Unpacks the plain tar stream `reader` into the empty directory `root`. On an error the directory holds whatever
/// was unpacked until then: the caller throws it away.
pub fn unpack<R: Read>(reader: R, root: &Path, limits: Limits) -> Result<(Unpacked, R), UnpackError> {
    let root_directory = place::open_root(root)
        .map_err(|source| UnpackError::Root { path: root.to_owned(), source: source.into() })?;
    let mut unpacker = Unpacker {
        place: Place::new(root_directory),
        limits,
        done: Unpacked { bytes: 0, entries: 0 },
        directory_times: Vec::new(),
        buffer: vec![0; 128 * 1024],
    };
    let mut entries = Entries::new(reader);
    while let Some(member) = entries.next()? {
        unpacker.apply(&member, &mut entries)?;
    }
    unpacker.set_directory_times();
    Ok((unpacker.done, entries.into_inner()))
}

#[derive(Debug)]
struct Unpacker {
    place: Place,
    limits: Limits,
    done: Unpacked,
    /// Filling a directory changes its times, so they are set at the end.
    directory_times: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

/// Names a failed step for the message.
fn failed(action: &'static str, member: &Member) -> impl Fn(Errno) -> UnpackError {
    let path = member.shown();
    move |errno| UnpackError::Write { action, path: path.clone(), source: errno.into() }
}

impl Unpacker {
    fn apply<R: Read>(&mut self, member: &Member, body: &mut Entries<R>) -> Result<(), UnpackError> {
        self.count(member)?;
        let path = components(&member.path).map_err(|fault| fault.for_entry(member))?;
        let Some((name, parent)) = path.split_last() else { return self.apply_to_root(member) };
        if parent.iter().any(|component| component.as_bytes().starts_with(b".wh.")) {
            return Err(UnpackError::Whiteout { path: member.shown() });
        }
        let parent_path: PathBuf = parent.iter().collect();
        let parent = self.place.directory(&parent_path).map_err(|errno| match errno {
            Errno::NOTDIR | Errno::EXIST => UnpackError::NotADirectory { path: member.shown() },
            other => failed("make the parent directory", member)(other),
        })?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return self.whiteout(member, &parent, hidden);
        }
        if has_overlay_attribute(member) || is_whiteout_device(member) {
            return Err(UnpackError::ForgedWhiteout { path: member.shown() });
        }
        self.create(member, &Target { parent: &parent, parent_path: &parent_path, name }, body)
    }

    fn count(&mut self, member: &Member) -> Result<(), UnpackError> {
        self.done.entries += 1;
        if self.done.entries > self.limits.entries {
            return Err(UnpackError::TooMany { limit: self.limits.entries });
        }
        self.done.bytes = self.done.bytes.saturating_add(member.size);
        if self.done.bytes > self.limits.bytes {
            return Err(UnpackError::TooLarge { path: member.shown(), limit: self.limits.bytes });
        }
        Ok(())
    }

    /// `./` says how the root directory itself is to look.
    fn apply_to_root(&mut self, member: &Member) -> Result<(), UnpackError> {
        if member.kind != Kind::Directory {
            return Err(UnpackError::Path { path: member.shown() });
        }
        if has_overlay_attribute(member) {
            return Err(UnpackError::ForgedWhiteout { path: member.shown() });
        }
        let root = self.place.directory(Path::new("")).map_err(failed("open the root", member))?;
        self.dress_open(&root, member)?;
        self.directory_times.push((PathBuf::new(), times(member)));
        Ok(())
    }

    fn whiteout(&mut self, member: &Member, parent: &OwnedFd, hidden: &[u8]) -> Result<(), UnpackError> {
        if hidden == b".wh..opq" {
            return place::make_opaque(parent).map_err(failed("mark a directory opaque", member));
        }
        // aufs kept its books under `.wh..wh.`; they are not part of the image.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::Whiteout { path: member.shown() });
        }
        let name = OsStr::from_bytes(hidden);
        place::hide(parent, name).map_err(failed("make a whiteout", member))
    }

    fn create<R: Read>(
        &mut self,
        member: &Member,
        target: &Target<'_>,
        body: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        if member.kind == Kind::Directory {
            return self.create_directory(member, target);
        }
        if member.kind == Kind::HardLink {
            return self.create_hard_link(member, target);
        }
        self.clear(member, target)?;
        let Target { parent, name, .. } = *target;
        let mode = Mode::from_raw_mode(0o600);
        let make = |kind, device| rustix::fs::mknodat(parent, name, kind, mode, device);
        let device = rustix::fs::makedev(member.device.0, member.device.1);
        match member.kind {
            Kind::Regular => return self.create_file(member, target, body),
            Kind::Symlink => rustix::fs::symlinkat(OsStr::from_bytes(&member.link), parent, name),
            Kind::Fifo => make(FileType::Fifo, 0),
            Kind::Character => make(FileType::CharacterDevice, device),
            Kind::Block => make(FileType::BlockDevice, device),
            Kind::Directory | Kind::HardLink => Ok(()),
        }
        .map_err(failed("make the file", member))?;
        dress_named(member, target)
    }

    /// A later entry replaces an earlier one of the same name.
    fn clear(&mut self, member: &Member, target: &Target<'_>) -> Result<(), UnpackError> {
        match rustix::fs::unlinkat(target.parent, target.name, AtFlags::empty()) {
            Ok(()) => {
                self.place.forget();
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => {
                self.place.forget();
                place::remove_tree(target.parent, target.name).map_err(failed("replace a directory", member))
            }
            Err(errno) => Err(failed("replace a file", member)(errno)),
        }
    }

    fn create_file<R: Read>(
        &mut self,
        member: &Member,
        target: &Target<'_>,
        body: &mut Entries<R>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(target.parent, target.name, flags, Mode::from_raw_mode(0o600))
            .map_err(failed("create the file", member))?;
        let mut file = File::from(file);
        self.copy(member, body, &mut file)?;
        let file = OwnedFd::from(file);
        self.dress_open(&file, member)?;
        rustix::fs::futimens(&file, &times(member)).map_err(failed("set the times", member))
    }

    fn copy<R: Read>(
        &mut self,
        member: &Member,
        body: &mut Entries<R>,
        file: &mut File,
    ) -> Result<(), UnpackError> {
        let mut left = member.size;
        while left > 0 {
            let n_read = match body.read(&mut self.buffer) {
                Ok(0) => return Err(UnpackError::Short { path: member.shown(), missing: left }),
                Ok(n_read) => n_read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TarError::Read { offset: member.offset, source }.into()),
            };
            file.write_all(&self.buffer[..n_read]).map_err(|source| UnpackError::Write {
                action: "write the file",
                path: member.shown(),
                source,
            })?;
            left -= n_read as u64;
        }
        Ok(())
    }

    fn create_directory(&mut self, member: &Member, target: &Target<'_>) -> Result<(), UnpackError> {
        if !place::is_directory(target.parent, target.name) {
            let hides_lower = place::is_whiteout(target.parent, target.name);
            self.clear(member, target)?;
            let made = place::make_directory(target.parent, target.name, hides_lower);
            made.map_err(failed("make the directory", member))?;
        }
        let directory = place::open_directory(target.parent, target.name)
            .map_err(failed("open the directory", member))?;
        self.dress_open(&directory, member)?;
        self.directory_times.push((target.parent_path.join(target.name), times(member)));
        Ok(())
    }

    fn create_hard_link(&mut self, member: &Member, target: &Target<'_>) -> Result<(), UnpackError> {
        let shown = String::from_utf8_lossy(&member.link).into_owned();
        let bad_target = |errno: Errno| UnpackError::LinkTarget {
            path: member.shown(),
            target: shown.clone(),
            source: errno.into(),
        };
        let path = components(&member.link)
            .map_err(|_| UnpackError::LinkEscape { path: member.shown(), target: shown.clone() })?;
        let Some((name, parent)) = path.split_last() else { return Err(bad_target(Errno::NOENT)) };
        let source = self.place.existing(&parent.iter().collect::<PathBuf>()).map_err(bad_target)?;
        // A link to a whiteout would be a whiteout; a link to itself would be removed below before it is made.
        if place::is_whiteout(&source, name) {
            return Err(bad_target(Errno::NOENT));
        }
        if place::is_same_file((&source, name), (target.parent, target.name)).map_err(bad_target)? {
            return Ok(());
        }
        self.clear(member, target)?;
        rustix::fs::linkat(&source, *name, target.parent, target.name, AtFlags::empty()).map_err(bad_target)
    }

    /// Owner, then mode, then attributes: changing the owner clears setuid bits and file capabilities.
    fn dress_open(&self, file: &OwnedFd, member: &Member) -> Result<(), UnpackError> {
        let (uid, gid) = owner(member)?;
        rustix::fs::fchown(file, Some(uid), Some(gid)).map_err(failed("set the owner", member))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(member.mode)).map_err(failed("set the mode", member))?;
        for (name, value) in &member.xattrs {
            let set = rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
            attribute_result(set, name, member)?;
        }
        Ok(())
    }

    fn set_directory_times(&mut self) {
        for (path, times) in self.directory_times.drain(..).rev() {
            // A later entry may have replaced the directory; then there is nothing to set.
            let set =
                self.place.existing(&path).and_then(|directory| rustix::fs::futimens(&directory, &times));
            if let Err(error) = set {
                tracing::debug!(path = %path.display(), %error, "Time of a directory not set");
            }
        }
    }
}

/// Where an entry goes.
#[derive(Debug)]
struct Target<'a> {
    parent: &'a OwnedFd,
    parent_path: &'a Path,
    name: &'a OsStr,
}

/// As `dress_open` for what cannot be opened: links, pipes, devices.
fn dress_named(member: &Member, target: &Target<'_>) -> Result<(), UnpackError> {
    let Target { parent, name, .. } = *target;
    let (uid, gid) = owner(member)?;
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the owner", member))?;
    if member.kind != Kind::Symlink {
        // Not a link: it was made exclusively a moment ago, so nothing is followed.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(member.mode), AtFlags::empty())
            .map_err(failed("set the mode", member))?;
    }
    rustix::fs::utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the times", member))
}

/// File capabilities must arrive; attributes that this filesystem does not know are no loss.
fn attribute_result(result: rustix::io::Result<()>, name: &[u8], member: &Member) -> Result<(), UnpackError> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) if name != b"security.capability" => {
            let attribute = String::from_utf8_lossy(name);
            tracing::debug!(path = member.shown(), %attribute, "Attribute left out");
            Ok(())
        }
        other => other.map_err(failed("set an extended attribute", member)),
    }
}

fn owner(member: &Member) -> Result<(Uid, Gid), UnpackError> {
    // The highest number means `leave as is` to the kernel.
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(member.uid), id(member.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(UnpackError::Owner { path: member.shown() }),
    }
}

fn times(member: &Member) -> Timestamps {
    let modified = Timespec { tv_sec: member.mtime.0, tv_nsec: i64::from(member.mtime.1) };
    Timestamps { last_access: modified, last_modification: modified }
}

fn has_overlay_attribute(member: &Member) -> bool {
    let is_overlay =
        |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    member.xattrs.iter().any(|(name, _)| is_overlay(name))
}

fn is_whiteout_device(member: &Member) -> bool {
    member.kind == Kind::Character && member.device == (0, 0)
}

/// Why a path cannot be used.
#[derive(Debug)]
enum PathFault {
    Escape,
    Malformed,
}

impl PathFault {
    fn for_entry(self, member: &Member) -> UnpackError {
        match self {
            Self::Escape => UnpackError::Escape { path: member.shown() },
            Self::Malformed => UnpackError::Path { path: member.shown() },
        }
    }
}

/// The path below the root, without `.` and empty components. Empty: the root itself.
fn components(path: &[u8]) -> Result<Vec<&OsStr>, PathFault> {
    const LONGEST_PATH: usize = 4095;
    if path.is_empty() || path.len() > LONGEST_PATH || path.contains(&0) {
        return Err(PathFault::Malformed);
    }
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return Err(PathFault::Escape);
    }
    Ok(parts.into_iter().map(OsStr::from_bytes).collect())
}

#[cfg(test)]
mod tests;

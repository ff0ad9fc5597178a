//! Directories inside a layer's root, resolved there and nowhere else.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::io::{Errno, Result};

const DIRECTORY: OFlags =
    OFlags::from_bits_retain(OFlags::RDONLY.bits() | OFlags::DIRECTORY.bits() | OFlags::CLOEXEC.bits());

/// The root of a layer, and the directory that was used last: entries come directory by directory.
#[derive(Debug)]
pub(super) struct Place {
    root: OwnedFd,
    last: Option<(PathBuf, Rc<OwnedFd>)>,
}

impl Place {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// Something was removed or replaced: an open directory may no longer be the one of that name.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Opens the directory at `path` inside the root; makes what is missing of it.
    pub(super) fn directory(&mut self, path: &Path) -> Result<Rc<OwnedFd>> {
        if let Some((last_path, directory)) = &self.last
            && last_path == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = match self.existing(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make(path)?,
            found => found?,
        };
        let directory = Rc::new(directory);
        self.last = Some((path.to_owned(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Opens the directory at `path` inside the root, following links as if the root were `/`.
    pub(super) fn existing(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve)
    }

    fn make(&self, path: &Path) -> Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        let mut parent = self.existing(&so_far)?;
        for component in path {
            so_far.push(component);
            parent = match self.existing(&so_far) {
                Err(Errno::NOENT | Errno::NOTDIR) => make_missing(&parent, component)?,
                found => found?,
            };
        }
        Ok(parent)
    }
}

/// A directory that no entry described. Where a whiteout stands, the lower directory is gone and this one is new.
fn make_missing(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    let hides_lower = is_whiteout(parent, name);
    if hides_lower {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    }
    make_directory(parent, name, hides_lower)?;
    open_directory(parent, name)
}

pub(super) fn open_root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn open_directory(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn make_directory(parent: &OwnedFd, name: &OsStr, hides_lower: bool) -> Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    let directory = open_directory(parent, name)?;
    // The process' umask must not decide how an image looks.
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
    if hides_lower { make_opaque(&directory) } else { Ok(()) }
}

/// Hides all that lower layers hold in this directory.
pub(super) fn make_opaque(directory: &OwnedFd) -> Result<()> {
    rustix::fs::fsetxattr(directory, "trusted.overlay.opaque", b"y", XattrFlags::empty())
}

/// Hides what lower layers hold under this name; what this layer itself holds there stays, whatever the order.
pub(super) fn hide(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            make_opaque(&open_directory(parent, name)?)
        }
        other => other.map(drop),
    }
}

pub(super) fn is_directory(parent: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

pub(super) fn is_whiteout(parent: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    })
}

/// Whether two names are one file already. The first must exist.
pub(super) fn is_same_file(one: (&OwnedFd, &OsStr), other: (&OwnedFd, &OsStr)) -> Result<bool> {
    let first = rustix::fs::statat(one.0, one.1, AtFlags::SYMLINK_NOFOLLOW)?;
    match rustix::fs::statat(other.0, other.1, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        second => second.map(|second| (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)),
    }
}

/// Removes a directory with all in it, following nothing.
pub(super) fn remove_tree<Fd: AsFd>(parent: Fd, name: &OsStr) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let directory = rustix::fs::openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    // Listed whole first: removing while reading makes some filesystems skip entries.
    let entries: Vec<_> = Dir::read_from(&directory)?.collect::<Result<_>>()?;
    for entry in &entries {
        let child = OsStr::from_bytes(entry.file_name().to_bytes());
        if child == "." || child == ".." {
            continue;
        }
        match rustix::fs::unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_tree(&directory, child)?,
            done => done?,
        }
    }
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)
}

//! Files of an image archive by name, be it a directory or a tar file that is compressed or not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blobs::MAX_DOCUMENT;
use super::compression::decompressed;
use super::tarball::{Entries, Kind, Member, TarError};

/// A compressed archive is unpacked to a file first; beyond this it is taken for a bomb.
const MAX_UNPACKED: u64 = 256 << 30;
const MAX_MEMBERS: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot open `{path}`", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot unpack `{path}` to a temporary file", path = path.display())]
    Unpack { path: PathBuf, source: io::Error },
    #[error("`{path}` is no tar archive", path = path.display())]
    Tar {
        path: PathBuf,
        #[source]
        source: Box<TarError>,
    },
    #[error("`{path}` holds too much to be an image", path = path.display())]
    TooLarge { path: PathBuf },
    #[error("the archive holds no file `{name}`")]
    Missing { name: String },
    #[error("cannot read `{name}` from the archive")]
    Read { name: String, source: io::Error },
    #[error("`{name}` in the archive is too large for a document")]
    LargeDocument { name: String },
}

/// An open archive.
#[derive(Debug)]
pub(crate) enum Archive {
    Directory(PathBuf),
    Tar { file: Arc<File>, members: BTreeMap<String, Place> },
}

/// Where a member of a tar file is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Body { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    /// Opens `path`; `scratch` names a file that may be used meanwhile, and that this function removes.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Self, ArchiveError> {
        let open = |source| ArchiveError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        if file.metadata().map_err(open)?.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let mut file = plain_file(file, path, scratch)?;
        let tar = |source| ArchiveError::Tar { path: path.to_owned(), source: Box::new(source) };
        let length =
            file.seek(SeekFrom::End(0)).and_then(|length| file.rewind().map(|()| length)).map_err(open)?;
        let mut entries = Entries::new(BufReader::with_capacity(128 * 1024, &file));
        let mut members = BTreeMap::new();
        while let Some(member) = entries.next().map_err(tar)? {
            if members.len() >= MAX_MEMBERS {
                return Err(ArchiveError::TooLarge { path: path.to_owned() });
            }
            if member.offset.saturating_add(member.size) > length {
                return Err(tar(TarError::Truncated { offset: member.offset }));
            }
            if let Some(place) = place(&member) {
                members.insert(normal(&member.shown()), place);
            }
        }
        Ok(Self::Tar { file: Arc::new(file), members })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The file `name` and its length.
    pub(crate) fn stream(&self, name: &str) -> Result<(Box<dyn Read + Send>, u64), ArchiveError> {
        let read = |source| ArchiveError::Read { name: name.to_owned(), source };
        match self.find(name)? {
            Found::File(file) => {
                let size = file.metadata().map_err(read)?.len();
                Ok((Box::new(file), size))
            }
            Found::Section(section) => {
                let size = section.left;
                Ok((Box::new(section), size))
            }
        }
    }

    /// A small file, whole.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let (reader, size) = self.stream(name)?;
        if size > MAX_DOCUMENT {
            return Err(ArchiveError::LargeDocument { name: name.to_owned() });
        }
        let mut bytes = Vec::new();
        reader
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(|source| ArchiveError::Read { name: name.to_owned(), source })?;
        Ok(bytes)
    }

    fn find(&self, name: &str) -> Result<Found, ArchiveError> {
        let missing = || ArchiveError::Missing { name: name.to_owned() };
        match self {
            Self::Directory(directory) => {
                // Names come from documents in the archive, which must not lead out of it.
                let is_inside = !name.starts_with('/') && name.split('/').all(|part| part != "..");
                let path = is_inside.then(|| directory.join(name)).filter(|path| path.is_file());
                let file = File::open(path.ok_or_else(missing)?);
                file.map(Found::File).map_err(|source| ArchiveError::Read { name: name.to_owned(), source })
            }
            Self::Tar { file, members } => {
                let mut name = normal(name);
                // Old archives share layers by links; a ring of links is no file.
                for _ in 0..8 {
                    match members.get(&name) {
                        Some(Place::Body { offset, size }) => {
                            return Ok(Found::Section(Section {
                                file: Arc::clone(file),
                                offset: *offset,
                                left: *size,
                            }));
                        }
                        Some(Place::Link(target)) => name.clone_from(target),
                        None => break,
                    }
                }
                Err(missing())
            }
        }
    }
}

#[derive(Debug)]
enum Found {
    File(File),
    Section(Section),
}

/// Part of a file, read without moving the file's position.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n_read = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += n_read as u64;
        self.left -= n_read as u64;
        Ok(n_read)
    }
}

/// The file itself if it is not compressed, else a temporary file with its plain content.
fn plain_file(mut file: File, path: &Path, scratch: &Path) -> Result<File, ArchiveError> {
    let failed = |source| ArchiveError::Unpack { path: path.to_owned(), source };
    let mut start = [0; 4];
    let n_read = file.read_at(&mut start, 0).map_err(failed)?;
    let is_plain_tar = n_read < 4 || !(start.starts_with(&[0x1f, 0x8b]) || start == [0x28, 0xb5, 0x2f, 0xfd]);
    if is_plain_tar && !start.starts_with(b"\xfd7zX") && !start.starts_with(b"BZh") {
        return Ok(file);
    }
    file.rewind().map_err(failed)?;
    let mut plain =
        decompressed(BufReader::with_capacity(128 * 1024, file)).map_err(failed)?.take(MAX_UNPACKED);
    let mut output = File::options().create_new(true).read(true).write(true).open(scratch).map_err(failed)?;
    // Without a name it is gone with its last user, however that ends.
    std::fs::remove_file(scratch).map_err(failed)?;
    let n_copied = io::copy(&mut plain, &mut output).map_err(failed)?;
    if n_copied == MAX_UNPACKED {
        return Err(ArchiveError::TooLarge { path: path.to_owned() });
    }
    Ok(output)
}

fn place(member: &Member) -> Option<Place> {
    let target = String::from_utf8_lossy(&member.link);
    match member.kind {
        Kind::Regular => Some(Place::Body { offset: member.offset, size: member.size }),
        // A symbolic link starts at its own directory, a hard link at the root.
        Kind::Symlink => {
            let own = normal(&member.shown());
            let directory = own.rsplit_once('/').map_or("", |(directory, _)| directory);
            Some(Place::Link(normal(&format!("{directory}/{target}"))))
        }
        Kind::HardLink => Some(Place::Link(normal(&target))),
        Kind::Directory | Kind::Fifo | Kind::Character | Kind::Block => None,
    }
}

/// `./a//b/../c` is `a/c`; nothing leads above the top.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

//! A unix socket in a folder that others have mounted: it is there at every moment, whoever listens at it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot create the directory `{path}` for a socket")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot listen on `{path}`")]
    Listen { path: PathBuf, source: io::Error },
}

/// Binds the socket `name` in `folder`. Processes of any user may connect.
pub fn bind(folder: &Path, name: &str) -> Result<UnixListener, BindError> {
    // The directory itself must stay: containers have it mounted.
    std::fs::create_dir_all(folder)
        .map_err(|source| BindError::Directory { path: folder.to_owned(), source })?;
    let path = folder.join(name);
    // Made aside and moved over the one of a process that died, so that there is always something to connect to.
    let aside = folder.join(format!(".{name}.{}", std::process::id()));
    let listen = || {
        match std::fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&aside)?;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o666))?;
        std::fs::rename(&aside, &path)?;
        Ok(listener)
    };
    listen().map_err(|source| BindError::Listen { path: path.clone(), source })
}

//! The cluster's own certificate authority, and the certificates that it has issued, as files in one directory.
//!
//! ```text
//!   <directory>/ca.crt ca.key          made once, loaded ever after
//!   <directory>/<name>.crt <name>.key  made when missing, about to expire, or not as asked for
//!   <directory>/service-account.key    signs service-account tokens
//!   <directory>/encryption.key         what the Secrets in the store are encrypted with
//! ```
//! All files are readable by their owner only and replaced in one step, so a crash leaves the old or the new. The
//! pair of a name is two files: if a crash parts them they do not match, and are made anew.

mod issue;
mod kubeconfig;
mod secret_file;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kit::tls::PairPaths;
use rcgen::{Issuer, KeyPair};

pub use self::issue::Holder;
pub use self::kubeconfig::Kubeconfig;
pub use self::secret_file::write as write_secret;

/// How long the authority itself is valid.
const AUTHORITY_DAYS: i64 = 3650;
/// How long what it issues is valid.
const CERTIFICATE_DAYS: i64 = 365;
/// A certificate that ends within this is made anew.
const RENEW_DAYS: i64 = 30;

/// Why the authority cannot be used, or cannot issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot make the directory `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` is no certificate or key that can be used")]
    Unusable { path: PathBuf, source: rcgen::Error },
    #[error(
        "`{certificate}` is there but its key `{key}` is not; restore the key, or remove both to begin anew"
    )]
    KeyMissing { certificate: PathBuf, key: PathBuf },
    #[error("`{key}` is not the key of `{certificate}`; restore the right one, or remove both to begin anew")]
    KeyMismatch { certificate: PathBuf, key: PathBuf },
    #[error("the authority `{path}` ended at {end}; remove the directory's files to begin anew")]
    Expired { path: PathBuf, end: Timestamp },
    #[error("cannot make a certificate for `{name}`")]
    Issue { name: String, source: rcgen::Error },
}

/// The cluster's certificate authority.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate in PEM.
    certificate: String,
}

impl Authority {
    /// Loads the authority that lies in `directory`, or makes one. The directory is made if need be.
    pub fn build(directory: &Path, now: Timestamp) -> Result<Self, AuthorityError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| AuthorityError::Directory { path: directory.to_owned(), source })?;
        let paths = pair_paths(directory, "ca");
        let certificate = match read(&paths.certificate)? {
            Some(certificate) => certificate,
            None => make_authority(&paths, now)?,
        };
        let Some(key) = read(&paths.key)? else {
            return Err(AuthorityError::KeyMissing { certificate: paths.certificate, key: paths.key });
        };
        let unusable = |path: &Path| {
            let path = path.to_owned();
            |source| AuthorityError::Unusable { path, source }
        };
        let key = KeyPair::from_pem(&key).map_err(unusable(&paths.key))?;
        let facts = issue::Facts::read(&certificate)
            .ok_or(rcgen::Error::CouldNotParseCertificate)
            .map_err(unusable(&paths.certificate))?;
        if !facts.is_of(&key) {
            return Err(AuthorityError::KeyMismatch { certificate: paths.certificate, key: paths.key });
        }
        if facts.end <= now {
            return Err(AuthorityError::Expired { path: paths.certificate, end: facts.end });
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(unusable(&paths.certificate))?;
        Ok(Self { directory: directory.to_owned(), issuer, certificate })
    }

    /// The file of the authority's own certificate: what servers and clients trust.
    pub fn certificate_path(&self) -> PathBuf {
        pair_paths(&self.directory, "ca").certificate
    }

    /// The file of the authority's key, for those who sign in its name.
    pub fn key_path(&self) -> PathBuf {
        pair_paths(&self.directory, "ca").key
    }

    /// The files of a valid certificate for `holder`, kept under `name`. What lies there is used if it is still
    /// good for a month and says what `holder` says; else it is made anew. Call it at each start.
    pub fn certificate(
        &self,
        name: &str,
        holder: &Holder,
        now: Timestamp,
    ) -> Result<PairPaths, AuthorityError> {
        let paths = pair_paths(&self.directory, name);
        if let (Some(certificate), Some(key)) = (read(&paths.certificate)?, read(&paths.key)?)
            && self.is_good(&certificate, &key, holder, now)
        {
            return Ok(paths);
        }
        let failed = |source| AuthorityError::Issue { name: name.to_owned(), source };
        let (certificate, key) = issue::issue(&self.issuer, holder, now).map_err(failed)?;
        save(&paths.key, &key)?;
        save(&paths.certificate, &certificate)?;
        Ok(paths)
    }

    fn is_good(&self, certificate: &str, key: &str, holder: &Holder, now: Timestamp) -> bool {
        let (Some(facts), Ok(key)) = (issue::Facts::read(certificate), KeyPair::from_pem(key)) else {
            return false;
        };
        let is_in_time = facts.start <= now && facts.end >= now + days(RENEW_DAYS);
        is_in_time && facts.is_of(&key) && facts.says(holder) && facts.is_signed_by(&self.certificate)
    }

    /// The key that signs service-account tokens, in PEM (PKCS#8, ECDSA P-256); made when missing.
    pub fn service_account_key(&self) -> Result<PathBuf, AuthorityError> {
        let path = self.directory.join("service-account.key");
        if let Some(text) = read(&path)? {
            KeyPair::from_pem(&text)
                .map_err(|source| AuthorityError::Unusable { path: path.clone(), source })?;
            return Ok(path);
        }
        let failed = |source| AuthorityError::Issue { name: "service-account".to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        save(&path, &key.serialize_pem())?;
        Ok(path)
    }

    /// That key, and the one that signed before it if there is one: to rotate, name the old key
    /// `service-account.old.key` and start again.
    pub fn service_account_keys(&self) -> Result<Vec<PathBuf>, AuthorityError> {
        let old = self.directory.join("service-account.old.key");
        let mut keys = vec![self.service_account_key()?];
        if read(&old)?.is_some() {
            keys.push(old);
        }
        Ok(keys)
    }

    /// The key under which Secrets lie in the store: 32 random bytes in hexadecimal; made when missing. Whoever loses
    /// it loses the Secrets.
    pub fn encryption_key(&self) -> Result<PathBuf, AuthorityError> {
        let path = self.directory.join("encryption.key");
        if read(&path)?.is_none() {
            let key: [u8; 32] = rand::random();
            save(&path, &hex::encode(key))?;
        }
        Ok(path)
    }

    /// A kubeconfig in which `pair` speaks for `user` at `server` (a URL), with all data embedded. Write it with
    /// [`write_secret`].
    pub fn kubeconfig(&self, server: &str, user: &str, pair: &PairPaths) -> Result<String, AuthorityError> {
        let load = |path: &Path| {
            fs::read_to_string(path).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })
        };
        let kubeconfig = Kubeconfig {
            server,
            user,
            authority: &self.certificate,
            certificate: &load(&pair.certificate)?,
            key: &load(&pair.key)?,
        };
        Ok(kubeconfig.to_string())
    }
}

/// The key first: a certificate without its key is an error, a key without its certificate is a beginning.
fn make_authority(paths: &PairPaths, now: Timestamp) -> Result<String, AuthorityError> {
    let failed = |source| AuthorityError::Issue { name: "ca".to_owned(), source };
    let key = match read(&paths.key)? {
        Some(text) => KeyPair::from_pem(&text)
            .map_err(|source| AuthorityError::Unusable { path: paths.key.clone(), source })?,
        None => KeyPair::generate().map_err(failed)?,
    };
    let certificate = issue::self_signed(&key, now).map_err(failed)?;
    save(&paths.key, &key.serialize_pem())?;
    save(&paths.certificate, &certificate)?;
    Ok(certificate)
}

fn pair_paths(directory: &Path, name: &str) -> PairPaths {
    PairPaths {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    }
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::Read { path: path.to_owned(), source }),
    }
}

fn save(path: &Path, text: &str) -> Result<(), AuthorityError> {
    write_secret(path, text.as_bytes())
        .map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count * 24)
}

#[cfg(test)]
mod tests;

//! Images from a registry, by the OCI distribution protocol.
//!
//! Blobs come several at a time into `staging/HEX.partial`. A broken connection is taken up where it stopped, by this
//! pull or by the next one; only when a file is complete and hashes to its digest does it enter the store.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Remote};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::blobs::{BlobError, Expected};
use super::digest::Digest;
use super::install::{InstallError, Names, install};
use super::layout::Lock;
use super::manifest::{self, Document, ManifestError};
use super::mirror;
use super::progress::{Forward, Progress, Report, Stage};
use super::reference::{self, Reference, ReferenceError};
use super::{Image, ImageStore, StoreError};

const N_PARALLEL: usize = 3;
const N_ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Who to be at a registry.
#[derive(Clone)]
pub enum Auth {
    Basic { username: String, password: String },
    Bearer(String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("`{reference}` is an id; only a name can be pulled")]
    Id { reference: String },
    #[error("cannot get the manifest of `{reference}`")]
    Manifest {
        reference: String,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("the manifest of `{reference}` has the digest {found} where {expected} was asked for")]
    ManifestDigest { reference: String, expected: Digest, found: Digest },
    #[error("cannot use the image `{reference}`")]
    Unusable { reference: String, source: ManifestError },
    #[error("cannot download blob {digest} of `{reference}`")]
    Download {
        reference: String,
        digest: Digest,
        #[source]
        source: Box<OciDistributionError>,
    },
    #[error("cannot store blob {digest} while it comes in")]
    Partial { digest: Digest, source: io::Error },
    #[error("cannot store content of `{reference}`")]
    Blob { reference: String, source: BlobError },
    #[error("cannot install `{reference}`")]
    Install { reference: String, source: InstallError },
    #[error("cannot lock the image store")]
    Lock { source: io::Error },
    #[error("the pull of `{reference}` was broken off by a panic")]
    Panic { reference: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{reference}` was removed while it was pulled")]
    Removed { reference: String },
}

impl ImageStore {
    /// Brings an image in, whether or not it is known already: what is here is not downloaded again.
    pub async fn pull(
        &self,
        reference: &str,
        auth: Option<Auth>,
        progress: &dyn Progress,
    ) -> Result<Image, PullError> {
        let normal = Reference::parse(reference)?;
        if matches!(normal, Reference::Id(_)) {
            return Err(PullError::Id { reference: reference.to_owned() });
        }
        let remote = reference::remote(&normal.to_string())?;
        let mut routes = mirror::routes(&self.mirrors, &remote).into_iter().peekable();
        let id = loop {
            let route = routes.next().unwrap_or_else(|| remote.clone());
            let pull = Pull {
                store: self,
                client: client(&route),
                // Credentials are for the registry that the image's name says, and for nobody else.
                auth: registry_auth(auth.clone().filter(|_| route == remote)),
                name: normal.to_string(),
                repository: reference::repository(&remote),
                remote: route,
                progress,
            };
            match pull.run(normal.clone()).await {
                Ok(id) => break id,
                Err(error) if routes.peek().is_some() => {
                    let (mirror, error) = (pull.remote.resolve_registry(), kit::Chain(&error));
                    tracing::warn!(image = %pull.name, mirror, %error, "Mirror does not give the image");
                }
                Err(error) => return Err(error),
            }
        };
        let store = self.clone();
        let collected = blocking(reference, move || store.collect_garbage()).await?;
        if let Err(error) = collected {
            tracing::warn!(error = %kit::Chain(&error), "Garbage stays in the image store");
        }
        self.resolve(&id.to_string())?.ok_or_else(|| PullError::Removed { reference: reference.to_owned() })
    }
}

fn client(remote: &Remote) -> Client {
    // Fails if the process has chosen already, which is just as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let protocol =
        if is_local(remote.resolve_registry()) { ClientProtocol::Http } else { ClientProtocol::Https };
    Client::new(ClientConfig {
        protocol,
        connect_timeout: Some(Duration::from_secs(20)),
        read_timeout: Some(Duration::from_secs(60)),
        user_agent: "crest",
        ..ClientConfig::default()
    })
}

/// A registry on this machine needs no TLS: nobody is between.
fn is_local(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let is_loopback = host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    host == "localhost" || host == "[::1]" || is_loopback
}

fn registry_auth(auth: Option<Auth>) -> RegistryAuth {
    match auth {
        None => RegistryAuth::Anonymous,
        Some(Auth::Basic { username, password }) => RegistryAuth::Basic(username, password),
        Some(Auth::Bearer(token)) => RegistryAuth::Bearer(token),
    }
}

async fn blocking<T: Send + 'static>(
    reference: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullError> {
    let panicked = |_| PullError::Panic { reference: reference.to_owned() };
    tokio::task::spawn_blocking(work).await.map_err(panicked)
}

/// One image on its way.
struct Pull<'a> {
    store: &'a ImageStore,
    client: Client,
    auth: RegistryAuth,
    remote: Remote,
    name: String,
    repository: String,
    progress: &'a dyn Progress,
}

impl Pull<'_> {
    async fn run(&self, normal: Reference) -> Result<Digest, PullError> {
        let layout = self.store.layout().clone();
        let _lock: Lock = blocking(&self.name, move || layout.adding())
            .await?
            .map_err(|source| PullError::Lock { source })?;
        let (top, manifest_digest, parts) = self.manifest().await?;
        stream::iter(parts.into_iter().map(Ok))
            .try_for_each_concurrent(N_PARALLEL, |part| async move { self.blob(&part).await })
            .await?;
        let mut names = Names {
            references: Vec::new(),
            repo_digests: vec![
                format!("{}@{top}", self.repository),
                format!("{}@{manifest_digest}", self.repository),
            ],
        };
        if let Reference::Tagged(name) = normal {
            names.references.push(name);
        }
        self.install(manifest_digest, names).await
    }

    /// The digest that the name leads to, the digest of the manifest for this machine, and its parts.
    async fn manifest(&self) -> Result<(Digest, Digest, Vec<Expected>), PullError> {
        let (top, bytes) = self.document(&self.remote, None).await?;
        let unusable = |source| PullError::Unusable { reference: self.name.clone(), source };
        let (mut digest, mut bytes) = (top.clone(), bytes);
        for _ in 0..4 {
            match manifest::parse(&digest, &bytes).map_err(unusable)? {
                Document::Index(index) => {
                    let wanted = manifest::choose(&index).and_then(manifest::expected).map_err(unusable)?;
                    let remote = self.remote.clone_with_digest(wanted.digest.to_string());
                    (digest, bytes) = self.document(&remote, Some(&wanted.digest)).await?;
                }
                Document::Manifest(image_manifest) => {
                    self.keep(&bytes)?;
                    let parts = image_manifest.layers().iter().chain([image_manifest.config()]);
                    let parts =
                        parts.map(manifest::expected).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
                    return Ok((top, digest, parts));
                }
            }
        }
        Err(unusable(ManifestError::Nesting { digest }))
    }

    /// A manifest or an index, verified by the digest that was asked for, if any.
    async fn document(
        &self,
        remote: &Remote,
        wanted: Option<&Digest>,
    ) -> Result<(Digest, Vec<u8>), PullError> {
        let reference = || remote.to_string();
        let (bytes, _) = self
            .client
            .pull_manifest_raw(remote, &self.auth, MANIFEST_TYPES)
            .await
            .map_err(|source| PullError::Manifest { reference: reference(), source: Box::new(source) })?;
        let found = Digest::of(&bytes);
        let by_name = remote.digest().and_then(|digest| Digest::parse(digest).ok());
        if let Some(expected) = wanted.cloned().or(by_name).filter(|expected| *expected != found) {
            return Err(PullError::ManifestDigest { reference: reference(), expected, found });
        }
        Ok((found, bytes.to_vec()))
    }

    fn keep(&self, bytes: &[u8]) -> Result<(), PullError> {
        let stored = self.store.layout().put_document(bytes);
        stored.map(drop).map_err(|source| PullError::Blob { reference: self.name.clone(), source })
    }

    async fn blob(&self, expected: &Expected) -> Result<(), PullError> {
        if self.store.layout().blob(&expected.digest).exists() {
            return Ok(());
        }
        let item = expected.digest.to_string();
        self.progress.begin(Stage::Fetch, &item, expected.size);
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        while let Err(error) = self.attempt(expected).await {
            let is_final = attempt == N_ATTEMPTS || !is_passing(&error);
            if is_final {
                return Err(error);
            }
            tracing::warn!(blob = %item, attempt, error = %kit::Chain(&error), "Download broke off; it is taken up");
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
        self.progress.finish(Stage::Fetch, &item);
        Ok(())
    }

    /// Downloads what is missing of a blob, then verifies all of it.
    async fn attempt(&self, expected: &Expected) -> Result<(), PullError> {
        let digest = &expected.digest;
        let layout = self.store.layout().clone();
        let path = layout.staging().join(format!("{}.partial", digest.hex()));
        let partial = |source| PullError::Partial { digest: digest.clone(), source };
        let lock_path = path.with_extension("lock");
        // Two pulls of one blob take turns; the second finds it done.
        let lock =
            blocking(&self.name, move || Lock::take(&lock_path, rustix::fs::FlockOperation::LockExclusive));
        let _lock = lock.await?.map_err(partial)?;
        if layout.blob(digest).exists() {
            return Ok(());
        }
        self.download(expected, &path).await?;
        let (wanted, file) = (expected.clone(), path.clone());
        let adopted = blocking(&self.name, move || layout.adopt_blob(&wanted, &file)).await?;
        if adopted.is_err() {
            // Nothing of it can be trusted: the next attempt starts afresh.
            tokio::fs::remove_file(&path).await.map_err(partial)?;
        }
        adopted.map_err(|source| PullError::Blob { reference: self.name.clone(), source })
    }

    async fn download(&self, expected: &Expected, path: &std::path::Path) -> Result<(), PullError> {
        let digest = &expected.digest;
        let partial = |source| PullError::Partial { digest: digest.clone(), source };
        let failed = |source| PullError::Download {
            reference: self.name.clone(),
            digest: digest.clone(),
            source: Box::new(source),
        };
        let size = expected.size.unwrap_or(0);
        let mut file =
            tokio::fs::File::options().create(true).append(true).open(path).await.map_err(partial)?;
        let mut have = file.metadata().await.map_err(partial)?.len();
        if have == size && size > 0 {
            return Ok(());
        }
        let (mut stream, is_continued) = self.stream(expected, have).await.map_err(failed)?;
        if !is_continued {
            file.set_len(0).await.map_err(partial)?;
            have = 0;
        }
        let item = digest.to_string();
        // A blob longer than its manifest says is caught by the check that follows, without reading it all.
        while have <= size
            && let Some(chunk) = stream.next().await
        {
            let chunk = chunk.map_err(|error| failed(error.into()))?;
            file.write_all(&chunk).await.map_err(partial)?;
            self.progress.advance(Stage::Fetch, &item, chunk.len() as u64);
            have += chunk.len() as u64;
        }
        file.flush().await.map_err(partial)
    }

    /// The blob from byte `have` on where the registry can do so, and whether it did.
    async fn stream(
        &self,
        expected: &Expected,
        have: u64,
    ) -> Result<(BoxStream<'static, io::Result<Bytes>>, bool), OciDistributionError> {
        let size = expected.size.unwrap_or(0);
        let descriptor = OciDescriptor {
            digest: expected.digest.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        if have == 0 || have > size {
            return Ok((self.client.pull_blob_stream(&self.remote, &descriptor).await?.stream, false));
        }
        let rest = self.client.pull_blob_stream_partial(&self.remote, &descriptor, have, Some(size - have));
        Ok(match rest.await? {
            BlobResponse::Partial(stream) => (stream.stream, true),
            BlobResponse::Full(stream) => (stream.stream, false),
        })
    }

    /// Unpacks and lists on a blocking thread; its reports are passed on from here.
    async fn install(&self, manifest_digest: Digest, names: Names) -> Result<Digest, PullError> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Report>();
        let layout = self.store.layout().clone();
        let forward = Arc::new(Forward(sender));
        let work = blocking(&self.name, move || install(&layout, &manifest_digest, names, &*forward));
        let listen = async {
            while let Some(report) = receiver.recv().await {
                report.tell(self.progress);
            }
        };
        let (installed, ()) = tokio::join!(work, listen);
        installed?.map_err(|source| PullError::Install { reference: self.name.clone(), source })
    }
}

/// Whether another attempt may go better: not when the registry gave a clear answer.
fn is_passing(error: &PullError) -> bool {
    match error {
        PullError::Download { source, .. } => match source.as_ref() {
            OciDistributionError::ServerError { code, .. } => *code >= 500 || *code == 429,
            OciDistributionError::RequestError(_)
            | OciDistributionError::IoError(_)
            | OciDistributionError::DigestError(_) => true,
            _ => false,
        },
        PullError::Blob { source: BlobError::WrongSize { .. }, .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;

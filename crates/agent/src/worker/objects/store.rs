//! A store, opened: its client, and errors that say what to mend and tell no secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuxi::inputs::InvalidEntries;
use fuxi::protocol::Store;
use model::dagjob::{Objects, Place};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig,
};
use sha2::{Digest, Sha256};

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const AUTHORITY: &str = "ca.crt";

/// How the library tells that a store refused something.
const REFUSALS: [&str; 2] = ["status code: 401", "status code: 403"];

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a store may say nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
const RETRIES: usize = 3;
const RETRY_LIMIT: Duration = Duration::from_secs(20);
/// How much of what a store says of itself is told on.
const MAX_CAUSE: usize = 300;

/// Why objects were not listed, fetched or put.
#[derive(Debug, thiserror::Error)]
pub(in crate::worker) enum StoreError {
    #[error("cannot understand what to do with objects")]
    Request { source: serde_json::Error },
    #[error("cannot begin to speak to a store of objects")]
    Runtime { source: io::Error },
    #[error("`{url}` is no place in a store of objects")]
    Url { url: String },
    #[error("the Secret `{secret}`, named by credentials, {problem}")]
    Secret { secret: String, problem: String },
    #[error("the store of `{url}` cannot be used: {cause}")]
    Open { url: String, cause: String },
    #[error("its input `{url}` is not there any more, as it was when the task began")]
    Gone { url: String },
    #[error("its input `{url}` has changed since the task began")]
    Changed { url: String },
    #[error("there is no `{url}`: no such bucket, or no such object")]
    Missing { url: String },
    #[error("the store refuses to {verb} `{url}`: {}", advice(secret.as_deref()))]
    Denied { verb: &'static str, url: String, secret: Option<String> },
    #[error("cannot {verb} `{url}`{}: {cause}", at(endpoint.as_deref()))]
    Failed { verb: &'static str, url: String, endpoint: Option<String>, cause: String },
    #[error("`{url}` cannot be the name of an object: {cause}")]
    Name { url: String, cause: String },
    #[error("it ended with exit code 0, but wrote nothing to CREST_OUTPUT")]
    Nothing,
    #[error("its output has `{path}`, which is neither a file nor a folder")]
    Kind { path: PathBuf },
    #[error("its output has `{path}`, whose name is no UTF-8 and so cannot be that of an object")]
    NoText { path: PathBuf },
    #[error("the list of `{url}` cannot be used")]
    Unusable { url: String, source: InvalidEntries },
    #[error("`{url}` does not name the parts of an output")]
    Parts { url: String },
    #[error("cannot use the file `{path}`")]
    Local { path: PathBuf, source: io::Error },
}

fn advice(secret: Option<&str>) -> String {
    match secret {
        Some(secret) => format!("are the keys in the Secret `{secret}` right, and may they do so?"),
        None => "it wants credentials, and none are named by the task".to_owned(),
    }
}

fn at(endpoint: Option<&str>) -> String {
    endpoint.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default()
}

/// A store that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) client: Arc<dyn ObjectStore>,
    objects: Objects,
    /// What must not be said.
    secrets: Vec<String>,
}

/// An object by its URL.
pub(super) fn url(objects: &Objects, key: &str) -> String {
    match objects.place() {
        Some(Place::S3 { bucket, .. }) => format!("s3://{bucket}/{key}"),
        Some(Place::Folder { .. }) | None => format!("file:///{key}"),
    }
}

/// A word for one state of an object: small, as a list may have a million of them.
pub(super) fn version(meta: &ObjectMeta) -> String {
    // A store without tags has at least times, some of them in seconds.
    let tag = meta.e_tag.clone().unwrap_or_else(|| meta.last_modified.timestamp().to_string());
    let kind = if meta.e_tag.is_some() { 'e' } else { 't' };
    let digest = Sha256::digest(format!("{tag} {}", meta.size));
    format!("{kind}{}", hex::encode(&digest[..4]))
}

/// Whether an object is as it was when it was listed.
pub(super) fn is_version(meta: &ObjectMeta, listed: &str) -> bool {
    let without_tag = ObjectMeta { e_tag: None, ..meta.clone() };
    listed == version(if listed.starts_with('t') { &without_tag } else { meta })
}

impl Opened {
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        let objects = store.objects.clone();
        match objects.place() {
            Some(Place::S3 { bucket, .. }) => {
                let builder = builder(&objects, bucket);
                let (builder, secrets) = Self::sign(builder, store)?;
                let opened = builder.build();
                let client = opened.map_err(|error| StoreError::Open {
                    url: objects.url.clone(),
                    cause: cause(&error, &secrets),
                })?;
                Ok(Self { client: Arc::new(client), objects, secrets })
            }
            Some(Place::Folder { .. }) => {
                let client = LocalFileSystem::new().with_fsync(true);
                Ok(Self { client: Arc::new(client), objects, secrets: Vec::new() })
            }
            None => Err(StoreError::Url { url: objects.url }),
        }
    }

    /// The keys of the store's Secret, if it has one, and whom to trust.
    fn sign(
        mut builder: AmazonS3Builder,
        store: &Store,
    ) -> Result<(AmazonS3Builder, Vec<String>), StoreError> {
        kit::tls::install_default_provider();
        let mut options = client_options(&store.objects);
        let Some(folder) = &store.secret else {
            let builder = builder.with_skip_signature(true).with_client_options(options);
            return Ok((builder, Vec::new()));
        };
        let secret = store.objects.credentials.clone().unwrap_or_default();
        let fault = |problem: String| StoreError::Secret { secret: secret.clone(), problem };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // A volume has some of its own, whether the Secret is there or not.
        let is_there =
            entries.map(|entry| entry.file_name()).any(|name| !name.as_encoded_bytes().starts_with(b"."));
        if !is_there {
            return Err(fault("is not in the job's namespace, or was not when this worker began".to_owned()));
        }
        let mut secrets = Vec::new();
        for (name, key, is_required) in [
            (KEY_ID, AmazonS3ConfigKey::AccessKeyId, true),
            (SECRET_KEY, AmazonS3ConfigKey::SecretAccessKey, true),
            (SESSION_TOKEN, AmazonS3ConfigKey::Token, false),
        ] {
            match read(folder, name) {
                Some(value) => {
                    builder = builder.with_config(key, value.clone());
                    secrets.push(value);
                }
                None if is_required => return Err(fault(format!("has no text under `{name}`"))),
                None => {}
            }
        }
        if let Some(text) = read(folder, AUTHORITY) {
            let trusted = Certificate::from_pem_bundle(text.as_bytes());
            for certificate in
                trusted.map_err(|_| fault(format!("has no certificate under `{AUTHORITY}`")))?
            {
                options = options.with_root_certificate(certificate);
            }
        }
        Ok((builder.with_client_options(options), secrets))
    }

    /// What the task asked for, within the store.
    pub(super) fn key(&self) -> &str {
        self.objects.place().map(Place::key).unwrap_or_default()
    }

    pub(super) fn url(&self, key: &str) -> String {
        url(&self.objects, key)
    }

    pub(super) fn name(&self, key: &str) -> Result<Key, StoreError> {
        Key::parse(key).map_err(|error| StoreError::Name { url: self.url(key), cause: error.to_string() })
    }

    /// An object, if there is one of this name.
    pub(super) async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, StoreError> {
        match self.client.head(&self.name(key)?).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("read", key, &error)),
        }
    }

    pub(super) fn unusable(&self, source: InvalidEntries) -> StoreError {
        StoreError::Unusable { url: self.objects.url.clone(), source }
    }

    pub(super) fn error(&self, verb: &'static str, key: &str, error: &object_store::Error) -> StoreError {
        let url = self.url(key);
        match error {
            object_store::Error::NotFound { .. } => StoreError::Missing { url },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                StoreError::Denied { verb, url, secret: self.objects.credentials.clone() }
            }
            _ => {
                let (endpoint, cause) = (self.objects.endpoint.clone(), cause(error, &self.secrets));
                // Only of single objects does the library tell these apart.
                if cause.contains("NoSuchBucket") {
                    StoreError::Missing { url }
                } else if REFUSALS.iter().any(|refusal| cause.contains(refusal)) {
                    StoreError::Denied { verb, url, secret: self.objects.credentials.clone() }
                } else {
                    StoreError::Failed { verb, url, endpoint, cause }
                }
            }
        }
    }
}

fn builder(objects: &Objects, bucket: &str) -> AmazonS3Builder {
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRY_LIMIT };
    let builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(objects.region.as_deref().unwrap_or("us-east-1"))
        .with_virtual_hosted_style_request(!objects.has_path_style())
        // One at a time, which every store can.
        .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
        .with_retry(retry);
    match &objects.endpoint {
        // The client takes an endpoint as it is, so the bucket has to stand in it.
        Some(endpoint) if !objects.has_path_style() => {
            builder.with_endpoint(endpoint.replacen("://", &format!("://{bucket}."), 1))
        }
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

fn client_options(objects: &Objects) -> ClientOptions {
    let options = ClientOptions::new()
        .with_allow_http(objects.allow_http)
        .with_connect_timeout(CONNECT_LIMIT)
        // However large an object is, it may take its time as long as some of it comes.
        .with_timeout_disabled()
        .with_read_timeout(SILENCE_LIMIT)
        .with_no_system_certificates(true);
    // A container may have no certificates, or some of its own.
    let system = rustls_native_certs::load_native_certs().certs;
    let trusted = system.iter().chain(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
    let trusted = trusted.filter_map(|certificate| Certificate::from_der(certificate).ok());
    trusted.fold(options, ClientOptions::with_root_certificate)
}

fn read(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What is at the bottom of an error, without anything that is secret.
fn cause(error: &object_store::Error, secrets: &[String]) -> String {
    let mut bottom: &dyn std::error::Error = error;
    while let Some(source) = bottom.source() {
        bottom = source;
    }
    let text = secrets.iter().fold(bottom.to_string(), |text, secret| text.replace(secret, "[secret]"));
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(MAX_CAUSE));
    text
}

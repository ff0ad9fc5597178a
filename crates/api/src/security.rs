//! What the server keeps and checks credentials with: its own signing keys, the issuers that it trusts, the key under
//! which secrets lie in the store, and where it writes down who did what.

use std::path::PathBuf;

use crate::audit::{AuditConfig, AuditError};
use crate::authentication::oidc::{self, Provider, ProviderError};
use crate::authentication::service_account::Signer;
use crate::encryption::EncryptionError;

use crate::authentication::service_account::KeyError;

/// The issuer of this server's tokens where nothing else is said.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What a server is given; all of it may be left out.
#[derive(Clone, Debug, Default)]
pub struct SecurityConfig {
    /// The keys of service-account tokens: the first signs, all verify. Without any, no such tokens are made.
    pub signing_keys: Vec<PathBuf>,
    /// Who the tokens say has made them; [`DEFAULT_ISSUER`] if empty.
    pub issuer: String,
    /// Issuers of identity tokens that are trusted.
    pub identity_providers: Vec<oidc::ProviderConfig>,
    /// The key under which Secrets lie in the store. Without one they lie there as they are.
    pub encryption_key: Option<PathBuf>,
    /// What is written down of who does what, and where.
    pub audit: AuditConfig,
}

/// Why the server cannot be given its keys.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("cannot sign tokens")]
    Key { source: KeyError },
    #[error("cannot encrypt secrets")]
    Encryption { source: EncryptionError },
    #[error("cannot write down who does what")]
    Audit { source: AuditError },
    #[error("cannot trust an issuer of identities")]
    Provider { source: ProviderError },
}

/// The loaded form.
#[derive(Debug, Default)]
pub(crate) struct Security {
    issuer: String,
    signer: Option<Signer>,
    providers: Vec<Provider>,
}

impl Security {
    pub(crate) fn load(config: &SecurityConfig) -> Result<Self, SecurityError> {
        let issuer = if config.issuer.is_empty() { DEFAULT_ISSUER } else { &config.issuer };
        let signer =
            Signer::load(issuer, &config.signing_keys).map_err(|source| SecurityError::Key { source })?;
        let providers: Result<Vec<Provider>, ProviderError> =
            config.identity_providers.iter().map(Provider::build).collect();
        let providers = providers.map_err(|source| SecurityError::Provider { source })?;
        Ok(Self { issuer: issuer.to_owned(), signer, providers })
    }

    pub(crate) fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The names under which this server is meant by tokens.
    pub(crate) fn audiences(&self) -> Vec<String> {
        vec![self.issuer.clone()]
    }

    pub(crate) fn identity_provider(&self, issuer: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.issuer() == issuer)
    }
}

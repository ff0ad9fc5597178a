//! Identity tokens of trusted issuers (OpenID Connect): verified by the keys that the issuer publishes.
//!
//! ```text
//!   <issuer>/.well-known/openid-configuration ──► jwks_uri ──► keys, kept until a token names one that is not there
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kit::tls::TlsError;
use kit::tunnel::{ForwardError, Upstream};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::Mutex;

use super::User;
use crate::webhook::connect;

/// An issuer's documents are small; more is not read.
const MAX_DOCUMENT: usize = 1 << 20;
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Keys are asked for again at most this often, so that made-up tokens cost the issuer nothing.
const FETCH_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LEEWAY_SECONDS: i64 = 60;
/// Signatures by public keys only: with a shared secret everyone who can verify could also sign.
const ALGORITHMS: [Algorithm; 8] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
];

/// An issuer that is trusted, and how its claims become users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderConfig {
    /// `https://...`, as the tokens say it.
    pub issuer: String,
    /// The `aud` that tokens for this cluster have.
    pub client_id: String,
    /// `sub` if empty.
    pub username_claim: String,
    /// Stands before each name; `-` for nothing. If not given, the issuer and `#` do, so that nobody can call himself
    /// `system:admin`, but nothing before e-mail addresses.
    pub username_prefix: Option<String>,
    /// The claim that holds a list of groups; none if empty.
    pub groups_claim: String,
    pub groups_prefix: String,
    /// Claims that tokens must have, with their values.
    pub required_claims: BTreeMap<String, String>,
    /// Whose certificates the issuer's server has, in PEM; if not given, those that the machine trusts.
    pub authority: Option<PathBuf>,
}

/// Why an issuer cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the issuer `{issuer}` is no https URL")]
    Issuer { issuer: String },
    #[error("cannot load the authority of the issuer `{issuer}`")]
    Authority { issuer: String, source: Box<TlsError> },
    #[error("cannot load what this machine trusts, for the issuer `{issuer}`")]
    Machine { issuer: String, source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why an identity token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("cannot get the issuer's keys")]
    Keys(#[source] FetchError),
    #[error("the issuer has no key `{id}` that can verify")]
    NoKey { id: String },
    #[error("cannot verify the token")]
    Verify(#[source] jsonwebtoken::errors::Error),
    #[error("the token is not good at this time")]
    Time,
    #[error("the token has no claim `{claim}` that could be a name")]
    NoName { claim: String },
    #[error("the issuer has not verified the e-mail address")]
    Email,
    #[error("the token's claim `{claim}` is not what is required")]
    Claim { claim: String },
}

/// Why a document of the issuer was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("`{url}` is no https URL")]
    Url { url: String },
    #[error("cannot reach `{url}`")]
    Forward { url: String, source: ForwardError },
    #[error("`{url}` did not answer in time")]
    Timeout { url: String },
    #[error("`{url}` answered {status}")]
    Status { url: String, status: u16 },
    #[error("the answer of `{url}` is not what was expected")]
    Document { url: String },
}

/// An issuer with the keys that are known of it.
#[derive(Debug)]
pub(crate) struct Provider {
    config: ProviderConfig,
    tls: Arc<ClientConfig>,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    known: Vec<Jwk>,
    asked_at: Option<Timestamp>,
}

impl Provider {
    pub(crate) fn build(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let issuer = config.issuer.clone();
        if !issuer.starts_with("https://") {
            return Err(ProviderError::Issuer { issuer });
        }
        let tls = match &config.authority {
            Some(authority) => kit::tls::client(None, authority)
                .map_err(|source| ProviderError::Authority { issuer, source: Box::new(source) })?,
            None => Arc::new(
                connect::tls(&[])
                    .map_err(|source| ProviderError::Machine { issuer, source: Box::new(source) })?,
            ),
        };
        Ok(Self { config: config.clone(), tls, keys: Mutex::default() })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Whose token it is.
    pub(crate) async fn user(&self, token: &str, now: Timestamp) -> Result<User, IdentityError> {
        let header = jsonwebtoken::decode_header(token).map_err(IdentityError::Verify)?;
        let id = header.kid.unwrap_or_default();
        let key = self.key(&id, now).await?;
        let mut validation = Validation::new(header.alg);
        if !ALGORITHMS.contains(&header.alg) {
            return Err(IdentityError::NoKey { id });
        }
        validation.validate_exp = false;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.client_id]);
        let key = DecodingKey::from_jwk(&key).map_err(IdentityError::Verify)?;
        let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation);
        let claims = decoded.map_err(IdentityError::Verify)?.claims;
        check_time(&claims, now)?;
        named(&self.config, &claims)
    }

    async fn key(&self, id: &str, now: Timestamp) -> Result<Jwk, IdentityError> {
        let mut keys = self.keys.lock().await;
        let find = |known: &[Jwk]| {
            let is_it =
                |key: &&Jwk| key.common.key_id.as_deref() == Some(id) || (id.is_empty() && known.len() == 1);
            known.iter().find(is_it).cloned()
        };
        if let Some(key) = find(&keys.known) {
            return Ok(key);
        }
        // A clock that was set back must not keep the keys from being asked for.
        let is_soon = |at: Timestamp| at <= now && now.duration_since(at) < FETCH_PAUSE;
        if !keys.asked_at.is_some_and(is_soon) {
            keys.asked_at = Some(now);
            keys.known = self.fetch_keys().await.map_err(IdentityError::Keys)?;
        }
        find(&keys.known).ok_or_else(|| IdentityError::NoKey { id: id.to_owned() })
    }

    async fn fetch_keys(&self) -> Result<Vec<Jwk>, FetchError> {
        let issuer = &self.config.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document = self.fetch(&url).await?;
        let location = document["jwks_uri"].as_str().filter(|_| document["issuer"] == issuer.as_str());
        let location = location.ok_or(FetchError::Document { url })?.to_owned();
        let document = self.fetch(&location).await?;
        // Keys of a form that is not known here are for others.
        let keys = document["keys"].as_array().ok_or(FetchError::Document { url: location })?;
        let keys: Vec<Jwk> = keys.iter().filter_map(|key| serde_json::from_value(key.clone()).ok()).collect();
        Ok(JwkSet { keys }.keys)
    }

    async fn fetch(&self, url: &str) -> Result<Value, FetchError> {
        let fetched = tokio::time::timeout(FETCH_LIMIT, self.fetch_now(url)).await;
        fetched.unwrap_or_else(|_| Err(FetchError::Timeout { url: url.to_owned() }))
    }

    async fn fetch_now(&self, url: &str) -> Result<Value, FetchError> {
        let wrong = || FetchError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let upstream =
            Upstream { host, port: uri.port_u16().unwrap_or(443), tls: Some(Arc::clone(&self.tls)) };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path).body(Body::empty()).map_err(|_| wrong())?;
        let answer = kit::tunnel::forward(request, &upstream)
            .await
            .map_err(|source| FetchError::Forward { url: url.to_owned(), source })?;
        if !answer.status().is_success() {
            return Err(FetchError::Status { url: url.to_owned(), status: answer.status().as_u16() });
        }
        let document = || FetchError::Document { url: url.to_owned() };
        let body = Limited::new(answer.into_body(), MAX_DOCUMENT).collect().await.map_err(|_| document())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_| document())
    }
}

fn check_time(claims: &Value, now: Timestamp) -> Result<(), IdentityError> {
    let second = now.as_second();
    let is_over = claims["exp"].as_i64().is_none_or(|end| second >= end.saturating_add(LEEWAY_SECONDS));
    let is_to_come = claims["nbf"].as_i64().is_some_and(|from| second < from.saturating_sub(LEEWAY_SECONDS));
    if is_over || is_to_come { Err(IdentityError::Time) } else { Ok(()) }
}

/// The user that the claims speak of.
fn named(config: &ProviderConfig, claims: &Value) -> Result<User, IdentityError> {
    let claim = if config.username_claim.is_empty() { "sub" } else { &config.username_claim };
    let name = claims[claim].as_str().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| IdentityError::NoName { claim: claim.to_owned() })?;
    if claim == "email" && claims["email_verified"] == false {
        return Err(IdentityError::Email);
    }
    if let Some((claim, _)) = config.required_claims.iter().find(|(claim, value)| claims[*claim] != **value) {
        return Err(IdentityError::Claim { claim: claim.clone() });
    }
    let name = match config.username_prefix.as_deref() {
        None if claim == "email" => name.to_owned(),
        None => format!("{}#{name}", config.issuer),
        Some("-") => name.to_owned(),
        Some(prefix) => format!("{prefix}{name}"),
    };
    let groups: Vec<String> = match &claims[config.groups_claim.as_str()] {
        Value::String(group) => vec![group.clone()],
        Value::Array(groups) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let groups: Vec<String> = groups.iter().map(|group| format!("{}{group}", config.groups_prefix)).collect();
    // Whoever runs the issuer says who its users are, but not that they are the cluster's own.
    let own = groups.iter().map(String::as_str).filter(|group| !group.starts_with("system:"));
    let mut user = User::new(&name, own);
    if let Some(id) = claims["jti"].as_str() {
        let key = "authentication.kubernetes.io/credential-id".to_owned();
        user.extra = BTreeMap::from([(key, vec![format!("JTI={id}")])]);
    }
    Ok(user)
}

#[cfg(test)]
mod tests;

//! Tokens of service accounts: signed here, bound to what they are for, and good only while that is there.
//!
//! ```text
//!   Claims ──sign──► JWT ──verify──► Claims ──► the account, and the Pod, Secret or Node, still there? ──► User
//! ```

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kinds::status::Failure;
use rcgen::{KeyPair, PublicKeyData};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::User;
use super::token::Authenticated;
use crate::context::Context;
use crate::object;

/// How far the clocks of two machines may be apart.
const LEEWAY_SECONDS: i64 = 60;
/// A Pod that is being deleted may use its token for as long as its end takes, and this much longer.
const DELETED_LEEWAY_SECONDS: i64 = 60;

/// Why the keys that sign cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the signing key `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is no key in PEM")]
    Pem { path: PathBuf, source: rcgen::Error },
    #[error("`{path}` is no key of the curve P-256")]
    Curve { path: PathBuf, source: jsonwebtoken::errors::Error },
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("cannot verify the token")]
    Verify(#[source] jsonwebtoken::errors::Error),
    #[error("the token is good from {from} to {to} only")]
    Time { from: Timestamp, to: Timestamp },
    #[error("the token is not meant for any of {wanted:?}")]
    Audience { wanted: Vec<String> },
    #[error("the token's {0} is not there any more")]
    Gone(&'static str),
    #[error("cannot read what the token is bound to")]
    Read(#[source] Failure),
}

/// A name and what tells it from others of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

/// What Kubernetes adds to a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Private {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Bound>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Bound>,
    pub(crate) serviceaccount: Bound,
}

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) private: Private,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// A key with its public half in both forms that are needed.
struct Key {
    id: String,
    verify: DecodingKey,
    public: Value,
}

/// Signs and verifies. The first key signs; the others were first once, and still verify.
pub(crate) struct Signer {
    issuer: String,
    sign: EncodingKey,
    keys: Vec<Key>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Signer").field("issuer", &self.issuer).field("keys", &ids).finish_non_exhaustive()
    }
}

impl Signer {
    /// `None` if there are no keys.
    pub(crate) fn load(issuer: &str, paths: &[PathBuf]) -> Result<Option<Self>, KeyError> {
        let mut keys = Vec::new();
        let mut sign = None;
        for path in paths {
            let text = std::fs::read_to_string(path)
                .map_err(|source| KeyError::Read { path: path.clone(), source })?;
            keys.push(public_half(path, &text)?);
            if sign.is_none() {
                let curve = |source| KeyError::Curve { path: path.clone(), source };
                sign = Some(EncodingKey::from_ec_pem(text.as_bytes()).map_err(curve)?);
            }
        }
        Ok(sign.map(|sign| Self { issuer: issuer.to_owned(), sign, keys }))
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys, as `GET /openid/v1/jwks`.
    pub(crate) fn public_keys(&self) -> Value {
        json!({"keys": self.keys.iter().map(|key| &key.public).collect::<Vec<_>>()})
    }

    /// The token that says `claims`.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Failure> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self.keys.first().map(|key| key.id.clone());
        // As in Kubernetes, the header names nothing but key and algorithm.
        header.typ = None;
        jsonwebtoken::encode(&header, claims, &self.sign)
            .map_err(|error| Failure::internal(format!("cannot sign a token: {error}")))
    }

    /// What the token says, if it was signed here and its time is now.
    fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, AccountError> {
        let header = jsonwebtoken::decode_header(token).map_err(AccountError::Verify)?;
        let mut validation = Validation::new(Algorithm::ES256);
        // Time is judged below, by the clock that is handed in.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_issuer(&[&self.issuer]);
        let unknown = jsonwebtoken::errors::ErrorKind::InvalidSignature.into();
        let fits = |key: &&Key| header.kid.is_none() || header.kid.as_ref() == Some(&key.id);
        let mut outcome = Err(AccountError::Verify(unknown));
        for key in self.keys.iter().filter(fits) {
            outcome = jsonwebtoken::decode::<Claims>(token, &key.verify, &validation)
                .map(|decoded| decoded.claims)
                .map_err(AccountError::Verify);
            if outcome.is_ok() {
                break;
            }
        }
        let claims = outcome?;
        check_time(claims.nbf, claims.exp, now)?;
        Ok(claims)
    }
}

fn check_time(from: i64, to: i64, now: Timestamp) -> Result<(), AccountError> {
    let second = now.as_second();
    if from.saturating_sub(LEEWAY_SECONDS) <= second && second < to.saturating_add(LEEWAY_SECONDS) {
        return Ok(());
    }
    let moment = |second| Timestamp::from_second(second).unwrap_or_default();
    Err(AccountError::Time { from: moment(from), to: moment(to) })
}

fn public_half(path: &Path, text: &str) -> Result<Key, KeyError> {
    let pair = KeyPair::from_pem(text).map_err(|source| KeyError::Pem { path: path.to_owned(), source })?;
    // A point of the curve, not compressed: 4, then both coordinates.
    let point = pair.public_key_raw();
    let half = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    let (x, y) = (half(1..33), half(33..65));
    let verify = DecodingKey::from_ec_components(&x, &y)
        .map_err(|source| KeyError::Curve { path: path.to_owned(), source })?;
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info()));
    let public =
        json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
    Ok(Key { id, verify, public })
}

/// Who says to have made a token, before it is verified; `None` if it is no JWT.
pub(super) fn issuer_of(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

/// Whose token it is, if what it is bound to is still there.
pub(super) async fn review(
    context: &Context,
    signer: &Signer,
    token: &str,
    audiences: &[String],
) -> Result<Authenticated, AccountError> {
    let now = context.now();
    let claims = signer.verify(token, now)?;
    let meant: Vec<String> = audiences.iter().filter(|name| claims.aud.contains(name)).cloned().collect();
    if meant.is_empty() {
        return Err(AccountError::Audience { wanted: audiences.to_vec() });
    }
    let Private { namespace, node, pod, secret, serviceaccount } = &claims.private;
    let bindings = [
        ("service account", "serviceaccounts", namespace.as_str(), Some(serviceaccount)),
        ("Pod", "pods", namespace, pod.as_ref()),
        ("Secret", "secrets", namespace, secret.as_ref()),
        // A Pod's token names its node for information only; a node's own is bound to it.
        ("Node", "nodes", "", node.as_ref().filter(|_| pod.is_none())),
    ];
    for (what, plural, namespace, bound) in bindings {
        let Some(bound) = bound else { continue };
        let Some(kind) = kinds::find("", "v1", plural) else { return Err(AccountError::Gone(what)) };
        let found = context.registry.find(kind, namespace, &bound.name).await.map_err(AccountError::Read)?;
        if !found.is_some_and(|found| is_alive(&found, &bound.uid, now)) {
            return Err(AccountError::Gone(what));
        }
    }
    Ok(Authenticated { user: user(&claims), audiences: meant })
}

fn is_alive(found: &Value, uid: &str, now: Timestamp) -> bool {
    let deleted = object::metadata(found, "deletionTimestamp").parse::<Timestamp>().ok();
    let is_over = deleted.is_some_and(|at| at.as_second() + DELETED_LEEWAY_SECONDS < now.as_second());
    object::metadata(found, "uid") == uid && !is_over
}

fn user(claims: &Claims) -> User {
    let Private { namespace, node, pod, serviceaccount, .. } = &claims.private;
    let mut user = User::service_account(namespace, &serviceaccount.name, &serviceaccount.uid);
    let mut tell = |key: &str, value: String| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
    };
    tell("credential-id", format!("JTI={}", claims.jti));
    for (key, bound) in [("node", node), ("pod", pod)] {
        if let Some(Bound { name, uid }) = bound {
            tell(&format!("{key}-name"), name.clone());
            if !uid.is_empty() {
                tell(&format!("{key}-uid"), uid.clone());
            }
        }
    }
    user
}

#[cfg(test)]
mod tests;

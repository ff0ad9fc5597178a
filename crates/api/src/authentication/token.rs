//! Bearer tokens of all kinds: whose they are, and for whom they are meant.

use super::{User, bootstrap_token, oidc, service_account};
use crate::context::Context;

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("no issuer known here made the token")]
    Unknown,
    #[error("the token of a service account is not good")]
    ServiceAccount(#[source] service_account::AccountError),
    #[error("the bootstrap token is not good")]
    Bootstrap(#[source] bootstrap_token::BootstrapError),
    #[error("the identity token is not good")]
    Identity(#[source] oidc::IdentityError),
}

/// A token that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    pub(crate) user: User,
    /// Those of the audiences asked for that the token is meant for.
    pub(crate) audiences: Vec<String>,
}

/// Whose token this is. `audiences` are those that the asker is one of; the API server itself if there are none.
pub(crate) async fn review(
    context: &Context,
    token: &str,
    audiences: &[String],
) -> Result<Authenticated, TokenError> {
    let own = context.security.audiences();
    let audiences = if audiences.is_empty() { &own } else { audiences };
    // Tokens that say nothing of audiences are meant for this server only.
    let for_server = |user: User| {
        let audiences: Vec<String> = audiences.iter().filter(|name| own.contains(name)).cloned().collect();
        (!audiences.is_empty()).then_some(Authenticated { user, audiences }).ok_or(TokenError::Unknown)
    };
    if let Some(user) = context.authenticator.user(token) {
        return for_server(user);
    }
    if let Some((id, secret)) = bootstrap_token::split(token) {
        return for_server(bootstrap_token::user(context, id, secret).await.map_err(TokenError::Bootstrap)?);
    }
    let issuer = service_account::issuer_of(token).ok_or(TokenError::Unknown)?;
    if let Some(signer) = context.security.signer().filter(|signer| signer.issuer() == issuer) {
        let reviewed = service_account::review(context, signer, token, audiences).await;
        return reviewed.map_err(TokenError::ServiceAccount);
    }
    match context.security.identity_provider(&issuer) {
        Some(provider) => {
            let user = provider.user(token, context.now()).await;
            for_server(user.map_err(TokenError::Identity)?)
        }
        None => Err(TokenError::Unknown),
    }
}

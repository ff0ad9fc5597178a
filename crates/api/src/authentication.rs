//! Who sends a request: by client certificate, by bearer token, or nobody.
//!
//! ```text
//!   verified certificate ─► CN is the user, O are the groups
//!   bearer token         ─► the user that the token stands for, or 401
//!   neither              ─► system:anonymous
//! ```

use std::collections::HashMap;

use kinds::status::Failure;
use kit::tls::PeerIdentity;
use sha2::{Digest, Sha256};

/// The group of all who have proven who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of all who have not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of the machines' agents.
pub const NODES: &str = "system:nodes";
/// What an agent's user name begins with; the rest is the node's name.
pub const NODE_PREFIX: &str = "system:node:";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    /// A user who has proven to be `name`.
    pub fn new<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let mut groups = groups.into_iter().map(str::to_owned).collect::<Vec<_>>();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.to_owned(), groups }
    }

    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".to_owned(), groups: vec![UNAUTHENTICATED.to_owned()] }
    }

    /// The agent of a node.
    pub fn node(node: &str) -> Self {
        Self::new(&format!("{NODE_PREFIX}{node}"), [NODES])
    }

    /// A part of Crest itself, such as `sigma`.
    pub fn component(component: &str) -> Self {
        let name = format!("system:crest:{component}");
        Self::new(&name, [name.as_str()])
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node whose agent this is, if it is one.
    pub fn node_name(&self) -> Option<&str> {
        self.name.strip_prefix(NODE_PREFIX).filter(|_| self.is_in(NODES))
    }
}

/// Tells users apart. Tokens are held as their hashes, so that looking one up tells nothing by its time.
#[derive(Clone, Debug, Default)]
pub struct Authenticator {
    tokens: HashMap<[u8; 32], User>,
}

impl Authenticator {
    /// Lets whoever sends `Authorization: Bearer <token>` be `user`.
    #[must_use]
    pub fn with_token(mut self, token: &str, user: User) -> Self {
        self.tokens.insert(hash(token), user);
        self
    }

    /// The user behind a request, from the connection's identity (an extension of the request) and the text of
    /// its `Authorization` header.
    pub fn user(&self, peer: Option<&PeerIdentity>, authorization: Option<&str>) -> Result<User, Failure> {
        if let Some(peer) = peer {
            return by_certificate(peer);
        }
        let Some(authorization) = authorization else { return Ok(User::anonymous()) };
        let (scheme, token) = authorization.split_once(' ').ok_or_else(Failure::unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Failure::unauthorized());
        }
        self.tokens.get(&hash(token.trim())).cloned().ok_or_else(Failure::unauthorized)
    }
}

/// The authority signs no certificate without a name; one that has none is not believed.
fn by_certificate(peer: &PeerIdentity) -> Result<User, Failure> {
    if peer.common_name.is_empty() {
        return Err(Failure::unauthorized());
    }
    // These groups say how someone was authenticated; a certificate cannot say it of itself.
    let claimed = peer.organizations.iter().map(String::as_str);
    Ok(User::new(&peer.common_name, claimed.filter(|group| *group != UNAUTHENTICATED)))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use kit::tls::PeerIdentity;

    use super::{Authenticator, User};

    fn check(peer: Option<(&str, &[&str])>, authorization: Option<&str>, expected: Option<User>) {
        let authenticator = Authenticator::default().with_token("s3cret", User::new("robot", ["robots"]));
        let peer = peer.map(|(name, groups)| PeerIdentity {
            common_name: name.to_owned(),
            organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
        });
        let outcome = authenticator.user(peer.as_ref(), authorization);
        match expected {
            Some(user) => assert_eq!(outcome.unwrap(), user),
            None => assert_eq!(outcome.unwrap_err().code(), 401),
        }
    }

    #[test]
    fn certificates_name_user_and_groups() {
        check(
            Some(("jane", &["dev", "ops"])),
            None,
            Some(User::new("jane", ["dev", "ops", "system:authenticated"])),
        );
        check(Some(("jane", &["system:unauthenticated"])), None, Some(User::new("jane", [])));
        check(Some(("", &["system:masters"])), None, None);
        assert_eq!(User::node("one").node_name(), Some("one"));
        assert_eq!(User::new("system:node:one", ["dev"]).node_name(), None);
    }

    #[test]
    fn tokens_name_their_user() {
        check(None, Some("Bearer s3cret"), Some(User::new("robot", ["robots"])));
        check(None, Some("bearer  s3cret"), Some(User::new("robot", ["robots"])));
        for wrong in ["Bearer wrong", "Bearer ", "Bearer", "Basic s3cret", "s3cret", ""] {
            check(None, Some(wrong), None);
        }
    }

    #[test]
    fn who_shows_nothing_is_anonymous() {
        check(None, None, Some(User::anonymous()));
    }
}

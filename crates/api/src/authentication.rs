//! Who sends a request: by client certificate, by bearer token, or nobody.
//!
//! ```text
//!   verified certificate ─► CN is the user, O are the groups
//!   bearer token         ─► known from the start │ service account (JWT) │ bootstrap token │ OIDC ─► the user, or 401
//!   neither              ─► system:anonymous
//! ```

mod bootstrap_token;
pub mod oidc;
pub mod service_account;
pub(crate) mod token;

use std::collections::{BTreeMap, HashMap};

use kinds::status::Failure;
use kit::tls::PeerIdentity;
use serde_json::{Value, json};
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
/// What a service account's user name begins with; namespace, colon and name follow.
pub(crate) const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// Empty for users that have none.
    pub uid: String,
    pub groups: Vec<String>,
    /// What else is known of the user: how it was authenticated, for example.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user who has proven to be `name`.
    pub fn new<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let mut groups = groups.into_iter().map(str::to_owned).collect::<Vec<_>>();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    pub fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Self { name: "system:anonymous".to_owned(), groups, ..Self::default() }
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

    /// A service account; `uid` is that of its object.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let own = format!("{SERVICE_ACCOUNTS}:{namespace}");
        let user =
            Self::new(&format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), [SERVICE_ACCOUNTS, &own]);
        Self { uid: uid.to_owned(), ..user }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// The node whose agent this is, if it is one.
    pub fn node_name(&self) -> Option<&str> {
        self.name.strip_prefix(NODE_PREFIX).filter(|_| self.is_in(NODES))
    }

    /// As `UserInfo` in reviews and in the audit log.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({});
        let Some(fields) = value.as_object_mut() else { return value };
        if !self.name.is_empty() {
            fields.insert("username".into(), self.name.clone().into());
        }
        if !self.uid.is_empty() {
            fields.insert("uid".into(), self.uid.clone().into());
        }
        if !self.groups.is_empty() {
            fields.insert("groups".into(), self.groups.clone().into());
        }
        if !self.extra.is_empty() {
            fields.insert("extra".into(), json!(self.extra));
        }
        value
    }
}

/// The tokens that are known from the start. They are held as their hashes, so that looking one up tells nothing by
/// its time.
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

    /// The user that a token stands for, if it is one of these.
    pub(crate) fn user(&self, token: &str) -> Option<User> {
        self.tokens.get(&hash(token)).cloned()
    }
}

/// The authority signs no certificate without a name; one that has none is not believed.
pub(crate) fn by_certificate(peer: &PeerIdentity) -> Result<User, Failure> {
    if peer.common_name.is_empty() {
        return Err(Failure::unauthorized());
    }
    // This group says how someone was authenticated; a certificate cannot say it of itself.
    let claimed = peer.organizations.iter().map(String::as_str);
    Ok(User::new(&peer.common_name, claimed.filter(|group| *group != UNAUTHENTICATED)))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use kit::tls::PeerIdentity;

    use super::{Authenticator, User, by_certificate};

    #[test]
    fn certificates_name_user_and_groups() {
        let check = |name: &str, groups: &[&str], expected: Option<User>| {
            let peer = PeerIdentity {
                common_name: name.to_owned(),
                organizations: groups.iter().map(|group| (*group).to_owned()).collect(),
            };
            assert_eq!(by_certificate(&peer).ok(), expected);
        };
        check("jane", &["dev", "ops"], Some(User::new("jane", ["dev", "ops", "system:authenticated"])));
        check("jane", &["system:unauthenticated"], Some(User::new("jane", [])));
        check("", &["system:masters"], None);
        assert_eq!(User::node("one").node_name(), Some("one"));
        assert_eq!(User::new("system:node:one", ["dev"]).node_name(), None);
    }

    #[test]
    fn tokens_name_their_user() {
        let authenticator = Authenticator::default().with_token("s3cret", User::new("robot", ["robots"]));
        assert_eq!(authenticator.user("s3cret"), Some(User::new("robot", ["robots"])));
        for wrong in ["wrong", "", "s3cret "] {
            assert_eq!(authenticator.user(wrong), None);
        }
    }
}

//! Bootstrap tokens, `<id>.<secret>`: Secrets in `kube-system` by which new machines make themselves known.

use jiff::Timestamp;
use kinds::status::Failure;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::User;
use crate::context::Context;
use crate::object;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Why a bootstrap token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("cannot read the token's Secret")]
    Read(#[source] Failure),
    #[error("there is no such token")]
    Missing,
    #[error("the secret is another")]
    Wrong,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not for authentication")]
    Usage,
}

/// The id and the secret, if the text has the form of a bootstrap token.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret)).then_some((id, secret))
}

pub(super) async fn user(context: &Context, id: &str, secret: &str) -> Result<User, BootstrapError> {
    let Some(secrets) = kinds::find("", "v1", "secrets") else { return Err(BootstrapError::Missing) };
    let name = format!("bootstrap-token-{id}");
    let found = context.registry.find(secrets, NAMESPACE, &name).await.map_err(BootstrapError::Read)?;
    judge(&found.ok_or(BootstrapError::Missing)?, id, secret, context.now())
}

/// Pure: what the Secret says of a token.
fn judge(object: &Value, id: &str, secret: &str, now: Timestamp) -> Result<User, BootstrapError> {
    if object["type"] != TYPE || object::is_being_deleted(object) {
        return Err(BootstrapError::Missing);
    }
    let data = |field: &str| text(&object["data"][field]);
    let known = data("token-secret").unwrap_or_default();
    if data("token-id").as_deref() != Some(id) || !bool::from(known.as_bytes().ct_eq(secret.as_bytes())) {
        return Err(BootstrapError::Wrong);
    }
    if let Some(end) = data("expiration") {
        // A time that cannot be read has passed: better a machine too few than one too many.
        if end.parse::<Timestamp>().is_ok_and(|end| end > now) {
            Ok(())
        } else {
            Err(BootstrapError::Expired)
        }?;
    }
    if data("usage-bootstrap-authentication").as_deref() != Some("true") {
        return Err(BootstrapError::Usage);
    }
    let more = data("auth-extra-groups").unwrap_or_default();
    let more = more.split(',').filter(|group| group.starts_with("system:bootstrappers:"));
    Ok(User::new(&format!("system:bootstrap:{id}"), more.chain([GROUP]).collect::<Vec<_>>()))
}

fn text(value: &Value) -> Option<String> {
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::{judge, split};

    #[test]
    fn only_the_form_is_a_bootstrap_token() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for other in ["abcdef.0123", "Abcdef.0123456789abcdef", "abcdef0123456789abcdef", "a.b.c"] {
            assert_eq!(split(other), None);
        }
    }

    fn check(changed: &[(&str, &str)], expected: &str) {
        let mut fields = vec![
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:workers,system:masters"),
        ];
        fields.extend(changed);
        let data: serde_json::Map<_, _> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value).into())).collect();
        let secret = json!({"metadata": {}, "type": super::TYPE, "data": data});
        let now = "2029-01-01T00:00:00Z".parse().unwrap();
        let said = match judge(&secret, "abcdef", "0123456789abcdef", now) {
            Ok(user) => format!("{} {:?}", user.name, user.groups),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn its_secret_says_whose_and_how_long() {
        let groups = r#"["system:bootstrappers:workers", "system:bootstrappers", "system:authenticated"]"#;
        check(&[], &format!("system:bootstrap:abcdef {groups}"));
        check(&[("token-secret", "0123456789abcdee")], "the secret is another");
        check(&[("token-id", "bbcdef")], "the secret is another");
        check(&[("expiration", "2028-12-31T23:59:59Z")], "the token has expired");
        check(&[("expiration", "soon")], "the token has expired");
        check(&[("usage-bootstrap-authentication", "false")], "the token is not for authentication");
    }
}

//! What claims make of a user; that tokens are verified is shown against a real issuer in the tests of the
//! program.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{ProviderConfig, check_time, named};

fn check(config: ProviderConfig, claims: &Value, expected: Expect) {
    let config = ProviderConfig { issuer: "https://id.example".to_owned(), ..config };
    let said = match named(&config, claims) {
        Ok(user) => format!("{} {:?}", user.name, user.groups),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&said);
}

#[test]
fn claims_become_names_and_groups() {
    let claims = json!({"sub": "1", "email": "j@x", "email_verified": false, "g": ["dev", "system:masters"], "h": "ops"});
    check(ProviderConfig::default(), &claims, expect![[r#"https://id.example#1 ["system:authenticated"]"#]]);
    let config = |name: &str, groups: &str| ProviderConfig {
        username_claim: name.to_owned(),
        username_prefix: Some("oidc:".to_owned()),
        groups_claim: groups.to_owned(),
        ..ProviderConfig::default()
    };
    check(config("sub", "g"), &claims, expect![[r#"oidc:1 ["dev", "system:authenticated"]"#]]);
    check(config("sub", "h"), &claims, expect![[r#"oidc:1 ["ops", "system:authenticated"]"#]]);
    check(config("email", "h"), &claims, expect!["the issuer has not verified the e-mail address"]);
    let bare = |prefix: Option<&str>, claim: &str| ProviderConfig {
        username_claim: claim.to_owned(),
        username_prefix: prefix.map(str::to_owned),
        ..ProviderConfig::default()
    };
    check(bare(Some("-"), "sub"), &claims, expect![[r#"1 ["system:authenticated"]"#]]);
    check(
        bare(None, "mail"),
        &json!({"mail": "j@x"}),
        expect![[r#"https://id.example#j@x ["system:authenticated"]"#]],
    );
    check(bare(None, "email"), &json!({"email": "j@x"}), expect![[r#"j@x ["system:authenticated"]"#]]);
    let required = |value: &str| ProviderConfig {
        required_claims: [("h".to_owned(), value.to_owned())].into(),
        ..ProviderConfig::default()
    };
    check(required("ops"), &claims, expect![[r#"https://id.example#1 ["system:authenticated"]"#]]);
    check(required("dev"), &claims, expect!["the token's claim `h` is not what is required"]);
    check(config("name", "h"), &claims, expect!["the token has no claim `name` that could be a name"]);
}

#[test]
fn a_token_without_an_end_is_over() {
    let now = "2029-01-01T00:00:00Z".parse().unwrap();
    assert!(check_time(&json!({}), now).is_err());
    assert!(check_time(&json!({"exp": 1_861_920_001}), now).is_ok());
    assert!(check_time(&json!({"exp": 1_861_919_000}), now).is_err());
    assert!(check_time(&json!({"exp": 1_961_920_001, "nbf": 1_861_930_000}), now).is_err());
}

//! Tokens that are good, late, early, forged and of an older key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use proptest::prelude::*;

use super::{Claims, Private, Signer, issuer_of};
use crate::authority::Authority;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const NOW: i64 = 1_800_000_000;

fn signer() -> (tempfile::TempDir, Signer) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::build(&directory.path().join("pki"), at(NOW)).unwrap();
    let key = authority.service_account_key().unwrap();
    let signer = Signer::load(ISSUER, &[key]).unwrap().unwrap();
    (directory, signer)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn claims() -> Claims {
    Claims {
        aud: vec!["a".to_owned()],
        exp: NOW + 3600,
        iat: NOW,
        iss: ISSUER.to_owned(),
        jti: "j".to_owned(),
        private: Private { namespace: "n".to_owned(), ..Private::default() },
        nbf: NOW,
        sub: "system:serviceaccount:n:a".to_owned(),
    }
}

#[test]
fn a_token_says_what_was_signed_while_its_time_is() {
    let (_directory, signer) = signer();
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(issuer_of(&token).as_deref(), Some(ISSUER));
    for (second, good) in [
        (NOW, true),
        (NOW + 3600 + 59, true),
        (NOW + 3600 + 60, false),
        (NOW - 60, true),
        // The clock was set back: what is from the future is not believed.
        (NOW - 61, false),
        (0, false),
        (NOW * 2, false),
    ] {
        assert_eq!(signer.verify(&token, at(second)).is_ok(), good, "at {second}");
    }
    assert_eq!(signer.verify(&token, at(NOW)).unwrap(), claims());
}

#[test]
fn what_was_not_signed_here_is_not_believed() {
    let (_directory, ours) = signer();
    let (_other, theirs) = signer();
    let refused = |token: &str| assert!(ours.verify(token, at(NOW)).is_err(), "{token}");
    refused(&theirs.sign(&claims()).unwrap());
    refused(&ours.sign(&Claims { iss: "https://elsewhere".to_owned(), ..claims() }).unwrap());
    let token = ours.sign(&claims()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = serde_json::to_vec(&Claims { exp: NOW * 2, ..claims() }).unwrap();
    let forged = URL_SAFE_NO_PAD.encode(claims);
    refused(&format!("{}.{forged}.{}", parts[0], parts[2]));
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#] {
        refused(&format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), parts[1]));
        refused(&format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), parts[1], parts[2]));
    }
}

#[test]
fn a_key_that_signed_once_still_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let authority = Authority::build(&directory.path().join(name), at(NOW)).unwrap();
        authority.service_account_key().unwrap()
    };
    let (old, new) = (key("old"), key("new"));
    let before = Signer::load(ISSUER, std::slice::from_ref(&old)).unwrap().unwrap();
    let after = Signer::load(ISSUER, &[new, old]).unwrap().unwrap();
    assert!(after.verify(&before.sign(&claims()).unwrap(), at(NOW)).is_ok());
    assert!(before.verify(&after.sign(&claims()).unwrap(), at(NOW)).is_err());
    assert_eq!(after.public_keys()["keys"].as_array().map(Vec::len), Some(2));
}

proptest! {
    #[test]
    fn rubbish_is_refused_quietly(token in "[A-Za-z0-9._-]{0,200}") {
        let (_directory, signer) = signer();
        let _issuer = issuer_of(&token);
        prop_assert!(signer.verify(&token, at(NOW)).is_err());
    }
}

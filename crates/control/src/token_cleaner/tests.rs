//! The end of a token.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::decide::{Fate, fate};

fn check(expiration: Option<&str>, expected: Fate) {
    let data = expiration.map(|text| ("expiration".to_owned(), ByteString(text.as_bytes().to_vec())));
    let token = Secret { data: Some(data.into_iter().collect::<BTreeMap<_, _>>()), ..Secret::default() };
    assert_eq!(fate(&token, "2030-05-01T12:00:00Z".parse().unwrap()), expected, "{expiration:?}");
}

#[test]
fn a_token_lives_until_its_end() {
    check(None, Fate::Stays);
    check(Some("2030-05-01T12:00:30Z"), Fate::LivesFor(Duration::from_secs(30)));
    check(Some("2030-05-01T14:00:30+02:00"), Fate::LivesFor(Duration::from_secs(30)));
    check(Some("2031-01-01T00:00:00Z"), Fate::LivesFor(Duration::from_hours(24)));
    check(Some("2030-05-01T12:00:00Z"), Fate::Expired);
    check(Some("2000-01-01T00:00:00Z"), Fate::Expired);
    check(Some("soon"), Fate::Expired);
}

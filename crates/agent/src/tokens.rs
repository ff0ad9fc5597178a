//! Tokens of service accounts for the volumes of a Pod: asked for through `TokenRequest`, bound to the Pod, and renewed
//! long before they end, so that a program which reads the file now and then never holds an old one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

/// What a volume asks of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Empty for the API server itself.
    pub audience: String,
    pub seconds: i64,
}

impl Wanted {
    pub fn of(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        }
    }
}

/// The tokens themselves.
pub type Tokens = BTreeMap<Wanted, String>;

/// A volume that says nothing of the lifetime gets a token for an hour.
const DEFAULT_SECONDS: i64 = 3600;
/// A token is renewed when so much of its time is over, in percent.
const RENEW_PERCENT: u32 = 80;
/// However long it lives, a token is renewed once a day.
const RENEW_AT_LATEST: Duration = Duration::from_secs(24 * 3600);

/// The API server gave no token.
#[derive(Debug, thiserror::Error)]
#[error("cannot get a token of service account `{account}` of namespace `{namespace}`")]
pub struct TokenError {
    account: String,
    namespace: String,
    source: Box<kube::Error>,
}

/// The tokens of one Pod, as long as they are good.
#[derive(Debug, Default)]
pub struct Purse {
    held: BTreeMap<Wanted, Held>,
}

#[derive(Debug)]
struct Held {
    token: String,
    renew_at: Timestamp,
}

impl Purse {
    /// What `pod` wants, asked for where nothing good is held.
    pub async fn fill(
        &mut self,
        client: &Client,
        pod: &Pod,
        wanted: BTreeSet<Wanted>,
    ) -> Result<Tokens, TokenError> {
        let now = kit::clock::wall();
        for wanted in &wanted {
            if self.held.get(wanted).is_some_and(|held| held.renew_at > now) {
                continue;
            }
            let held = ask(client, pod, wanted, now).await?;
            self.held.insert(wanted.clone(), held);
        }
        self.held.retain(|held, _| wanted.contains(held));
        Ok(self.held.iter().map(|(wanted, held)| (wanted.clone(), held.token.clone())).collect())
    }
}

async fn ask(client: &Client, pod: &Pod, wanted: &Wanted, now: Timestamp) -> Result<Held, TokenError> {
    let namespace = pod.namespace().unwrap_or_default();
    let named = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = named.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
    let audiences = Some(wanted.audience.clone()).filter(|audience| !audience.is_empty());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audiences.map(|audience| vec![audience]),
            expiration_seconds: Some(wanted.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        }),
        ..TokenRequest::default()
    };
    let answer = accounts.create_token_request(&account, &PostParams::default(), &request).await;
    let answer = answer.map_err(|source| TokenError { account, namespace, source: Box::new(source) })?.status;
    let status = answer.unwrap_or_default();
    // An answer without a token leaves an empty file behind, and is asked again with the next refresh.
    let ends_at = status.expiration_timestamp.map_or(now, |time| time.0);
    let token = status.token.unwrap_or_default();
    Ok(Held { token, renew_at: renew_at(now, ends_at) })
}

/// When a token that was given `now` is to be renewed.
fn renew_at(now: Timestamp, ends_at: Timestamp) -> Timestamp {
    let life = Duration::try_from(ends_at.duration_since(now)).unwrap_or_default();
    let wait = (life * RENEW_PERCENT / 100).min(RENEW_AT_LATEST);
    now.checked_add(wait).unwrap_or(ends_at)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Timestamp, renew_at};

    #[test]
    fn renewed_long_before_the_end() {
        let check = |seconds: u64, expected: i64| {
            let now = Timestamp::UNIX_EPOCH;
            let ends_at = now.checked_add(Duration::from_secs(seconds)).unwrap();
            assert_eq!(renew_at(now, ends_at).as_second(), expected);
        };
        check(3600, 2880);
        check(0, 0);
        check(30 * 24 * 3600, 24 * 3600);
        assert_eq!(renew_at(Timestamp::UNIX_EPOCH, Timestamp::MIN), Timestamp::UNIX_EPOCH);
    }
}

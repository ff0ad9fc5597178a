//! The certificate controller: approves what nodes may have by themselves, signs what is approved with the cluster's
//! authority, and clears away requests that are done with.
//!
//! ```text
//!   pending ──may the sender? (SubjectAccessReview)──► approved ──is it as its signer demands?──► issued ──► removed
//!      └──────────── a day ────────────► removed           └──────────────► failed ──────────────────────────┘
//! ```
//! The authority's key is a parameter: without one, requests are approved and cleared away, and others sign.

mod authority;
mod decide;
mod wanted;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::act::{ActError, failed, only, post, unless_gone};
use crate::key::ObjectKey;
use crate::queue::{Next, queue};
use crate::world::World;

pub use authority::{AuthorityError, SigningAuthority};
use decide::{Step, Verdict, decide};

const N_WORKERS: usize = 2;
/// Whoever has no right to a certificate yet may be given it: asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
struct Certificates {
    world: World,
    authority: Option<Arc<SigningAuthority>>,
}

/// A request could not be signed.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    #[error(transparent)]
    Act(#[from] ActError),
    #[error("cannot sign request `{name}`")]
    Sign { name: String, source: authority::SignError },
}

/// Subscribes to `world` and returns the controller's work. Keys are requests.
pub fn start(
    world: &World,
    authority: Option<Arc<SigningAuthority>>,
    token: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let (keys, work) = queue::<ObjectKey>();
    let (own, requests) = (keys.clone(), Arc::clone(&world.signing_requests));
    world.signing_requests.on_change(move |change| {
        if change.after.is_some() {
            own.add(ObjectKey::of(&**change.object()));
        }
    });
    world.nodes.on_change(move |change| {
        // An agent may ask for its serving certificate before its node's addresses are known.
        let addresses = |node: &Arc<Node>| node.status.as_ref().and_then(|status| status.addresses.clone());
        if change.after.is_some() && change.before.map(addresses) != change.after.map(addresses) {
            requests.all().iter().for_each(|request| keys.add(ObjectKey::of(&**request)));
        }
    });
    let controller = Certificates { world: world.clone(), authority };
    async move {
        let world = controller.world.clone();
        let ready = async { tokio::join!(world.signing_requests.synced(), world.nodes.synced()) };
        if token.run_until_cancelled(ready).await.is_some() {
            work.run("certificate", N_WORKERS, token, move |key| controller.clone().reconcile(key)).await;
        }
    }
}

impl Certificates {
    fn api(&self) -> Api<CertificateSigningRequest> {
        Api::all(self.client().clone())
    }

    fn client(&self) -> &Client {
        self.world.act.client()
    }

    async fn reconcile(self, key: ObjectKey) -> Result<Next, CertificateError> {
        let Some(request) = self.world.signing_requests.get(&key) else { return Ok(Next::Rest) };
        let node = request.spec.username.as_deref().and_then(|user| user.strip_prefix(decide::NODE_PREFIX));
        let node = node.and_then(|node| self.world.nodes.get(&ObjectKey::cluster(node)));
        let now = kit::clock::wall();
        let step = decide(&request, node.as_deref(), now);
        match step {
            Step::Wait(left) => return Ok(left.map_or(Next::Rest, Next::Again)),
            Step::Remove => {
                let gone = self.api().delete(&key.name, &only(request.metadata.uid.as_deref())).await;
                unless_gone(gone.map(drop).map_err(failed::<CertificateSigningRequest>("delete", &key)))?;
            }
            Step::Ask { subresource } if !self.may(&request, subresource).await? => {
                return Ok(Next::Again(ASK_AGAIN));
            }
            Step::Ask { .. } => {
                self.approve(
                    &request,
                    "Auto approving kubelet client certificate after SubjectAccessReview.",
                )
                .await?;
            }
            Step::Approve { why } => self.approve(&request, why).await?,
            Step::Fail { why } => {
                let verdict = Verdict { kind: "Failed", reason: "SignerValidationFailure", message: &why };
                let status = with(&request, &verdict, now);
                self.write(
                    "status",
                    &CertificateSigningRequest { status: Some(status), ..(*request).clone() },
                )
                .await?;
            }
            Step::Sign { terms } => {
                let Some(authority) = &self.authority else { return Ok(Next::Rest) };
                let signed = authority.sign(&request.spec.request.0, &terms, &rand::random());
                let failed = |source| CertificateError::Sign { name: key.name.clone(), source };
                let certificate = k8s_openapi::ByteString(signed.map_err(failed)?.into_bytes());
                let status = request.status.clone().unwrap_or_default();
                let status = CertificateSigningRequestStatus { certificate: Some(certificate), ..status };
                self.write(
                    "status",
                    &CertificateSigningRequest { status: Some(status), ..(*request).clone() },
                )
                .await?;
            }
        }
        Ok(Next::Rest)
    }

    /// Whether who sent the request may have it approved by itself.
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> Result<bool, ActError> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".to_owned()),
                    resource: Some("certificatesigningrequests".to_owned()),
                    verb: Some("create".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    version: Some("*".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client().clone());
        let answer = reviews.create(&post(), &review).await;
        let answer = answer.map_err(failed::<SubjectAccessReview>("ask for", &ObjectKey::of(request)))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn approve(&self, request: &CertificateSigningRequest, why: &str) -> Result<(), ActError> {
        let verdict = Verdict { kind: "Approved", reason: "AutoApproved", message: why };
        let status = with(request, &verdict, kit::clock::wall());
        self.write("approval", &CertificateSigningRequest { status: Some(status), ..request.clone() }).await
    }

    async fn write(&self, part: &str, request: &CertificateSigningRequest) -> Result<(), ActError> {
        let key = ObjectKey::of(request);
        let written = self.api().replace_subresource(part, &key.name, &post(), request).await.map(drop);
        unless_gone(written.map_err(failed::<CertificateSigningRequest>("update the status of", &key)))
    }
}

/// The status with one condition more.
fn with(
    request: &CertificateSigningRequest,
    verdict: &Verdict<'_>,
    now: jiff::Timestamp,
) -> CertificateSigningRequestStatus {
    let mut status = request.status.clone().unwrap_or_default();
    status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: verdict.kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: None,
    });
    status
}

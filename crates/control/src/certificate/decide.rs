//! What becomes of a request: the rules of Kubernetes' signers, who is approved unasked, and how long a request stays.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::api::core::v1::Node;

use super::authority::{self, Terms};
use super::wanted::Wanted;

/// What an agent's user name begins with.
pub(crate) const NODE_PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The longest that a certificate is good for, and what is given when nothing is asked.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365);
/// Less would be over before it is in use.
const SHORTEST: SignedDuration = SignedDuration::from_mins(10);

/// What is owed for a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing, or nothing before this time has passed.
    Wait(Option<Duration>),
    /// Nobody needs it any more.
    Remove,
    /// To approve, if its sender may create this subresource of requests.
    Ask {
        subresource: &'static str,
    },
    Approve {
        why: &'static str,
    },
    /// Its signer will never sign it.
    Fail {
        why: String,
    },
    Sign {
        terms: Terms,
    },
}

/// A condition that is added to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict<'a> {
    pub(crate) kind: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: &'a str,
}

/// Decides on `request`; `node` is that of its sender, if its sender is an agent.
pub(crate) fn decide(request: &CertificateSigningRequest, node: Option<&Node>, now: Timestamp) -> Step {
    let end = end(request);
    if end.is_some_and(|end| end <= now) {
        return Step::Remove;
    }
    let wait = Step::Wait(end.and_then(|end| Duration::try_from(end.duration_since(now)).ok()));
    if is(request, "Denied") || is(request, "Failed") || certificate(request).is_some() {
        return wait;
    }
    let spec = &request.spec;
    if ![CLIENT, NODE_CLIENT, NODE_SERVING].contains(&spec.signer_name.as_str()) {
        return wait;
    }
    let wanted = Wanted::read(&spec.request.0);
    let lawful = wanted.as_ref().ok_or_else(|| "the request cannot be read".to_owned());
    let lawful = lawful.and_then(|wanted| must_be_lawful(spec, wanted));
    match (is(request, "Approved"), lawful, wanted) {
        (true, Err(why), _) => Step::Fail { why },
        (true, Ok(()), _) => Step::Sign { terms: terms(spec, now) },
        (false, Ok(()), Some(wanted)) => unasked(spec, &wanted, node).unwrap_or(wait),
        (false, ..) => wait,
    }
}

/// How a request is approved without anybody being asked, if it can be.
fn unasked(spec: &CertificateSigningRequestSpec, wanted: &Wanted, node: Option<&Node>) -> Option<Step> {
    let is_own = spec.username.as_deref() == Some(&wanted.common_name);
    match spec.signer_name.as_str() {
        NODE_CLIENT if is_own => Some(Step::Ask { subresource: "selfnodeclient" }),
        NODE_CLIENT => Some(Step::Ask { subresource: "nodeclient" }),
        NODE_SERVING if is_own && is_in(spec, NODES) && node.is_some_and(|node| is_at(node, wanted)) => {
            Some(Step::Approve {
                why: "Auto approving kubelet serving certificate for the node's own addresses.",
            })
        }
        _ => None,
    }
}

fn is_in(spec: &CertificateSigningRequestSpec, group: &str) -> bool {
    spec.groups.iter().flatten().any(|own| own == group)
}

/// Whether every name that is wanted is one of the node's own.
fn is_at(node: &Node, wanted: &Wanted) -> bool {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let mut own: BTreeSet<&str> = addresses.map(|address| address.address.as_str()).collect();
    own.extend(node.metadata.name.as_deref());
    wanted.names.iter().all(|name| own.contains(name.as_str()))
        && wanted.addresses.iter().all(|address| own.contains(address.to_string().as_str()))
}

/// What the signer demands of a request.
fn must_be_lawful(spec: &CertificateSigningRequestSpec, wanted: &Wanted) -> Result<(), String> {
    match spec.signer_name.as_str() {
        CLIENT => usages(spec, &["client auth"]),
        NODE_CLIENT => {
            must_be_a_node(wanted)?;
            if wanted.has_names() {
                return Err("a node's client certificate has no names beside its user".to_owned());
            }
            usages(spec, &["client auth", "digital signature"])
        }
        _ => {
            must_be_a_node(wanted)?;
            if wanted.has_other_names || !wanted.has_names() {
                let why = "a node's serving certificate has DNS names or IP addresses, and no other names";
                return Err(why.to_owned());
            }
            usages(spec, &["digital signature", "server auth"])
        }
    }
}

fn must_be_a_node(wanted: &Wanted) -> Result<(), String> {
    if wanted.organizations != [NODES] {
        return Err(format!("a node's certificate has the organization {NODES} and no other"));
    }
    if !wanted.common_name.starts_with(NODE_PREFIX) {
        return Err(format!("a node's certificate has a common name that begins with {NODE_PREFIX}"));
    }
    Ok(())
}

/// Exactly the usages that must be, beside those that may.
fn usages(spec: &CertificateSigningRequestSpec, must: &[&str]) -> Result<(), String> {
    let may = ["digital signature", "key encipherment"];
    let given: Vec<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    if let Some(wrong) = given.iter().find(|usage| !must.contains(usage) && !may.contains(usage)) {
        return Err(format!("usage \"{wrong}\" is not for certificates of {}", spec.signer_name));
    }
    match must.iter().find(|usage| !given.contains(usage)) {
        Some(missing) => {
            Err(format!("usage \"{missing}\" is required for certificates of {}", spec.signer_name))
        }
        None => Ok(()),
    }
}

/// How the certificate is to be.
fn terms(spec: &CertificateSigningRequestSpec, now: Timestamp) -> Terms {
    let asked = spec.expiration_seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    let has = |usage: &str| spec.usages.iter().flatten().any(|given| given == usage);
    Terms {
        now,
        lifetime: asked.map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST)),
        is_signature: has("digital signature"),
        is_encipherment: has("key encipherment"),
        purpose: if spec.signer_name == NODE_SERVING {
            authority::Purpose::Server
        } else {
            authority::Purpose::Client
        },
    }
}

/// When a request is cleared away: a day after it came if nobody cared, an hour after it was decided, and at once when
/// what was issued has expired. One that is approved and not yet signed waits for its signer.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let after = |condition: Option<&CertificateSigningRequestCondition>| {
        let time = condition?.last_update_time.as_ref()?;
        Some(time.0 + HOUR)
    };
    let decided = after(condition(request, "Denied")).or_else(|| after(condition(request, "Failed")));
    let issued = certificate(request).and_then(|certificate| {
        [after(condition(request, "Approved")), authority::end(certificate)].into_iter().flatten().min()
    });
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_pending = conditions.is_none_or(Vec::is_empty);
    let created = request.metadata.creation_timestamp.as_ref().filter(|_| is_pending);
    [decided, issued, created.map(|created| created.0 + DAY)].into_iter().flatten().min()
}

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    request.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn is(request: &CertificateSigningRequest, kind: &str) -> bool {
    condition(request, kind).is_some_and(|condition| condition.status == "True")
}

fn certificate(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    Some(certificate.0.as_slice()).filter(|certificate| !certificate.is_empty())
}

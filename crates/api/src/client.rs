//! A `kube::Client` without a socket: its service is the API's own router.

use std::sync::Arc;

use axum::body::Body;
use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use tower::ServiceExt;

use crate::authentication::User;
use crate::router::Router;

/// Marks requests of those who never look at who owns which field: it is left out of what they watch, where it is a third
/// of the text. What they write back without it keeps its owners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WithoutOwners;

/// A client that is `user`, who is here for as long as it or a copy of it is used.
pub(crate) fn in_process(router: Router, user: &User, presence: Arc<()>) -> kube::Client {
    let user = user.clone();
    let is_part = user.name.starts_with("system:crest:") || user.node_name().is_some();
    let program = HeaderValue::from_str(program(&user.name)).ok();
    let service = tower::service_fn(move |mut request: Request<kube::client::Body>| {
        request.extensions_mut().insert(user.clone());
        if is_part {
            request.extensions_mut().insert(WithoutOwners);
        }
        if let Some(program) = &program {
            request.headers_mut().entry(USER_AGENT).or_insert_with(|| program.clone());
        }
        // What this holds is told to be gone when the last copy of the client is.
        let _here = &presence;
        let answered = router.clone().oneshot(request);
        async move { answered.await.map(|response| response.map(Body::new)) }
    });
    kube::Client::new(service, "default")
}

/// By which name a part of Crest owns the fields that it writes: that of Kubernetes' own part, where one does the same,
/// because tools know those.
fn program(user: &str) -> &str {
    match user.rsplit_once(':') {
        Some(("system:crest", "controllers")) => "kube-controller-manager",
        Some(("system:crest", "sigma")) => "kube-scheduler",
        Some(("system:node", _)) => "kubelet",
        Some((_, name)) => name,
        None => user,
    }
}

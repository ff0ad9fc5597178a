//! A `kube::Client` without a socket: its service is the API's own router.

use axum::Router;
use axum::body::Body;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use tower::{Service, ServiceExt};

use crate::authentication::User;

/// A client that is `user`.
pub(crate) fn in_process(router: Router, user: &User) -> kube::Client {
    let user = user.clone();
    let program = HeaderValue::from_str(program(&user.name)).ok();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(user.clone());
        if let Some(program) = &program {
            request.headers_mut().entry(USER_AGENT).or_insert_with(|| program.clone());
        }
        let router = router.clone();
        async move { respond(router, request).await }
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

async fn respond(
    mut router: Router,
    request: Request<Body>,
) -> Result<Response<Body>, std::convert::Infallible> {
    // The router's own inference needs its service type named once.
    <Router as ServiceExt<Request<Body>>>::ready(&mut router).await?.call(request).await
}

//! A `kube::Client` without a socket: its service is the API's own router.

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use tower::{Service, ServiceExt};

use crate::authentication::User;

/// A client that is `user`.
pub(crate) fn in_process(router: Router, user: &User) -> kube::Client {
    let user = user.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(user.clone());
        let router = router.clone();
        async move { respond(router, request).await }
    });
    kube::Client::new(service, "default")
}

async fn respond(
    mut router: Router,
    request: Request<Body>,
) -> Result<Response<Body>, std::convert::Infallible> {
    // The router's own inference needs its service type named once.
    <Router as ServiceExt<Request<Body>>>::ready(&mut router).await?.call(request).await
}

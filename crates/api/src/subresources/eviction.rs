//! `pods/eviction`: a delete that asks politely. Disruption budgets will be asked here once there are any.

use axum::body::Body;
use http::{Response, StatusCode};
use kinds::status::Failure;
use serde_json::json;

use crate::call::Call;
use crate::deletion::DeleteOptions;
use crate::query::dry_run;
use crate::{object, respond, verbs};

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let body = call.take_body().await?;
    let eviction = kinds::decode::raw(call.media_type(), &body)?;
    let name = object::name(&eviction);
    if !name.is_empty() && name != call.path.name() {
        return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = DeleteOptions::parse(&eviction["deleteOptions"], &call.query)?;
    options.dry_run |= dry_run(call.query.get("dryRun"), "CreateOptions")?;
    verbs::delete::delete(&call, &call.path, &options).await?;
    let success =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::encoded(StatusCode::CREATED, call.accept.encoding, &success)
}

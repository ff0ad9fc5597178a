//! `PreemptionBatch`: Pods that make room for others. Each is marked as disrupted and deleted, as one change; its budget is
//! not asked, since the scheduler has weighed it.

use axum::body::Body;
use http::Response;
use kinds::status::Failure;
use model::preemption_batch::{MAX_VICTIMS, Victim};
use serde::Deserialize;
use serde_json::{Value, json};

use super::batch;
use super::eviction::set_condition;
use crate::call::Call;
use crate::deletion::DeleteOptions;
use crate::{access, object, verbs};

pub(crate) async fn handle(mut call: Call) -> Result<Response<Body>, Failure> {
    let asked = batch::read(&mut call, ("victims", MAX_VICTIMS)).await?;
    // The right to send batches gives no right to what they do.
    access::may_also(&call, &batch::path_to(&call, None, Some("status"))?, "patch")?;
    access::may_also(&call, &batch::path_to(&call, None, None)?, "delete")?;
    let each = asked.items.into_iter().map(|victim| preempt(&call, victim, asked.dry_run));
    let outcomes = futures::future::join_all(each).await;
    batch::answer(&call, "preempted", outcomes)
}

/// Has one Pod go. What its client would be warned of was said to the whole request.
async fn preempt(call: &Call, victim: Value, dry_run: bool) -> Result<Vec<String>, Failure> {
    let victim = Victim::deserialize(victim)
        .map_err(|error| Failure::bad_request(format!("a victim is name, uid and message: {error}")))?;
    if victim.name.is_empty() || victim.uid.is_empty() {
        return Err(Failure::bad_request("name, uid: a victim is named by both"));
    }
    let path = batch::path_to(call, Some(&victim.name), None)?;
    let options = DeleteOptions { uid: Some(victim.uid), dry_run, ..DeleteOptions::default() };
    let condition = json!({"type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": object::time(call.context.now()), "reason": "PreemptionByScheduler",
        "message": victim.message});
    let mark = |pod: &Value| {
        let mut marked = pod.clone();
        object::entry_object(&mut marked, "status");
        set_condition(&mut marked["status"], condition.clone());
        verbs::owned_part(call, "status", |writer| {
            kinds::managed::update(&path.kind, writer, Some(pod), &mut marked);
        });
        marked
    };
    verbs::delete::delete_marked(call, &path, &options, mark).await?;
    Ok(Vec::new())
}

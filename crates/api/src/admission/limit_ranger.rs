//! Limit ranges of a namespace: what containers get that say nothing, and what may be asked at all.

use async_trait::async_trait;
use kinds::limits;
use kinds::status::Failure;

use super::{Operation, Plugin, Review};

pub(super) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        if review.operation != Operation::Create || !review.is_about("", "pods") {
            return Ok(());
        }
        let Some(ranges) = review.lister("", "limitranges").await? else { return Ok(()) };
        for range in ranges.in_namespace(review.namespace) {
            limits::complete(&range, &mut review.object);
        }
        Ok(())
    }

    async fn validate(&self, review: &mut Review<'_>) -> Result<(), Failure> {
        let is_pod = match review.operation {
            Operation::Create => review.is_about("", "pods"),
            Operation::Update => is_resize(review),
            Operation::Delete | Operation::Connect => false,
        };
        let is_written = matches!(review.operation, Operation::Create | Operation::Update);
        let is_claim = is_written && review.is_about("", "persistentvolumeclaims");
        if !is_pod && !is_claim {
            return Ok(());
        }
        let Some(ranges) = review.lister("", "limitranges").await? else { return Ok(()) };
        for range in ranges.in_namespace(review.namespace) {
            let object = &review.object;
            let faults = match is_pod {
                true => limits::faults_of_pod(&range, object),
                false => limits::faults_of_claim(&range, object),
            };
            match faults.as_slice() {
                [] => {}
                [fault] => return Err(review.forbid(fault)),
                faults => return Err(review.forbid(&format!("[{}]", faults.join(", ")))),
            }
        }
        Ok(())
    }
}

/// What a running Pod asks for changes by a subresource only.
pub(super) fn is_resize(review: &Review<'_>) -> bool {
    review.kind.group.is_empty() && review.kind.plural == "pods" && review.subresource == Some("resize")
}

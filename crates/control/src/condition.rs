//! Conditions in the form that most kinds share.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Since when the condition of this type has had this status, by what is `known`: since `now` where it turns.
pub(crate) fn since(known: &[Condition], (type_, status): (&str, &str), now: Time) -> Time {
    let before = known.iter().find(|each| each.type_ == type_ && each.status == status);
    before.map_or(now, |before| before.last_transition_time.clone())
}

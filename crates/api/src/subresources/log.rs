//! `pods/log`: what may be asked of a log; the agent of the Pod's node answers it.

use kinds::status::{Failure, FieldError};

use crate::call::Call;
use crate::query::Query;

const STREAMS: [&str; 3] = ["All", "Stdout", "Stderr"];

/// 422 if the options contradict each other or the world.
pub(super) fn check(call: &Call) -> Result<(), Failure> {
    let faults = faults(&call.query)?;
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::invalid_object("", "PodLogOptions", call.path.name(), &faults))
}

fn faults(query: &Query) -> Result<Vec<FieldError>, Failure> {
    let mut faults = Vec::new();
    let mut at_least = |name: &str, least: i64, message: &str| {
        let number = query.number(name)?;
        let fault = number.filter(|number| *number < least);
        faults.extend(fault.map(|number| FieldError::invalid(name, number, message)));
        Ok(number.is_some())
    };
    let has_tail = at_least("tailLines", 0, "must be greater than or equal to 0")?;
    at_least("limitBytes", 1, "must be greater than 0")?;
    let has_seconds = at_least("sinceSeconds", 1, "must be greater than 0")?;
    if has_seconds && query.get("sinceTime").is_some_and(|time| !time.is_empty()) {
        let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        faults.push(FieldError::forbidden("", message));
    }
    match query.get("stream").filter(|stream| !stream.is_empty()) {
        None | Some("All") => {}
        Some(stream) if !STREAMS.contains(&stream) => {
            faults.push(FieldError::not_supported("stream", stream, &STREAMS));
        }
        Some(_) if has_tail => {
            let message = "`tailLines` may only be specified when `stream` is set to `All`";
            faults.push(FieldError::forbidden("", message));
        }
        Some(_) => {}
    }
    Ok(faults)
}

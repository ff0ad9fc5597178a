//! What a writer may not do though a role lets it write: give away rights that it does not have, have certificates
//! signed that are not its to give, or, as a node's agent, touch what belongs to other nodes.

mod certificate;
mod escalation;
mod node;

use kinds::status::Failure;
use serde_json::Value;

use crate::call::Call;
use crate::strategy::Part;

/// Before `new` is created at the call's path.
pub(crate) fn create(call: &Call, new: &Value) -> Result<(), Failure> {
    node::create(call, new)?;
    certificate::create(call, new)?;
    escalation::write(call, new, None)
}

/// Before `current` becomes `new`.
pub(crate) fn update(call: &Call, new: &Value, current: &Value, part: Part) -> Result<(), Failure> {
    node::update(call, new, current, part)?;
    certificate::update(call, new, current, part)?;
    escalation::write(call, new, Some(current))
}

/// Before `current` is deleted or evicted.
pub(crate) fn delete(call: &Call, current: &Value) -> Result<(), Failure> {
    node::delete(call, current)
}

/// Before a token is made for an account; `pod` is that to which it is bound.
pub(crate) fn token(call: &Call, pod: Option<&Value>) -> Result<(), Failure> {
    node::token(call, pod)
}

//! The policy that was followed last, on disk: an agent that starts goes on with it until it hears of the cluster, and where
//! it cannot read what it hears.

use std::path::Path;
use std::{fs, io};

use model::colocation_policy::ColocationPolicySpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::choose::{Choice, read};
use crate::state_file;

#[derive(Serialize)]
struct Kept<'a> {
    policy: &'a str,
    spec: &'a ColocationPolicySpec,
}

#[derive(Deserialize)]
struct Found {
    policy: String,
    spec: Value,
}

/// What was kept in `file`; nothing where nothing was, or where it cannot be followed.
pub(super) fn load(file: &Path) -> Result<Option<Choice>, String> {
    let kept = state_file::read(file).map_err(|error| error.to_string())?;
    let Some(text) = kept else { return Ok(None) };
    let Found { policy, spec } = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    Ok(Some(Choice { policy: Some(policy), spec: read(&spec)?, trouble: None }))
}

/// Keeps what is followed. What could not be followed changes nothing.
pub(super) fn keep(file: &Path, choice: &Choice) -> io::Result<()> {
    match &choice.policy {
        _ if choice.trouble.is_some() => Ok(()),
        None => match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Some(policy) => state_file::replace(file, &serde_json::to_vec(&Kept { policy, spec: &choice.spec })?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_followed_outlives_the_agent_and_what_cannot_be_followed_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        assert_eq!(load(&file), Ok(None));
        let spec = serde_json::from_value(json!({"cpu": {"marginPercent": 40}})).unwrap();
        let followed = Choice { policy: Some("careful".to_owned()), spec, trouble: None };
        keep(&file, &followed).unwrap();
        assert_eq!(load(&file), Ok(Some(followed.clone())));
        keep(&file, &Choice { policy: None, trouble: Some("odd".to_owned()), ..Choice::default() }).unwrap();
        assert_eq!(load(&file), Ok(Some(followed)));
        keep(&file, &Choice::default()).unwrap();
        keep(&file, &Choice::default()).unwrap();
        assert_eq!(load(&file), Ok(None));
        for broken in ["{", "{\"policy\": \"x\", \"spec\": {\"cpu\": {\"marginPercent\": 150}}}"] {
            fs::write(&file, broken).unwrap();
            assert!(load(&file).is_err(), "{broken}");
        }
    }
}

//! Other registries to ask first: a cache near by, or the only one that a closed network has.
//!
//! What a mirror gives is listed under the name that was asked for. A mirror that does not have it, or is away, costs
//! an attempt and nothing else: the registry that the name itself says is always asked last.

use std::str::FromStr;

use oci_client::Reference as Remote;

/// Every registry, in the place of one's name.
const ANY: &str = "*";

/// One registry's stand-in, written `docker.io=cache.example:5000`, or `*=cache.example:5000` for all registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    registry: String,
    host: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is no mirror: expected REGISTRY=HOST[:PORT], as docker.io=localhost:5000, or *=HOST[:PORT] for all"
)]
pub struct MirrorError {
    text: String,
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || MirrorError { text: text.to_owned() };
        let (registry, host) = text.split_once('=').ok_or_else(refused)?;
        let sound = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        if !sound(host) || !(registry == ANY || sound(registry)) {
            return Err(refused());
        }
        Ok(Self { registry: registry.to_owned(), host: host.to_owned() })
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.registry, self.host)
    }
}

/// Whom to ask for `remote`, in turn.
pub(super) fn routes(mirrors: &[Mirror], remote: &Remote) -> Vec<Remote> {
    let stands_in = |mirror: &&Mirror| mirror.registry == ANY || mirror.registry == remote.registry();
    let through = |mirror: &Mirror| {
        let mut route = remote.clone();
        route.set_mirror_registry(mirror.host.clone());
        route
    };
    mirrors.iter().filter(stands_in).map(through).chain([remote.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mirror, routes};

    #[test]
    fn mirrors_are_asked_in_turn_and_the_registry_last() {
        let mirrors: Vec<Mirror> = ["docker.io=near:5000", "quay.io=other", "*=any:1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let asked = |name: &str| -> Vec<String> {
            let routes = routes(&mirrors, &name.parse().unwrap());
            routes.iter().map(|route| route.resolve_registry().to_owned()).collect()
        };
        assert_eq!(asked("nginx"), ["near:5000", "any:1", "index.docker.io"]);
        assert_eq!(asked("gcr.io/a/pause"), ["any:1", "gcr.io"]);
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in ["", "docker.io", "=x", "docker.io=", "docker.io=http://x", "**=x", "a=b=c", "a=b/c"] {
            assert!(text.parse::<Mirror>().is_err(), "{text}");
        }
        let text = "*=[::1]:5000";
        assert_eq!(text.parse::<Mirror>().unwrap().to_string(), text);
    }
}

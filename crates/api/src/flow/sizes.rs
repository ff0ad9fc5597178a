//! How many objects lists have had: what the next one of its kind costs is guessed from the last.

use std::collections::HashMap;

use parking_lot::RwLock;

/// As many objects are about as much work as one small request.
const OBJECTS_PER_SEAT: usize = 100;

/// The lists that were more than small, by group, resource and namespace.
#[derive(Debug, Default)]
pub(crate) struct Sizes(RwLock<HashMap<String, usize>>);

impl Sizes {
    /// A list or the start of a watch went through so many objects.
    pub(crate) fn note(&self, place: (&str, &str, &str), objects: usize) {
        let key = key(place);
        // Small ones are not kept: anybody can ask for the lists of namespaces that are not there.
        if objects > OBJECTS_PER_SEAT {
            self.0.write().insert(key, objects);
        } else if self.0.read().contains_key(&key) {
            self.0.write().remove(&key);
        }
    }

    /// The width of a list of at most `limit` objects.
    pub(crate) fn width(&self, place: (&str, &str, &str), limit: Option<i64>) -> u32 {
        let sizes = self.0.read();
        if sizes.is_empty() {
            return 1;
        }
        let objects = sizes.get(&key(place)).copied().unwrap_or(0);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        u32::try_from(objects.min(limit).div_ceil(OBJECTS_PER_SEAT)).unwrap_or(u32::MAX).max(1)
    }
}

fn key((group, resource, namespace): (&str, &str, &str)) -> String {
    format!("{group}/{resource}/{namespace}")
}

#[cfg(test)]
mod tests {
    use super::Sizes;

    #[test]
    fn the_last_list_tells_how_wide_the_next_is() {
        let sizes = Sizes::default();
        let pods = ("", "pods", "");
        assert_eq!(sizes.width(pods, None), 1);
        sizes.note(pods, 10_000);
        assert_eq!((sizes.width(pods, None), sizes.width(pods, Some(500))), (100, 5));
        assert_eq!(sizes.width(("", "pods", "other"), None), 1);
        sizes.note(pods, 3);
        assert_eq!(sizes.width(pods, None), 1);
        assert!(sizes.0.read().is_empty());
    }
}

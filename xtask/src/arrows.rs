//! Which room may import which. ARCHITECTURE.md says why.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// A room and the rooms that it may import, tests included.
const ARROWS: [(&str, &[&str]); 16] = [
    ("model", &[]),
    ("kit", &[]),
    ("store", &["kit"]),
    ("kinds", &["model"]),
    ("sigma", &["model"]),
    ("fuxi", &["model"]),
    ("level0", &["model"]),
    ("sim", &["model", "sigma", "fuxi", "level0"]),
    ("pouch", &["kit"]),
    ("drill", &["kit"]),
    ("api", &["kit", "model", "kinds", "store"]),
    ("control", &["kit", "model", "kinds", "sigma", "fuxi", "level0"]),
    ("agent", &["kit", "model", "level0", "pouch", "fuxi"]),
    ("bench", ALL),
    ("fuzz", ALL),
    ("crest", ALL),
];

const ALL: &[&str] = &[
    "model", "kit", "store", "kinds", "sigma", "fuxi", "level0", "sim", "pouch", "drill", "api", "control",
    "agent",
];

/// What the tests of a room may import beyond its arrows: the real server, in place of a mock of it.
const TEST_ARROWS: [(&str, &[&str]); 2] =
    [("control", &["api", "store", "agent"]), ("agent", &["api", "store", "control"])];

pub(crate) fn faults(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (room, allowed) in ARROWS {
        let manifest =
            if matches!(room, "bench" | "fuzz") { root.join(room) } else { root.join("crates").join(room) };
        let manifest = manifest.join("Cargo.toml");
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read the manifest of `{room}`: `{}`", manifest.display()))?;
        let tests = TEST_ARROWS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, more)| more);
        found.extend(room_faults(room, &text, allowed, tests));
    }
    Ok(found)
}

fn room_faults(room: &str, manifest: &str, allowed: &[&str], tests: &[&str]) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let Some(name) = line.split(['.', '=', ' ']).next().filter(|name| ALL.contains(name)) else {
            continue;
        };
        // A room may name itself there, to turn its own test feature on.
        let by_test = section == "[dev-dependencies]" && (name == room || tests.contains(&name));
        if section.contains("dependencies") && !allowed.contains(&name) && !by_test {
            found.push(format!(
                "{room} imports {name}: that arrow is not in the map (xtask/src/arrows.rs, ARCHITECTURE.md)"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::room_faults;

    #[test]
    fn a_new_arrow_is_seen() {
        let manifest =
            "[dependencies]\nkit.workspace = true\napi.workspace = true\n[dev-dependencies]\nstore = {}\n";
        assert_eq!(room_faults("control", manifest, &["kit"], &["store"]).len(), 1);
        assert_eq!(room_faults("control", manifest, &["kit", "api"], &["store"]).len(), 0);
        assert_eq!(room_faults("control", manifest, &["kit", "api"], &[]).len(), 1);
    }
}

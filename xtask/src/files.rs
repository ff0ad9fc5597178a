//! Rules for single files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

const LONGEST_FILE: usize = 500;
const LONGEST_MAIN: usize = 130;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["mod.rs", "utils.rs", "util.rs", "common.rs", "types.rs"];

pub(crate) fn faults(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut sources = Vec::new();
    for folder in ["crates", "bench", "xtask", "tests", "fuzz"] {
        collect(&root.join(folder), &mut sources)?;
    }
    sources.sort();
    let mut found = Vec::new();
    for path in sources {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        found.extend(file_faults(&shown, &text));
    }
    Ok(found)
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name() != Some(OsStr::new("target")) {
                collect(&path, sources)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            sources.push(path);
        }
    }
    Ok(())
}

fn file_faults(path: &str, text: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut found = Vec::new();
    let lines = text.lines().count();
    let budget = if path.ends_with("src/main.rs") { LONGEST_MAIN } else { LONGEST_FILE };
    if lines > budget {
        found.push(format!("{path}: {lines} lines, the budget is {budget}: split it by thing or verb"));
    }
    if EMPTY_NAMES.contains(&name) {
        found.push(format!("{path}: this name tells nothing: name the file after the thing in it"));
    }
    // A `tests.rs` tells the story of the module that it belongs to.
    if name != "tests.rs" && !text.starts_with("//!") {
        found.push(format!("{path}: the file does not open with a `//!` that tells its story"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(fault) = line_fault(line) {
            found.push(format!("{path}:{}: {fault}", number + 1));
        }
    }
    found
}

fn line_fault(line: &str) -> Option<&'static str> {
    // Spelt in two parts so that this file does not accuse itself.
    let todo = concat!("TO", "DO");
    let code = line.trim_start();
    if code.contains(todo) && !code.contains(&format!("{todo}(#")) {
        return Some("an open end without an issue: write the issue's number or finish it");
    }
    if code.starts_with(concat!("#[ign", "ore")) {
        return Some("an ignored test: assert today's behaviour and say why it is wrong");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::file_faults;

    fn check(path: &str, text: &str, n_faults: usize) {
        assert_eq!(file_faults(path, text).len(), n_faults, "{:?}", file_faults(path, text));
    }

    #[test]
    fn rules_for_files() {
        check("crates/a/src/lib.rs", "//! Story.\n", 0);
        check("crates/a/src/lib.rs", "fn main() {}\n", 1);
        check("crates/a/src/utils.rs", "//! Story.\n", 1);
        check("crates/a/src/b.rs", &format!("//! Story.\n{}", "\n".repeat(501)), 1);
        check("crates/a/src/main.rs", &format!("//! Story.\n{}", "\n".repeat(131)), 1);
        check("crates/a/src/b.rs", concat!("//! Story.\n// TO", "DO: later\n"), 1);
        check("crates/a/src/b.rs", concat!("//! Story.\n#[ign", "ore]\n"), 1);
    }
}

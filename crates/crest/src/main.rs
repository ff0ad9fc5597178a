//! The one binary: every role of Crest and every command that `kubectl` has no word for.

fn main() {}

//! Label and field selectors of lists, watches and specs.

mod fields;
mod labels;

pub use fields::{Fields, outline};
pub use labels::Labels;

#[cfg(test)]
mod tests;

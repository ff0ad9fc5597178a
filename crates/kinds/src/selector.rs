//! Label and field selectors of lists, watches and specs.

mod fields;
mod labels;

pub use fields::Fields;
pub use labels::Labels;

#[cfg(test)]
mod tests;

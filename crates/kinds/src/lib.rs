//! What a Kubernetes object means: the table of kinds, schema, defaults, validation, patches, tables, protobuf. Pure: never IO.
//!
//! Objects are `serde_json::Value`s; what is true of a kind is data in [`kind`], and one entry there adds a kind.
//!
//! ```text
//!   bytes ──decode──► Value ──defaults──► Value ──validate──► stored ──table, selector──► answered
//!                       ▲
//!                     patch
//! ```

pub mod admission;
pub mod cel;
pub mod convert;
pub mod custom;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod encode;
pub mod flow;
pub mod kind;
pub mod limits;
pub mod managed;
pub mod openapi;
pub mod patch;
pub mod quota;
pub mod resources;
pub mod security;
pub mod selector;
pub mod sparse;
pub mod status;
pub mod table;
pub mod validate;
pub mod warn;

mod schema;

pub use kind::{Kind, Scope, Subresource, all, find, find_kind};

//! The Kubernetes API server: discovery, CRUD, patch, watch, admission, authentication.
//!
//! ```text
//!   socket (TLS) ─┐                 ┌─ documents (version, discovery, OpenAPI)
//!                 ├─ router ── call ┤
//!   kube::Client ─┘                 └─ verbs ── admission, strategy, kinds ── registry ── store
//!                                        └── watch ◄── feed (one per resource) ◄──────────┘
//! ```
//! Never decides placement, never runs controllers. What a kind means is data in `kinds`; no file here is about one
//! kind, except where Kubernetes itself makes an exception of it.

mod accept;
mod access;
mod admission;
mod attributes;
mod audit;
pub mod authentication;
pub mod authority;
mod authorization;
mod backup;
mod bootstrap;
mod call;
mod catalog;
mod client;
mod components;
mod computed;
mod context;
mod conversion;
mod deadline;
mod definitions;
mod deletion;
mod documents;
mod encryption;
mod endpoints;
mod explanations;
mod feed;
mod flow;
mod guard;
mod impersonation;
mod lister;
mod metrics;
mod object;
mod query;
mod record;
mod registry;
mod request;
mod respond;
mod reviews;
mod router;
mod security;
mod server;
mod strategy;
mod subresources;
mod verbs;
mod webhook;
mod yaml;

pub use admission::addresses::{Ipv4Range, RangeError};
pub use audit::{AuditConfig, AuditError, LogError, PolicyError};
pub use authentication::User;
pub use explanations::{Explain, ExplainError};
pub use security::{DEFAULT_ISSUER, SecurityConfig, SecurityError};
pub use server::{BuildError, Config, Limits, Server};

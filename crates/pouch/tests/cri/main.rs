//! The engine as its callers see it: CRI over the socket, real containers on the real kernel. Needs root.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what the tests share is test code too")]

mod adoption;
mod commands;
mod daemon;
mod lifecycle;
mod security;
mod spdy;
mod streams;

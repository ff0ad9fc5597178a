//! The engine as its callers see it: CRI over the socket, real containers on the real kernel. Needs root.

mod adoption;
mod commands;
mod daemon;
mod lifecycle;
mod security;
mod streams;

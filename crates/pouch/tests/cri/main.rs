//! The engine as its callers see it: CRI over the socket, real containers on the real kernel. Needs root.

mod daemon;
mod lifecycle;

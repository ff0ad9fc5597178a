//! Serving over real sockets.

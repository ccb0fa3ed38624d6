//! The protocol meets the world: links, signalling and sessions over real sockets.

pub mod link;

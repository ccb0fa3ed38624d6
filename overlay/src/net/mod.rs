//! The protocol meets the world: links over WebRTC, sessions over QUIC, the signalling server.

pub(crate) mod driver;
pub mod link;
pub(crate) mod platform;
pub mod session;
pub mod signal;

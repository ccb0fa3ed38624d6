//! The protocol meets the world: links over WebRTC, sessions over QUIC, the signalling server.

pub mod link;
pub mod session;
pub mod signal;

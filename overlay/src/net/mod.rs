//! The protocol meets the world: links over WebRTC, sessions over QUIC.

pub mod session;

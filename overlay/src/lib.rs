//! Atoll: one peer-to-peer ring of native processes and browser tabs, over WebRTC.

pub mod id;
pub mod key;
#[cfg(feature = "net")]
pub mod net;

pub use id::Id;
pub use key::{Identity, PeerKey};

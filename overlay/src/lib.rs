//! Atoll: one peer-to-peer ring of native processes and browser tabs, over WebRTC.

#[cfg(feature = "net")]
pub mod channel;
pub mod ice;
pub mod id;
pub mod key;
#[cfg(feature = "net")]
pub mod net;
#[cfg(feature = "net")]
pub mod node;
pub mod object;
pub mod proto;
pub mod record;
pub mod signalling;
#[cfg(feature = "net")]
mod small_map;
pub mod wire;

#[cfg(feature = "net")]
pub use atoll_macros::service;
pub use id::Id;
pub use key::{Identity, PeerKey};
#[cfg(feature = "net")]
pub use node::{Node, NodeBuilder, NodeEvent};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

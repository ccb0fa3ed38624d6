//! How link set-up messages reach the other node: here, through a signalling server.

mod backoff;
mod client;
mod connection;

pub use backoff::{BACKOFF_LONGEST, BACKOFF_SHORTEST};
pub use client::{SendError, SignallingClient, SignallingConfig, SignallingEvent, SignallingHandle};

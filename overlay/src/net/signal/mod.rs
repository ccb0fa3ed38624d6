//! How link set-up messages reach the other node: here, through a signalling server.

mod backoff;
mod client;
mod connection;
mod pace;
mod task;

pub use backoff::{BACKOFF_LONGEST, BACKOFF_SHORTEST, STEADY};
pub use client::{
    COMMANDS, ConfigError, EVENTS, NotDelivered, SendError, SignallingClient, SignallingConfig, SignallingEvent,
    SignallingHandle, SignallingTiming,
};
pub use connection::{CONNECT_LIMIT, WRITE_LIMIT};

//! The protocol meets the world: connections, clocks, tasks.

pub mod signal;

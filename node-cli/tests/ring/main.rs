//! The verbs that need a ring, with real processes over real WebRTC on loopback.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

mod channels;
mod door;
mod errors;
mod glou;
mod objects;
mod processes;
mod store;
mod support;
mod verbs;

//! What a node needs of the machine that it runs on: tasks, timers, a WebSocket, links over WebRTC, and what QUIC asks for.
//!
//! There are two platforms with the same items: [`native`] processes, on tokio, and pages in a browser, on its event loop. All other
//! code of the overlay is the same on both; what differs between them belongs here, or into the two kinds of
//! [links](super::link).
//!
//! | item | what it is |
//! |---|---|
//! | `spawn`, `can_spawn`, `JoinHandle`, `AbortHandle` | tasks |
//! | `Instant`, `sleep`, `sleep_until`, `timeout`, `timeout_at` | time that only goes forward |
//! | `WebSocket` | a connection to a signalling server that carries texts |
//! | `Disk`, `Change` | where records of the store outlive the process |
//! | `transport` | the way to open links |
//! | `QuicRuntime` | tasks and timers as `quinn` wants them |
//! | `CIPHER_SUITES` | how sessions may be encrypted |
//! | `PACKETS_PER_ACK` | how many packets of a session are acknowledged together |

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod web;

#[cfg(not(target_family = "wasm"))]
pub use native::DiskError;
#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
#[cfg(target_family = "wasm")]
pub(crate) use web::*;

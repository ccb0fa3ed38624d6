//! A process on an operating system, with tokio.

mod disk;
mod socket;

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite;

pub(crate) use quinn::TokioRuntime as QuicRuntime;
pub(crate) use tokio::spawn;
pub(crate) use tokio::task::{AbortHandle, JoinHandle};
pub(crate) use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

pub use self::disk::DiskError;
pub(crate) use self::disk::{Change, Disk};
pub(crate) use self::socket::WebSocket;
pub(crate) use crate::net::link::native::transport;

/// How sessions may be encrypted, the preferred first: what processors have instructions for, and what pages take.
pub(crate) const CIPHER_SUITES: &[SupportedCipherSuite] =
    &[cipher_suite::TLS13_AES_256_GCM_SHA384, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];

/// How many packets of this node's sessions are acknowledged together: as QUIC has it.
pub(crate) const PACKETS_PER_ACK: u32 = 2;

/// Whether [`spawn`] may be called here. Values are dropped anywhere, outside of the runtime too.
pub(crate) fn can_spawn() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

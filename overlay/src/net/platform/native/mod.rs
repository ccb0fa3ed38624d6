//! A process on an operating system, with tokio.

mod disk;
mod socket;

pub(crate) use quinn::TokioRuntime as QuicRuntime;
pub(crate) use tokio::spawn;
pub(crate) use tokio::task::{AbortHandle, JoinHandle};
pub(crate) use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

pub use self::disk::DiskError;
pub(crate) use self::disk::{Change, Disk};
pub(crate) use self::socket::WebSocket;
pub(crate) use crate::net::link::native::transport;

/// Whether [`spawn`] may be called here. Values are dropped anywhere, outside of the runtime too.
pub(crate) fn can_spawn() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}

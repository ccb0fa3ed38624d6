//! A page in a browser, on its event loop: one thread, whose tasks run between the browser's events.

mod disk;
mod socket;
mod task;
mod time;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite;

pub(crate) use web_time::Instant;

pub(crate) use self::disk::{Change, Disk};
pub(crate) use self::socket::WebSocket;
pub(crate) use self::task::{AbortHandle, JoinHandle, can_spawn, spawn};
pub(crate) use self::time::{Sleep, sleep, sleep_until, timeout, timeout_at};
pub(crate) use crate::net::link::web::transport;

/// How sessions may be encrypted. WebAssembly has no instructions for AES, which takes many times as long without them.
pub(crate) const CIPHER_SUITES: &[SupportedCipherSuite] = &[cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];

/// How many packets of this node's sessions are acknowledged together: each acknowledgement is a message of the browser's to send, to
/// take and to wake for.
pub(crate) const PACKETS_PER_ACK: u32 = 10;

/// Tasks and timers for QUIC.
#[derive(Debug)]
pub(crate) struct QuicRuntime;

impl quinn::Runtime for QuicRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        Box::pin(sleep_until(at))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        spawn(future);
    }
}

impl quinn::AsyncTimer for Sleep {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        Sleep::reset(self.get_mut(), at);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx)
    }
}

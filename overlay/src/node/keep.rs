//! When what a node keeps alive in the ring is written again: before it ends, until the node does not want it any more.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::net::platform;

/// How soon what could not be written again is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// How often in the life of a record it is written again.
const TIMES: u32 = 3;

/// The times at which something is written again.
pub(super) struct Schedule {
    ttl: Duration,
    wait: Duration,
    dropped: oneshot::Receiver<()>,
    closing: watch::Receiver<bool>,
}

impl Schedule {
    /// For something that lives for `ttl`, and was just written: until its handle is dropped, or the node closes.
    pub(super) fn new(ttl: Duration, dropped: oneshot::Receiver<()>, closing: watch::Receiver<bool>) -> Self {
        Schedule { ttl, wait: ttl / TIMES, dropped, closing }
    }

    /// Waits until it is to be written again. Gives whether it is still wanted.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = &mut self.dropped => false,
            _ = self.closing.wait_for(|&closing| closing) => false,
            () = platform::sleep(self.wait) => true,
        }
    }

    /// It was written, or could not be.
    pub(super) fn wrote(&mut self, well: bool) {
        let whole = self.ttl / TIMES;
        self.wait = if well { whole } else { AGAIN.min(whole) };
    }
}

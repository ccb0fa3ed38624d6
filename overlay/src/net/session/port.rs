//! The driver's end of a node's sessions.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::carrier::Inbox;
use super::error::Unreachable;
use super::sessions::Inner;
use crate::id::Id;

/// What the driver calls when something happens on the ring. Cheap to clone; never waits. It does not keep the
/// [`super::Sessions`] alive: when those are gone, it does nothing.
#[derive(Clone)]
pub struct Port {
    inbox: Arc<Inbox>,
    inner: Weak<Inner>,
}

impl Port {
    pub(super) fn new(inbox: Arc<Inbox>, inner: Weak<Inner>) -> Self {
        Port { inbox, inner }
    }

    /// A session packet came from `from`. `false` if it was dropped and counted: the queue is full
    /// ([`super::INCOMING_PACKETS`], [`super::INCOMING_BYTES`]), or it is empty or longer than [`super::MAX_PACKET`].
    pub fn deliver(&self, from: Id, packet: Bytes) -> bool {
        self.inbox.deliver(from, packet)
    }

    /// There is room again where [`super::Carrier::try_send`] answered `false`. To be called after every packet that leaves the
    /// carrier's queue, or when the queue has drained to a mark below its bound: it costs next to nothing while nobody waits.
    pub fn writable(&self) {
        self.inbox.writable();
    }

    /// The ring cannot bring packets to `peer`: whoever is dialling it now learns at once. A session that stands is left
    /// alone, for the ring may be mistaken while it repairs itself; it ends by itself if the peer stays silent.
    pub fn fail(&self, peer: Id, why: Unreachable) {
        if let Some(inner) = self.inner.upgrade() {
            inner.fail(peer, why);
        }
    }

    /// Packets that [`Port::deliver`] has dropped.
    pub fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

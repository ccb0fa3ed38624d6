//! Session packets on their way out: along a known route at once, to the driver when there is none.
//!
//! The driver routes the first packet to a peer and leaves the answer here: the link to take and the header to put in front.
//! From then on QUIC's task sends by itself, without waking the driver, which only looks at the route again four times a
//! second and empties the table when anything changes. A packet that finds its link full is refused, and QUIC waits: that is
//! the backpressure of a session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::id::Id;
use crate::net::link::{Channel, LinkSender, SendError};
use crate::net::platform::Instant;
use crate::net::session::{Carrier, Packets};
use crate::small_map::SmallMap;

/// Packets of this node's sessions that wait for the driver to route them, at most. QUIC waits when it is full.
pub(super) const UNROUTED_PACKETS: usize = 256;

/// Peers with a known route, at most.
const MAX_ROUTES: usize = 1024;

/// How long a route is used before the driver is asked for the best one again.
const ROUTE_LIFETIME: Duration = Duration::from_millis(250);

/// What needs a route: a packet, or with none a route that has become old.
pub(super) struct Unrouted {
    pub(super) to: Id,
    pub(super) packet: Option<Bytes>,
}

/// The known routes, shared by the driver and QUIC's tasks.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<Mutex<SmallMap<Id, Route>>>);

#[derive(Clone)]
struct Route {
    sender: LinkSender,
    header: Bytes,
    until: Instant,
}

impl Routes {
    pub(super) fn learn(&self, peer: Id, sender: LinkSender, header: Bytes) {
        let mut routes = self.lock();
        if routes.len() < MAX_ROUTES || routes.contains_key(&peer) {
            routes.insert(peer, Route { sender, header, until: Instant::now() + ROUTE_LIFETIME });
        }
    }

    pub(super) fn forget(&self, peer: Id) {
        self.lock().remove(&peer);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The route to a peer, and whether it is time to ask for a better one: that is told once.
    fn get(&self, peer: Id) -> Option<(Route, bool)> {
        let now = Instant::now();
        let mut routes = self.lock();
        let route = routes.get_mut(&peer)?;
        let old = route.until < now;
        if old {
            route.until = now + ROUTE_LIFETIME;
        }
        Some((route.clone(), old))
    }

    fn lock(&self) -> MutexGuard<'_, SmallMap<Id, Route>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What QUIC sends by.
pub(super) struct RingCarrier {
    pub(super) routes: Routes,
    pub(super) unrouted: mpsc::Sender<Unrouted>,
}

impl Carrier for RingCarrier {
    fn try_send(&self, to: Id, packets: Packets<'_>) -> bool {
        if let Some((route, old)) = self.routes.get(to) {
            if old {
                // When the driver is busy, the route will do for another while.
                let _ = self.unrouted.try_send(Unrouted { to, packet: None });
            }
            return self.send_along(&route, packets);
        }
        match self.unrouted.try_reserve_many(packets.count()) {
            Ok(places) => {
                for (place, packet) in places.zip(packets.iter()) {
                    place.send(Unrouted { to, packet: Some(Bytes::copy_from_slice(packet)) });
                }
                true
            }
            Err(mpsc::error::TrySendError::Full(())) => false,
            Err(mpsc::error::TrySendError::Closed(())) => true,
        }
    }
}

impl RingCarrier {
    fn send_along(&self, route: &Route, packets: Packets<'_>) -> bool {
        let frames = packets.iter().map(|packet| {
            let mut frame = BytesMut::with_capacity(route.header.len() + packet.len());
            frame.put_slice(&route.header);
            frame.put_slice(packet);
            frame
        });
        route.sender.try_send_all(Channel::Data, frames) != Err(SendError::Full)
    }
}

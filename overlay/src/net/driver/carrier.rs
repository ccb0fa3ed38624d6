//! Session packets on their way out: along a known route at once, to the driver when there is none.
//!
//! The driver routes the first packet to a peer and leaves the answer here: the link to take and the header to put in front.
//! For a quarter of a second QUIC's task then sends by itself, without waking the driver. Anything that changes a route
//! empties the table. A packet that finds its link full is refused, and QUIC waits; that is the backpressure of a session.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::id::Id;
use crate::net::link::{Channel, LinkSender, SendError};
use crate::net::session::{Carrier, Packets};

/// Packets of this node's sessions that wait for the driver to route them, at most. QUIC waits when it is full.
pub(super) const UNROUTED_PACKETS: usize = 256;

/// Peers with a known route, at most.
const MAX_ROUTES: usize = 1024;

/// How long a route is used before the driver is asked again. Also how often a packet asks to be told if it cannot arrive.
const ROUTE_LIFETIME: Duration = Duration::from_millis(250);

/// A packet that needs a route.
pub(super) struct Unrouted {
    pub(super) to: Id,
    pub(super) packet: Bytes,
}

/// The known routes, shared by the driver and QUIC's tasks.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<Mutex<BTreeMap<Id, Route>>>);

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

    fn get(&self, peer: Id) -> Option<Route> {
        let mut routes = self.lock();
        let route = routes.get(&peer)?;
        if route.until < Instant::now() {
            routes.remove(&peer);
            return None;
        }
        Some(route.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Route>> {
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
        match self.routes.get(to) {
            Some(route) => self.send_along(&route, packets),
            None => {
                let waiting = packets.iter().map(|packet| Unrouted { to, packet: Bytes::copy_from_slice(packet) });
                match self.unrouted.try_reserve_many(packets.count()) {
                    Ok(places) => {
                        places.zip(waiting).for_each(|(place, packet)| place.send(packet));
                        true
                    }
                    Err(mpsc::error::TrySendError::Full(())) => false,
                    Err(mpsc::error::TrySendError::Closed(())) => true,
                }
            }
        }
    }
}

impl RingCarrier {
    /// Takes the whole batch once its first packet has found room: what then overflows is lost, as on any path.
    fn send_along(&self, route: &Route, packets: Packets<'_>) -> bool {
        for (index, packet) in packets.iter().enumerate() {
            let mut frame = BytesMut::with_capacity(route.header.len() + packet.len());
            frame.put_slice(&route.header);
            frame.put_slice(packet);
            match route.sender.try_send(Channel::Data, frame) {
                Ok(()) => {}
                Err(SendError::Full) if index == 0 => return false,
                Err(_) => return true,
            }
        }
        true
    }
}

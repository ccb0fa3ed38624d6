//! A way that is mended is used at once: the last packet to a silent peer is sent again, every quarter of a second.
//!
//! When a hop dies, nothing comes back for some seconds, until the ring has healed. QUIC then sends probes, each after twice the wait
//! of the one before (RFC 9002, section 6.2): after 4 s of silence the next comes after another 4 s, after 8 s after 8. That is
//! right where a full queue may be the cause; here it would double the time that every dead hop costs. So a packet that was
//! sent into the silence is sent once more, as it is, until something comes: the peer answers whichever copy reaches it, and QUIC
//! goes on. Four packets a second of [`MIN_PACKET`] bytes at most clog no way.
//!
//! A packet that is sent long after anything came is never a mere acknowledgement, so every one of them wants an answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::carrier::{Packets, RingSocket, lock};
use super::live::{Session, SessionStats};
use super::sessions::Inner;
use super::transport::MIN_PACKET;
use crate::id::Id;

/// How often the sessions are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// For so long, and for so many round trips, nothing has come over a session that is called silent.
const SILENT_AFTER: (Duration, u32) = (Duration::from_millis(500), 4);

/// The silent peers, and the last packet to each.
#[derive(Default)]
pub(super) struct Stalls {
    /// Whether there are any: most of the time there are none, and packets pass with a look at this.
    any: AtomicBool,
    peers: Mutex<BTreeMap<Id, Option<Bytes>>>,
}

impl Stalls {
    /// Packets are on their way to a peer.
    pub(super) fn sent(&self, to: Id, packets: Packets<'_>) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        if let Some(last) = lock(&self.peers).get_mut(&to)
            && let Some(packet) = packets.iter().filter(|packet| packet.len() <= usize::from(MIN_PACKET)).last()
        {
            *last = Some(Bytes::copy_from_slice(packet));
        }
    }

    /// These are the silent peers now. Gives the last packets to those that were silent before.
    fn set(&self, silent: &[Id]) -> Vec<(Id, Bytes)> {
        let mut peers = lock(&self.peers);
        peers.retain(|peer, _| silent.contains(peer));
        let again = peers.iter().filter_map(|(&peer, packet)| Some((peer, packet.clone()?))).collect();
        for &peer in silent {
            peers.entry(peer).or_default();
        }
        self.any.store(!silent.is_empty(), Ordering::Relaxed);
        again
    }
}

/// What was seen of a session when something last came over it, and how often nothing had come since.
struct Seen {
    session: Session,
    received: u64,
    sent: u64,
    looks: u32,
}

impl Seen {
    fn new(session: Session, stats: SessionStats) -> Self {
        Seen { session, received: stats.received_packets, sent: stats.sent_packets, looks: 0 }
    }

    /// Whether packets were sent, and nothing has come for too long.
    fn is_silent(&mut self, stats: SessionStats) -> bool {
        self.looks += 1;
        if self.looks == 1 {
            // Up to here there may have been acknowledgements, which nobody answers.
            self.sent = stats.sent_packets;
        }
        let (least, round_trips) = SILENT_AFTER;
        stats.sent_packets > self.sent && EVERY * self.looks >= least.max(stats.round_trip * round_trips)
    }
}

/// Looks after the sessions for as long as they are there.
pub(super) async fn watch(inner: Weak<Inner>, socket: Weak<RingSocket>) {
    let mut seen: BTreeMap<Id, Seen> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (Some(inner), Some(socket)) = (inner.upgrade(), socket.upgrade()) else { return };
        let mut before = std::mem::take(&mut seen);
        let mut silent = Vec::new();
        for session in inner.all() {
            let (peer, stats) = (session.peer(), session.stats());
            let unheard = |known: &Seen| known.session.is_same(&session) && known.received == stats.received_packets;
            let entry = match before.remove(&peer).filter(unheard) {
                None => Seen::new(session, stats),
                Some(mut known) => {
                    if known.is_silent(stats) {
                        silent.push(peer);
                    }
                    known
                }
            };
            seen.insert(peer, entry);
        }
        for (peer, packet) in socket.stalls().set(&silent) {
            socket.send_again(peer, &packet);
        }
    }
}

//! Busy sessions get a link of their own, and give it back when they are idle.
//!
//! A direct link needs no mechanism of its own: once the peer is a neighbour, the router sends to it in one hop, and the
//! session never notices.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::id::Id;
use crate::net::driver::Command;
use crate::net::session::Sessions;

/// How often the sessions are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A session that moves this many bytes between two looks, both ways together, is busy.
const BUSY: u64 = 64 * 1024;

/// A session that was not busy for so many looks is idle.
const IDLE_AFTER: u32 = 30;

/// What is known of a session.
#[derive(Default)]
struct Traffic {
    bytes: u64,
    /// Looks since it was busy; `None` while it has no direct link.
    idle: Option<u32>,
}

/// Runs until the node is gone.
pub(super) async fn keep(sessions: Sessions, commands: mpsc::WeakSender<Command>) {
    // The sessions must not live on because this task looks at them.
    let sessions = sessions.downgrade();
    let mut known: BTreeMap<Id, Traffic> = BTreeMap::new();
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let (Some(sessions), Some(commands)) = (sessions.upgrade(), commands.upgrade()) else { return };
        let mut seen = BTreeMap::new();
        for session in sessions.all() {
            let peer = session.peer();
            let stats = session.stats();
            let mut traffic = known.remove(&peer).unwrap_or_default();
            let moved = (stats.sent_bytes + stats.received_bytes).saturating_sub(traffic.bytes);
            traffic.bytes += moved;
            match traffic.idle {
                None if moved >= BUSY => {
                    traffic.idle = Some(0);
                    let _ = commands.try_send(Command::WantDirect(peer));
                }
                Some(_) if moved >= BUSY => traffic.idle = Some(0),
                Some(idle) if idle >= IDLE_AFTER => {
                    traffic.idle = None;
                    let _ = commands.try_send(Command::ReleaseDirect(peer));
                }
                Some(idle) => traffic.idle = Some(idle + 1),
                None => {}
            }
            seen.insert(peer, traffic);
        }
        for (peer, _) in known.into_iter().filter(|(_, traffic)| traffic.idle.is_some()) {
            let _ = commands.try_send(Command::ReleaseDirect(peer));
        }
        known = seen;
    }
}

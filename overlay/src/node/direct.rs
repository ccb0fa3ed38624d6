//! Busy sessions get a link of their own, and give it back when they are idle.
//!
//! A direct link needs no mechanism of its own: once the peer is a neighbour, the router sends to it in one hop, and the
//! session never notices.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::id::Id;
use crate::net::driver::Command;
use crate::net::platform;
use crate::net::session::Sessions;
use crate::small_map::SmallMap;

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

/// What is to be done about a session's direct link.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Want,
    Release,
}

impl Traffic {
    /// Looks at a session that has moved `bytes` in all.
    fn look(&mut self, bytes: u64) -> Option<Change> {
        let moved = bytes.saturating_sub(self.bytes);
        self.bytes = bytes;
        match self.idle {
            None if moved >= BUSY => {
                self.idle = Some(0);
                Some(Change::Want)
            }
            Some(_) if moved >= BUSY => {
                self.idle = Some(0);
                None
            }
            Some(idle) if idle + 1 >= IDLE_AFTER => {
                self.idle = None;
                Some(Change::Release)
            }
            Some(idle) => {
                self.idle = Some(idle + 1);
                None
            }
            None => None,
        }
    }
}

/// Runs until the node is gone.
pub(super) async fn keep(sessions: Sessions, commands: mpsc::WeakSender<Command>) {
    // The sessions must not live on because this task looks at them.
    let sessions = sessions.downgrade();
    let mut known: SmallMap<Id, Traffic> = SmallMap::new();
    loop {
        platform::sleep(EVERY).await;
        let (Some(sessions), Some(commands)) = (sessions.upgrade(), commands.upgrade()) else { return };
        let mut seen = SmallMap::new();
        for session in sessions.all() {
            let peer = session.peer();
            let stats = session.stats();
            let mut traffic = known.remove(&peer).unwrap_or_default();
            // When the driver is too busy for this, the session goes on as it did.
            let _ = match traffic.look(stats.sent_bytes + stats.received_bytes) {
                Some(Change::Want) => commands.try_send(Command::WantDirect(peer)),
                Some(Change::Release) => commands.try_send(Command::ReleaseDirect(peer)),
                None => Ok(()),
            };
            seen.insert(peer, traffic);
        }
        for (peer, _) in known.into_iter().filter(|(_, traffic)| traffic.idle.is_some()) {
            let _ = commands.try_send(Command::ReleaseDirect(peer));
        }
        known = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_session_gets_a_link_and_an_idle_one_gives_it_back() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.look(BUSY - 1), None, "little traffic");
        assert_eq!(traffic.look(BUSY - 1 + BUSY), Some(Change::Want));
        let mut total = 2 * BUSY;
        for second in 0..3 * IDLE_AFTER {
            total += if second % (IDLE_AFTER - 1) == 0 { BUSY } else { 1 };
            assert_eq!(traffic.look(total), None, "busy every now and then, after {second} s");
        }
        let quiet = (0..IDLE_AFTER).map(|_| traffic.look(total)).filter(Option::is_some).collect::<Vec<_>>();
        assert_eq!(quiet, [Some(Change::Release)]);
        assert_eq!(traffic.look(total), None, "given back once");
    }
}

//! The peers that no link opened to: whom to leave alone, for how long, and what is known of them.

use std::time::Duration;

use super::timer::Time;
use crate::id::Id;

/// Peers that could not be linked, remembered at most.
const MAX_FAILED: usize = 32;

/// The pause before a peer is dialled again doubles this often at most.
const MAX_DOUBLINGS: u32 = 5;

/// The same for one that refused: it lives, and may have a place soon.
const REFUSED_DOUBLINGS: u32 = 3;

/// After so long without another failure, a peer's earlier ones no longer count.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// What an attempt that came to nothing says of the peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Verdict {
    /// Nothing: it refused, or this node gave the attempt up.
    Unknown,
    /// No link opened. The peer may be dead, or a hop on the way that is not missed yet.
    Lost,
    /// It is gone: its link died, it said farewell, or it was lost and the member behind it does not know it either.
    Gone,
}

/// Peers to leave alone for a while, because no link to them opened; for longer each time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Failed {
    list: Vec<Failure>,
    /// Nothing expires before.
    next: Time,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    peer: Id,
    until: Time,
    paused: bool,
    verdict: Verdict,
    times: u32,
}

impl Failure {
    fn forgotten_at(&self) -> Time {
        self.until.after(FORGET_AFTER)
    }
}

impl Failed {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn has(&self, peer: Id) -> bool {
        self.list.iter().any(|failure| failure.peer == peer && failure.paused)
    }

    pub(super) fn is_gone(&self, peer: Id) -> bool {
        self.list.iter().any(|failure| failure.peer == peer && failure.paused && failure.verdict == Verdict::Gone)
    }

    /// Whether the last attempt came to nothing, and nobody has said why.
    pub(super) fn is_lost(&self, peer: Id) -> bool {
        self.list.iter().any(|failure| failure.peer == peer && failure.verdict == Verdict::Lost)
    }

    /// Leaves the peer alone for `pause`, and twice as long for each failure before.
    pub(super) fn insert(&mut self, peer: Id, verdict: Verdict, pause: Duration, now: Time) {
        let earlier = self.list.iter().position(|failure| failure.peer == peer).map(|at| self.list.remove(at));
        let times = earlier.map_or(0, |failure| failure.times + 1);
        if self.list.len() == MAX_FAILED {
            self.list.remove(0);
        }
        let doublings = if verdict == Verdict::Unknown { REFUSED_DOUBLINGS } else { MAX_DOUBLINGS };
        let until = now.after(pause * (1 << times.min(doublings)));
        self.next = if self.list.is_empty() { until } else { until.min(self.next) };
        self.list.push(Failure { peer, until, paused: true, verdict, times });
    }

    /// A peer that was lost is gone, and left alone for `pause`: by then no list should hand it on any more.
    pub(super) fn confirm_gone(&mut self, peer: Id, pause: Duration, now: Time) {
        for failure in self.list.iter_mut().filter(|failure| failure.peer == peer) {
            (failure.verdict, failure.paused, failure.until) = (Verdict::Gone, true, now.after(pause));
        }
        self.next = self.next.min(now.after(pause));
    }

    /// Ends the pauses that are over, and says whether there were any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        if self.list.is_empty() || now < self.next {
            return false;
        }
        let mut ended = false;
        for failure in self.list.iter_mut().filter(|failure| failure.paused && failure.until <= now) {
            failure.paused = false;
            ended = true;
        }
        self.list.retain(|failure| failure.forgotten_at() > now);
        self.list.shrink_to_fit();
        let next = |failure: &Failure| if failure.paused { failure.until } else { failure.forgotten_at() };
        self.next = self.list.iter().map(next).min().unwrap_or_default();
        ended
    }

    /// Whether it could not be linked the last time.
    pub(super) fn failed_before(&self, peer: Id) -> bool {
        self.list.iter().any(|failure| failure.peer == peer)
    }

    /// Failures in a row.
    pub(super) fn times(&self, peer: Id) -> u32 {
        self.list.iter().find(|failure| failure.peer == peer).map_or(0, |failure| failure.times + 1)
    }

    /// The peers that could not be linked: whether they are left alone now, and what is known of them.
    #[cfg(feature = "model")]
    pub(super) fn hash_untimed(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        let mut failures: Vec<_> = self.list.iter().map(|f| (f.peer, f.paused, f.verdict)).collect();
        failures.sort_unstable();
        failures.hash(hasher);
    }

    /// The peers that are left alone now.
    #[cfg(feature = "model")]
    pub(super) fn paused(&self) -> impl Iterator<Item = Id> {
        self.list.iter().filter(|failure| failure.paused).map(|failure| failure.peer)
    }

    #[cfg(feature = "model")]
    pub(super) fn make_due(&mut self, peer: Id, now: Time) {
        self.list.iter_mut().filter(|failure| failure.peer == peer).for_each(|failure| failure.until = now);
        self.next = now;
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.list.capacity() * size_of::<Failure>()
    }

    pub(super) fn forgive(&mut self, peer: Id) {
        self.list.retain(|failure| failure.peer != peer);
    }
}

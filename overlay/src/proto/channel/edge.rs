//! A neighbour in the tree of a channel: its place in the log, and how much it may still be sent.
//!
//! The receiver says how many bytes have come and how many may come in all, so each end knows what is on the way without asking the
//! link. A node that has much to pass on itself holds back what it allows: so a whole tree slows its publishers down. A neighbour that
//! takes nothing for [`SLOW_AFTER`] holds nobody back any more; what falls out of the log meanwhile it misses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::LinkId;
use super::super::timer::Time;
use super::log::{Entry, Log};
use super::ranges::Ranges;
use crate::id::Id;
use crate::wire::Head;

/// Bytes that may be on the way between two neighbours in the tree of one channel.
pub(super) const EDGE_WINDOW: u64 = 64 << 10;

/// A neighbour is told what has come when it is this much more than it knows.
pub(super) const TELL_EVERY: u64 = EDGE_WINDOW / 16;

/// A neighbour that takes nothing for so long holds up nobody else.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// The same for one that has not taken [`EDGE_WINDOW`] yet: it may be one that never takes anything.
const NEW_SLOW_AFTER: Duration = Duration::from_millis(250);

/// Of a neighbour that has taken nothing for so long nobody waits to hear that it did.
pub(super) const GATHER_FOR: Duration = Duration::from_millis(50);

/// A neighbour that takes nothing for so long is given up. It may join anew.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// A neighbour that has not said what it has is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Edge {
    pub(super) link: LinkId,
    pub(super) peer: Id,
    /// The neighbour is the parent; otherwise a child.
    pub(super) is_parent: bool,
    /// The number that the child drew for it.
    pub(super) attempt: u32,
    pub(super) since: Time,
    /// It was told what this node has: as a child, that it is one.
    pub(super) greeted: bool,
    /// It has said what it has: from then on it is sent what it lacks.
    pub(super) ready: bool,
    /// The neighbour holds up nobody.
    pub(super) slow: bool,
    /// Since when it cannot be sent what it should.
    pub(super) stuck_since: Option<Time>,
    /// What it says that it has, until all that was in the log then has been looked at.
    has: Vec<((Id, u64), Ranges)>,
    has_until: u64,
    hearing: Vec<Head>,
    /// What it has sent of streams that are known here.
    brought: BTreeMap<(Id, u64), Ranges>,
    cursor: u64,
    missed: bool,
    sent: u64,
    taken: u64,
    /// Since when it is to take something, or when it did last.
    took: Time,
    limit: u64,
    came: u64,
    told: u64,
    granted: u64,
}

impl Edge {
    pub(super) fn new(link: LinkId, peer: Id, is_parent: bool, attempt: u32, now: Time) -> Self {
        Edge {
            link,
            peer,
            is_parent,
            attempt,
            since: now,
            greeted: false,
            ready: false,
            slow: false,
            stuck_since: None,
            has: Vec::new(),
            has_until: 0,
            hearing: Vec::new(),
            brought: BTreeMap::new(),
            cursor: 0,
            missed: false,
            sent: 0,
            taken: 0,
            took: now,
            limit: EDGE_WINDOW,
            came: 0,
            told: 0,
            granted: EDGE_WINDOW,
        }
    }

    /// The neighbour says what it has, in one frame or several, no more streams than `most`; gives all of it when that was the last.
    pub(super) fn hear(&mut self, heads: Vec<Head>, more: bool, most: usize) -> Option<Vec<Head>> {
        let room = most.saturating_sub(self.hearing.len());
        self.hearing.extend(heads.into_iter().take(room));
        (!more).then(|| std::mem::take(&mut self.hearing))
    }

    /// From now on it is sent what it lacks.
    pub(super) fn begin(&mut self, heads: &[Head], log: &Log) {
        self.has = heads.iter().map(|head| ((head.publisher, head.stream), Ranges::of(&head.ranges))).collect();
        self.has.sort_unstable_by_key(|(stream, _)| *stream);
        self.has_until = log.end();
        self.cursor = log.first();
        self.ready = true;
    }

    /// The next entry for it, if there is one.
    pub(super) fn next<'a>(&mut self, log: &'a Log) -> Option<&'a Entry> {
        self.missed |= self.cursor < log.first();
        self.cursor = self.cursor.max(log.first());
        while let Some(entry) = log.get(self.cursor) {
            if entry.from != Some(self.link) && !self.has(entry) {
                return Some(entry);
            }
            self.cursor += 1;
        }
        self.has = Vec::new();
        None
    }

    /// Whether it has missed something since this was asked last: the log does not hold it any more.
    pub(super) fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    fn has(&self, entry: &Entry) -> bool {
        let label = entry.envelope.label();
        let stream = (entry.envelope.publisher(), label.stream);
        self.cursor < self.has_until
            && self
                .has
                .binary_search_by_key(&stream, |(stream, _)| *stream)
                .is_ok_and(|at| self.has[at].1.meets(label.first, entry.envelope.end()))
    }

    /// Whether so many bytes may go now.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        self.sent + bytes as u64 <= self.limit
    }

    pub(super) fn sent(&mut self, bytes: usize, now: Time) {
        if self.on_the_way() == 0 {
            self.took = now;
        }
        self.sent += bytes as u64;
        self.cursor += 1;
        self.stuck_since = None;
    }

    /// Bytes that were sent and that the neighbour has not said to have come.
    pub(super) fn on_the_way(&self) -> u64 {
        self.sent - self.taken
    }

    /// The same, where it is worth waiting for the neighbour to say so.
    pub(super) fn untaken(&self, now: Time) -> u64 {
        if self.slow || now.since(self.took) >= GATHER_FOR { 0 } else { self.on_the_way() }
    }

    /// How long it may hold up others while it takes nothing.
    pub(super) fn patience(&self) -> Duration {
        if self.taken < EDGE_WINDOW { NEW_SLOW_AFTER } else { SLOW_AFTER }
    }

    /// The neighbour says what has come, and what may. It can neither take back what it allowed nor claim what was not sent, nor allow
    /// more than a window. Whether it took anything.
    pub(super) fn credit(&mut self, received: u64, limit: u64, now: Time) -> bool {
        let taken = received.min(self.sent);
        if taken > self.taken {
            self.took = now;
        }
        let took = taken > self.taken || limit > self.limit;
        self.taken = self.taken.max(taken);
        self.limit = self.limit.max(limit.min(self.taken.saturating_add(EDGE_WINDOW)));
        took
    }

    /// So many bytes have come from it. Whether they were allowed.
    pub(super) fn came(&mut self, bytes: usize) -> bool {
        self.came += bytes as u64;
        self.came <= self.granted
    }

    /// It has sent these messages of a stream. Whether it had done so before: nobody sends anything twice over an edge, but for what is on
    /// its way while this node tells it anew what it has.
    pub(super) fn brings_again(&mut self, stream: (Id, u64), from: u64, to: u64) -> bool {
        if !self.brought.contains_key(&stream) {
            if self.brought.len() >= super::MAX_STREAMS {
                // Streams come and go. What went before is forgotten.
                self.brought = BTreeMap::new();
            }
            self.brought.insert(stream, Ranges::default());
        }
        let Some(ranges) = self.brought.get_mut(&stream) else { return false };
        let again = ranges.meets(from, to);
        ranges.insert(from, to);
        again
    }

    /// The neighbour joins anew over the same link: what it brought is not forgotten by that.
    pub(super) fn goes_on_from(mut self, before: Option<Edge>) -> Self {
        self.brought = before.map_or_else(BTreeMap::new, |before| before.brought);
        self
    }

    /// What to tell it now, if anything: what has come, and what may come in all; no more than before while this node is `blocked`.
    pub(super) fn grant(&mut self, blocked: bool) -> Option<(u64, u64)> {
        let limit = if blocked { self.granted } else { self.came + EDGE_WINDOW };
        if self.came - self.told < TELL_EVERY && limit - self.granted < TELL_EVERY {
            return None;
        }
        (self.told, self.granted) = (self.came, limit);
        Some((self.came, limit))
    }

    /// Bytes in the log that it has not been sent.
    pub(super) fn backlog(&self, log: &Log) -> usize {
        if self.ready { log.bytes_from(self.cursor) } else { 0 }
    }

    pub(super) fn memory(&self) -> usize {
        (self.has.capacity() + self.brought.len()) * size_of::<((Id, u64), Ranges)>()
    }
}

//! Neighbours that break the rules of channels: counted, and dropped when they insist.

use std::time::Duration;

use super::super::timer::Time;
use super::super::{LinkId, Proto};
use crate::id::Id;

/// Misdeeds of a neighbour within [`REMEMBERED`] that it is dropped for.
const MAX_STRIKES: u32 = 8;

/// Joins of a neighbour within [`JOINS_WITHIN`] at most: it may have to move all its channels at once.
const MAX_JOINS: u32 = 2 * super::MAX_CHANNELS as u32;

const JOINS_WITHIN: Duration = Duration::from_secs(10);

/// What one join of a channel that the node takes no part in yet costs a neighbour: 16 a second. Each makes work for all nodes on
/// the way to the root.
const OPENING_COSTS: Duration = Duration::from_micros(62_500);

/// Such joins that a neighbour may do at once when its link has just opened: strangers come by one link after another.
const FIRST_OPENINGS: u32 = 16;

/// Such joins that it may do at once when its link has been quiet for long enough: all its channels.
const MOST_OPENINGS: u32 = super::MAX_CHANNELS as u32;

/// Refusals that a neighbour is told within [`JOINS_WITHIN`] at most: to answer costs more than to refuse. One that hears nothing asks
/// another, a second later.
const MAX_REFUSALS: u32 = 128;

/// Bytes that a neighbour may send again within [`JOINS_WITHIN`]: as much as four times what may be on its way when this node tells it anew
/// what it has. [`AROUND`](super::log::AROUND) counts for each envelope.
const MAX_REPEATED: usize = 4 * super::edge::EDGE_WINDOW as usize;

/// How long misdeeds are remembered, and a neighbour that was dropped for them takes no part in channels here.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Neighbours that are watched at most; the oldest is forgotten.
const MAX_WATCHED: usize = 128;

/// What a neighbour did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misdeed {
    /// It passed on what it should have refused.
    Forged,
    /// It asked for too much at once, or sent the same again and again.
    Flood,
    /// It sent more than it was allowed.
    Overrun,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Watch(Vec<Watched>);

#[derive(Clone, PartialEq, Debug)]
struct Watched {
    peer: Id,
    strikes: u32,
    struck: Time,
    joins: u32,
    refusals: u32,
    /// Bytes that it sent again.
    repeated: usize,
    /// Since when these are counted.
    counted_since: Time,
    /// Until when it has used up what it may open.
    opened_until: Time,
}

impl Watch {
    fn of(&mut self, peer: Id, now: Time) -> &mut Watched {
        let at = self.0.iter().position(|watched| watched.peer == peer).unwrap_or_else(|| {
            if self.0.len() == MAX_WATCHED {
                self.0.remove(0);
            }
            self.0.push(Watched {
                peer,
                strikes: 0,
                struck: now,
                joins: 0,
                refusals: 0,
                repeated: 0,
                counted_since: now,
                opened_until: Time(0),
            });
            self.0.len() - 1
        });
        let watched = &mut self.0[at];
        if now.since(watched.struck) >= REMEMBERED {
            watched.strikes = 0;
        }
        if now.since(watched.counted_since) >= JOINS_WITHIN {
            (watched.joins, watched.refusals, watched.repeated, watched.counted_since) = (0, 0, 0, now);
        }
        watched
    }
}

impl Proto {
    /// Whether a neighbour was dropped for what it did with channels, not long ago.
    pub(super) fn is_barred(&self, peer: Id, now: Time) -> bool {
        let watched = self.channels.as_ref().and_then(|channels| channels.watch.0.iter().find(|one| one.peer == peer));
        watched.is_some_and(|one| one.strikes >= MAX_STRIKES && now.since(one.struck) < REMEMBERED)
    }

    /// Counts a join, and says whether the neighbour may ask so often.
    pub(super) fn counts_as_calm(&mut self, peer: Id, now: Time) -> bool {
        let watched = self.channels.get_or_insert_default().watch.of(peer, now);
        watched.joins = watched.joins.saturating_add(1);
        watched.joins <= MAX_JOINS
    }

    /// Counts a join of a channel that the node takes no part in yet, and says whether the neighbour may do that now.
    pub(super) fn may_open(&mut self, link: LinkId, peer: Id, now: Time) -> bool {
        let Some(open_since) = self.links.get(link).map(|link| link.since) else { return false };
        let watched = self.channels.get_or_insert_default().watch.of(peer, now);
        // Virtual scheduling, as in a generic cell rate algorithm (ITU-T I.371).
        let saved = OPENING_COSTS * (MOST_OPENINGS - FIRST_OPENINGS);
        let earliest = Time(now.0.saturating_sub(saved.as_micros() as u64)).max(open_since);
        let until = watched.opened_until.max(earliest).after(OPENING_COSTS);
        let may = until <= now.after(OPENING_COSTS * FIRST_OPENINGS);
        if may {
            watched.opened_until = until;
        }
        may
    }

    /// Counts a refusal, and says whether the neighbour is to be told.
    pub(super) fn tells_refusal(&mut self, peer: Id, now: Time) -> bool {
        let watched = self.channels.get_or_insert_default().watch.of(peer, now);
        watched.refusals = watched.refusals.saturating_add(1);
        watched.refusals <= MAX_REFUSALS
    }

    /// Counts what a neighbour sent again, and says whether that can be a mistake.
    pub(super) fn may_repeat(&mut self, peer: Id, bytes: usize, now: Time) -> bool {
        let watched = self.channels.get_or_insert_default().watch.of(peer, now);
        watched.repeated = watched.repeated.saturating_add(bytes + super::log::AROUND);
        watched.repeated <= MAX_REPEATED
    }

    /// Notes what a neighbour did; at [`MAX_STRIKES`] it loses its link.
    pub(super) fn note_misdeed(&mut self, link: LinkId, peer: Id, misdeed: Misdeed, now: Time) {
        let Some(channels) = self.channels.as_mut() else { return };
        let watched = channels.watch.of(peer, now);
        (watched.strikes, watched.struck) = (watched.strikes.saturating_add(1), now);
        tracing::debug!(%peer, ?misdeed, strikes = watched.strikes, "a neighbour breaks the rules of channels");
        if watched.strikes == MAX_STRIKES {
            channels.stats.dropped += 1;
            self.close_dead(link, now);
        }
    }
}

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

/// How long misdeeds are remembered, and a neighbour that was dropped for them takes no part in channels here.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Neighbours that are watched at most; the oldest is forgotten.
const MAX_WATCHED: usize = 128;

/// What a neighbour did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Misdeed {
    /// It passed on what it should have refused.
    Forged,
    /// It asked for too much at once.
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
    joins_since: Time,
}

impl Watch {
    fn of(&mut self, peer: Id, now: Time) -> &mut Watched {
        let at = self.0.iter().position(|watched| watched.peer == peer).unwrap_or_else(|| {
            if self.0.len() == MAX_WATCHED {
                self.0.remove(0);
            }
            self.0.push(Watched { peer, strikes: 0, struck: now, joins: 0, joins_since: now });
            self.0.len() - 1
        });
        let watched = &mut self.0[at];
        if now.since(watched.struck) >= REMEMBERED {
            watched.strikes = 0;
        }
        if now.since(watched.joins_since) >= JOINS_WITHIN {
            (watched.joins, watched.joins_since) = (0, now);
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

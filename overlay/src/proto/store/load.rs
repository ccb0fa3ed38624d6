//! What others may make this node do for the store: signatures checked and bytes sent for frames that came over one link.
//!
//! Anybody can write any source into a frame, so what a frame costs is charged to the neighbour that it came from. That one is dropped only for
//! frames that are its own: those that it merely passes on it cannot read.

use std::time::Duration;

use crate::id::Id;
use crate::proto::{LinkId, Proto, Time};

/// Signatures checked a second for frames from one link, on average, and at once.
const CHECKS: Rate = Rate { a_second: 256, at_once: 2048 };

/// Bytes sent a second in answer to frames that came over one link from a node behind it, on average, and at once: such a frame
/// may name a source that never asked. Neighbours are answered over their own link, and as they like.
const ANSWERS: Rate = Rate { a_second: 8 << 20, at_once: 64 << 20 };

/// Misdeeds of a neighbour within [`REMEMBERED`] that it is dropped for: records of its own that do not prove themselves; and each hundredth
/// of those that were too many.
const MAX_STRIKES: u32 = 8;
const FLOOD: u32 = 100;

/// How long misdeeds are remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Links that are watched at most; the one that was quiet for longest is forgotten.
const MAX_WATCHED: usize = 128;

struct Rate {
    a_second: u64,
    at_once: u64,
}

/// What is left of a rate.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Budget {
    left: u64,
    at: Time,
}

impl Budget {
    fn new(rate: &Rate, now: Time) -> Self {
        Budget { left: rate.at_once, at: now }
    }

    fn fill(&mut self, rate: &Rate, now: Time) {
        let gained = now.since(self.at).as_micros() as u64 * rate.a_second / 1_000_000;
        if gained > 0 {
            (self.left, self.at) = ((self.left + gained).min(rate.at_once), now);
        }
    }

    /// Takes so much, if anything is left: a large answer is not refused for ever.
    fn take(&mut self, rate: &Rate, amount: u64, now: Time) -> bool {
        self.fill(rate, now);
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(if enough { amount } else { 0 });
        enough
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Watched {
    link: LinkId,
    checks: Budget,
    answers: Budget,
    refused: u32,
    strikes: u32,
    struck: Time,
    seen: Time,
}

#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Load(Vec<Watched>);

impl Load {
    fn of(&mut self, link: LinkId, now: Time) -> &mut Watched {
        let at = self.0.iter().position(|watched| watched.link == link).unwrap_or_else(|| {
            if self.0.len() == MAX_WATCHED
                && let Some(quiet) = (0..MAX_WATCHED).min_by_key(|&at| self.0[at].seen)
            {
                self.0.swap_remove(quiet);
            }
            let (checks, answers) = (Budget::new(&CHECKS, now), Budget::new(&ANSWERS, now));
            self.0.push(Watched { link, checks, answers, refused: 0, strikes: 0, struck: now, seen: now });
            self.0.len() - 1
        });
        let watched = &mut self.0[at];
        watched.seen = now;
        if now.since(watched.struck) >= REMEMBERED {
            watched.strikes = 0;
        }
        watched
    }

    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Watched>()
    }
}

/// Where a frame came from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Origin {
    /// The node that it claims to be from.
    pub(super) src: Id,
    /// The member to answer it through.
    pub(super) via: Option<Id>,
    /// The link that it came over; none for one of this node's own.
    pub(super) link: Option<LinkId>,
}

impl Proto {
    /// The link that a frame came over, if the neighbour at its other end made the frame.
    fn first_hand(&self, origin: Origin) -> Option<LinkId> {
        origin.link.filter(|&link| self.links.seat_of(link).is_some_and(|seat| seat.peer == origin.src))
    }

    /// Whether one more signature may be checked for a frame from there. The neighbour that insists is dropped.
    pub(super) fn may_check(&mut self, origin: Origin, now: Time) -> bool {
        let (Some(link), first_hand) = (origin.link, self.first_hand(origin).is_some()) else { return true };
        let Some(store) = self.store.as_mut() else { return true };
        let watched = store.load.of(link, now);
        if watched.checks.take(&CHECKS, 1, now) {
            return true;
        }
        watched.refused += 1;
        let insists = first_hand && watched.refused.is_multiple_of(FLOOD);
        store.stats.unchecked += 1;
        if insists {
            self.strike(link, now);
        }
        false
    }

    /// Whether a frame from there may be answered by so many bytes.
    pub(super) fn may_answer(&mut self, origin: Origin, bytes: usize, now: Time) -> bool {
        let (Some(link), None) = (origin.link, self.first_hand(origin)) else { return true };
        let Some(store) = self.store.as_mut() else { return true };
        let may = store.load.of(link, now).answers.take(&ANSWERS, bytes as u64, now);
        store.stats.unanswered += u64::from(!may);
        may
    }

    /// Notes that a record from there does not prove itself.
    pub(super) fn note_forged(&mut self, origin: Origin, now: Time) {
        if let Some(store) = self.store.as_mut() {
            store.stats.forged += 1;
        }
        if let Some(link) = self.first_hand(origin) {
            self.strike(link, now);
        }
    }

    fn strike(&mut self, link: LinkId, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let watched = store.load.of(link, now);
        (watched.strikes, watched.struck) = (watched.strikes + 1, now);
        if watched.strikes == MAX_STRIKES {
            store.stats.dropped += 1;
            self.close_dead(link, now);
        }
    }

    /// Whether a node may be among those that keep the same arcs as this one: it stands no further off than these could.
    /// 48 bits do not keep an attacker from standing there; but it has to.
    pub(super) fn is_plausible(&self, src: Id) -> bool {
        /// The arcs of so many neighbours are as many times as long as on average less than once in a billion.
        const SLACK: f64 = 8.0;
        let size = self.estimated_size();
        if size <= self.ring.successors.len() as f64 + 1.0 {
            return true;
        }
        let reach = (Id::MAX.number() as f64 / size * self.config.replicas as f64 * SLACK) as u64;
        self.me.clockwise_to(src).min(src.clockwise_to(self.me)) <= reach
    }
}

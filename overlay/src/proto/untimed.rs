//! The protocol without a clock, for a model checker: any deadline that is set may come at any moment.
//!
//! The caller passes one and the same `now` to every call, so that no deadline ever comes by itself, and picks what is due with
//! [`Proto::deadlines`] and [`Proto::meet`]. That allows every order of time-outs that a real clock allows, and more. Two nodes in
//! the same situation are to count as one state: [`Proto::hash_untimed`] leaves out times, counters and the generator, names
//! links by their place in the table, and numbers that were drawn at random by the order in which they are met ([`Names`]).
//!
//! Chance is left in one place only: nothing here hides a choice as long as the node has no fingers (`Config::fingers` is 0), its
//! budget of links is never full, and [`Input::Members`](super::Input::Members) names one member at a time.

use std::hash::{Hash, Hasher};

use super::links::{Links, State};
use super::timer::{Time, Timer};
use super::{LinkId, Proto};
use crate::id::Id;
use crate::wire::{Dial, Found, Frame, Message, Trace};

/// A deadline that a node has set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Deadline {
    /// The joining node is not yet a member: try again.
    Join,
    /// Compare views of the ring with the successor.
    Stabilize,
    /// Tell the neighbours who the neighbours are.
    Gossip,
    /// Check by a lookup that this is the place on the one ring.
    Check,
    /// The link to this peer did not open in time.
    Dial(Id),
    /// No answer to this lookup came in time, counted from the oldest.
    Lookup(usize),
    /// A peer that could not be linked need not be left alone any longer.
    Pause(Id),
}

/// A link that is being set up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Dialling {
    /// The link.
    pub link: LinkId,
    /// The node at the other end.
    pub peer: Id,
    /// The number that both ends give it.
    pub attempt: u32,
    /// Both ends have agreed, as far as this one knows.
    pub agreed: bool,
}

/// Numbers drawn at random, named by the order in which a walk over the state meets them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names(Vec<u32>);

impl Names {
    /// The name of this number.
    pub fn of(&mut self, number: u32) -> usize {
        self.0.iter().position(|&known| known == number).unwrap_or_else(|| {
            self.0.push(number);
            self.0.len() - 1
        })
    }
}

impl Proto {
    /// What may come due: fingers and heartbeats are left out, the model has links that notice.
    pub fn deadlines(&self) -> Vec<Deadline> {
        let timers = [
            (Timer::Join, Deadline::Join),
            (Timer::Stabilize, Deadline::Stabilize),
            (Timer::Gossip, Deadline::Gossip),
            (Timer::Check, Deadline::Check),
        ];
        let set = timers.into_iter().filter(|&(timer, _)| self.timers.is_set(timer)).map(|(_, deadline)| deadline);
        let dials = self.links.iter().filter(|link| !link.is_open()).map(|link| Deadline::Dial(link.peer));
        let lookups = (0..self.lookups.requests().count()).map(Deadline::Lookup);
        let pauses = self.failed.paused().map(Deadline::Pause);
        set.chain(dials).chain(lookups).chain(pauses).collect()
    }

    /// The deadline has come.
    pub fn meet(&mut self, deadline: Deadline, now: Time) {
        match deadline {
            Deadline::Join => {
                self.timers.stop(Timer::Join);
                self.on_join_timer(now);
            }
            Deadline::Stabilize => {
                self.timers.stop(Timer::Stabilize);
                self.on_stabilize_timer(now);
            }
            Deadline::Gossip => {
                self.timers.stop(Timer::Gossip);
                self.on_gossip_timer();
            }
            Deadline::Check => {
                self.timers.stop(Timer::Check);
                self.on_check_timer(now);
            }
            Deadline::Dial(peer) => {
                if let Some(link) = self.links.to(peer).filter(|link| !link.is_open()).map(|link| link.id) {
                    self.links.update(link, |link| link.deadline = now);
                    self.timers.stop(Timer::Dial);
                    self.on_dial_timer(now);
                }
            }
            Deadline::Lookup(index) => {
                self.lookups.make_due(index, now);
                self.timers.stop(Timer::Lookup);
                self.on_lookup_timer(now);
            }
            Deadline::Pause(peer) => self.failed.make_due(peer, now),
        }
        self.settle(now);
    }

    /// The links that are being set up.
    pub fn dialling(&self) -> impl Iterator<Item = Dialling> {
        self.links.iter().filter(|link| !link.is_open()).map(|link| Dialling {
            link: link.id,
            peer: link.peer,
            attempt: link.attempt,
            agreed: link.state == State::Connecting,
        })
    }

    /// The requests under way, from the oldest.
    pub fn requests(&self) -> impl Iterator<Item = u32> {
        self.lookups.requests()
    }

    /// The place of a link in the table, the same for the same situation.
    pub fn place_of(&self, link: LinkId) -> Option<usize> {
        self.links.place_of(link)
    }

    /// Chance from now on is this. A model checker tries several where a node chooses.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = rand::SeedableRng::seed_from_u64(seed);
    }

    /// Feeds a hasher with all that decides what this node will do, as long as nobody looks at a clock.
    pub fn hash_untimed(&self, names: &mut Names, hasher: &mut impl Hasher) {
        self.phase.hash(hasher);
        (self.joining.placed, self.joining.introduced).hash(hasher);
        self.ring.hash_untimed(hasher);
        self.links.hash_untimed(names, hasher);
        self.lookups.hash_untimed(&self.links, names, hasher);
        self.failed.hash_untimed(hasher);
        // The others are set whenever what they watch over is there.
        [Timer::Join, Timer::Stabilize, Timer::Gossip, Timer::Check]
            .map(|timer| self.timers.is_set(timer))
            .hash(hasher);
    }
}

impl Links {
    fn hash_untimed(&self, names: &mut Names, hasher: &mut impl Hasher) {
        let used = self.places().iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        used.hash(hasher);
        for link in &self.places()[..used] {
            let Some(link) = link else {
                0_u8.hash(hasher);
                continue;
            };
            (1_u8, link.peer, link.role, link.purpose, link.dialled, link.state, link.member).hash(hasher);
            link.suspect.hash(hasher);
            // Once it is open, nobody asks how it came about.
            if !link.is_open() {
                (names.of(link.attempt), link.route).hash(hasher);
            }
        }
        self.hash_reach(hasher);
    }

    /// Links that are gone are all alike.
    pub(super) fn name_of(&self, link: LinkId) -> usize {
        self.place_of(link).unwrap_or(usize::MAX)
    }
}

/// Feeds a hasher with a frame on its way.
pub fn hash_frame(frame: &Frame, names: &mut Names, hasher: &mut impl Hasher) {
    // How far it has come is a figure for the application; what is left of its life is not.
    frame.header.hash(hasher);
    match &frame.message {
        Message::Dial(Dial { attempt, step }) => (names.of(*attempt), step).hash(hasher),
        Message::Find(request) => names.of(*request).hash(hasher),
        Message::Found(Found { request, hops: _, view }) => (names.of(*request), view).hash(hasher),
        Message::Trace(Trace { request, hops }) | Message::Traced(Trace { request, hops }) => {
            (names.of(*request), hops).hash(hasher);
        }
        message => message.hash(hasher),
    }
}

/// The number of an attempt or of a request that a frame carries.
pub fn number_in(frame: &Frame) -> Option<u32> {
    match &frame.message {
        Message::Dial(dial) => Some(dial.attempt),
        Message::Find(request) => Some(*request),
        Message::Found(found) => Some(found.request),
        _ => None,
    }
}

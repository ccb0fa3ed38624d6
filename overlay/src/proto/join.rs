//! From nothing to a place on the ring; and leaving it.
//!
//! A joining node dials a member that the signalling server names, asks over it for the member just before its own id, copies
//! that one's whole successor list (Zave), dials the nearest neighbours over the ring, and is a member once a link to a
//! successor is open. Until then it speaks through the member that it began with.

use std::sync::Arc;

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::links::{Link, LinkId, Route};
use super::lookup::Why;
use super::timer::{Time, Timer};
use super::{Event, Output, Phase, Proto};
use crate::id::Id;
use crate::wire::{Flags, Message, Purpose, RingView, Role};

/// Neighbours that a leaf attaches to.
const LEAF_LINKS: usize = 2;

/// The wait before the next try to join doubles this often at most.
const MAX_DOUBLINGS: u8 = 2;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Joining {
    /// The place on the ring is known: the successor list is copied.
    pub(super) placed: bool,
    /// A member has said that it counts this one as its successor.
    pub(super) introduced: bool,
    tries: u8,
}

impl Proto {
    pub(super) fn begin_joining(&mut self, now: Time) {
        self.outputs.push_back(Output::FindMembers);
        self.set_join_timer(now);
    }

    /// The signalling server named members, or said that there are none.
    pub(super) fn on_members(&mut self, found: bool, members: Vec<Id>, now: Time) {
        let strangers: Vec<Id> = members.into_iter().filter(|&id| id != self.me && !self.links.has(id)).collect();
        let chosen = strangers.choose(&mut self.rng).copied();
        // Who stands next to this node knows its place best; but may be gone.
        let untried = strangers.iter().copied().filter(|&id| !self.failed.failed_before(id));
        let nearest = untried.min_by_key(|id| id.distance(self.me)).or(chosen);
        match (self.phase, self.config.role) {
            (Phase::Joining, Role::Member) if found => self.become_member(now),
            (Phase::Joining, Role::Member) => {
                // One at a time; but a peer that turned out to be no member itself is not waited for.
                let waiting = |link: &Link| link.purpose == Purpose::Join && (link.member || !link.is_open());
                if !self.links.iter().any(waiting)
                    && let Some(member) = nearest
                {
                    self.want(member, Purpose::Join, Route::Signalling, now);
                }
            }
            (Phase::Joining | Phase::Attached, Role::Leaf) => self.attach(&strangers, now),
            (Phase::Member, _) if self.links.members().next().is_none() => {
                if let Some(member) = chosen {
                    self.want(member, Purpose::Join, Route::Signalling, now);
                }
            }
            (Phase::Member, _) => {
                if let Some(member) = chosen {
                    self.start_lookup(member, false, Why::Sample, None, now);
                }
            }
            _ => {}
        }
    }

    /// A member named by the signalling server is not found on this ring: it is on another. Meet it.
    pub(super) fn on_stranger(&mut self, member: Id, now: Time) {
        self.want(member, Purpose::Join, Route::Signalling, now);
    }

    fn attach(&mut self, members: &[Id], now: Time) {
        let missing = LEAF_LINKS.saturating_sub(self.links.len());
        let chosen: Vec<Id> = members.sample(&mut self.rng, missing).copied().collect();
        for member in chosen {
            self.want(member, Purpose::Leaf, Route::Signalling, now);
        }
    }

    pub(super) fn on_join_timer(&mut self, now: Time) {
        let searching = match self.phase {
            Phase::Joining => true,
            Phase::Member => self.links.members().next().is_none(),
            Phase::Attached => self.links.len() < LEAF_LINKS,
            Phase::Left => false,
        };
        if !searching {
            return;
        }
        if self.phase == Phase::Joining && self.attachment().is_some() {
            self.ring.unsettle();
            self.ask_strangers();
            self.find_place(None, now);
        } else {
            self.outputs.push_back(Output::FindMembers);
        }
        self.set_join_timer(now);
    }

    fn set_join_timer(&mut self, now: Time) {
        let wait = self.config.join_retry * (1 << self.joining.tries.min(MAX_DOUBLINGS));
        self.joining.tries = self.joining.tries.saturating_add(1);
        let wait = self.jittered(wait);
        self.timers.set(Timer::Join, now.after(wait));
    }

    /// A link of the joining node opened, or could not.
    pub(super) fn join_on_link(&mut self, link: LinkId, purpose: Purpose, dialled: bool, now: Time) {
        match (self.phase, self.config.role) {
            (Phase::Joining, Role::Leaf) => {
                self.phase = Phase::Attached;
                self.joining.tries = 0;
                self.timers.set(Timer::Join, now.after(self.config.join_retry));
                self.event(Event::Joined);
            }
            (Phase::Joining, Role::Member) if !self.joining.placed => {
                self.joining.tries = 0;
                self.set_join_timer(now);
                self.find_place(None, now);
            }
            (Phase::Member, _) if purpose == Purpose::Join && dialled => self.find_place(Some(link), now),
            _ => {}
        }
    }

    pub(super) fn join_failed(&mut self, now: Time) {
        if self.phase == Phase::Joining || self.phase == Phase::Attached {
            let soon = self.config.join_retry / 4;
            let wait = self.jittered(soon);
            self.timers.at_latest(Timer::Join, now.after(wait));
        }
    }

    /// Asks who stands just before this node; over a link of its own choice, or the best.
    pub(super) fn find_place(&mut self, over: Option<LinkId>, now: Time) {
        if over.is_none() && self.lookups.seeks_place() {
            return;
        }
        self.start_lookup(self.me, true, Why::Place, over, now);
    }

    /// The member `before` says that this node's place is between it and its successor.
    pub(super) fn on_place(&mut self, before: Id, view: &RingView, asked: Option<Id>) {
        if !view.member {
            return;
        }
        if self.phase == Phase::Member {
            return self.on_place_confirmed(before, view, asked);
        }
        let after = view.successors.first().copied().unwrap_or(before);
        if self.phase != Phase::Joining || before == self.me || !self.me.is_in_arc(before, after) {
            return;
        }
        #[cfg(feature = "known-bugs")]
        if self.has(super::KnownBug::Join2001) {
            return self.place_as_in_2001(after);
        }
        let alone = view.successors.is_empty().then_some(before);
        let successors = self.successor_list(view.successors.iter().copied().chain(alone));
        self.joining.placed = !successors.is_empty();
        self.ring.replace(vec![before], successors);
    }

    /// A joining node that holds a link to its successor is a member.
    pub(super) fn try_to_become_member(&mut self, now: Time) {
        if self.phase != Phase::Joining || !self.joining.placed {
            return;
        }
        let successor = self.ring.successor();
        #[cfg(feature = "known-bugs")]
        if self.has(super::KnownBug::Join2001) && successor.is_some() {
            return self.become_member(now);
        }
        if successor.is_some() && self.live_successor() == successor {
            self.become_member(now);
        } else if self.ring.successors.is_empty() {
            self.joining.placed = false;
            self.timers.at_latest(Timer::Join, now.after(self.config.gossip_delay));
        }
    }

    fn become_member(&mut self, now: Time) {
        self.phase = Phase::Member;
        self.joining = Joining::default();
        self.timers.stop(Timer::Join);
        for timer in [Timer::Stabilize, Timer::Check, Timer::Fingers] {
            let every = match timer {
                Timer::Stabilize => self.config.stabilize_every,
                Timer::Check => self.config.check_every,
                _ => self.config.gossip_delay * 4,
            };
            let first = self.jittered(every);
            self.timers.set(timer, now.after(first));
        }
        self.event(Event::Joined);
        self.ring.announce();
        self.gossip_soon(now);
        for link in self.links.open().map(|seat| seat.link).collect::<Vec<_>>() {
            self.send_ring(link);
        }
        self.store_on_member(now);
    }

    /// The last link to a member is gone. A member whose only neighbour said farewell is now the whole ring; any other has lost
    /// its place, for by now the ring has closed over it, and joins anew.
    pub(super) fn on_isolated(&mut self, farewell: bool, now: Time) {
        let alone = farewell && self.phase == Phase::Member && self.ring.is_alone();
        if !alone && matches!(self.phase, Phase::Member | Phase::Attached) {
            self.phase = Phase::Joining;
            self.event(Event::Isolated);
        }
        if self.phase == Phase::Joining {
            self.ring.replace(Vec::new(), Vec::new());
        }
        self.joining = Joining::default();
        self.begin_joining(now);
    }

    /// Tells every neighbour who its next neighbours are, and closes all links.
    pub(super) fn leave(&mut self) {
        let view = self.view();
        let links: Vec<LinkId> = self.links.iter().map(|link| link.id).collect();
        for link in links {
            self.send_on(link, Message::Leave(Arc::clone(&view)));
            self.links.remove(link);
            self.outputs.push_back(Output::Close { link });
        }
        self.phase = Phase::Left;
        self.timers.stop_all();
        self.event(Event::Left);
    }

    /// Around `mean`, so that nodes that started together do not stay in step.
    pub(super) fn jittered(&mut self, mean: std::time::Duration) -> std::time::Duration {
        mean.mul_f64(self.rng.random_range(0.75..1.25))
    }

    /// The flags of a lookup for the node before a key, or its owner.
    pub(super) fn key_flags(before: bool) -> Flags {
        let flags = Flags::KEY.with(Flags::REPORT);
        if before { flags.with(Flags::BEFORE) } else { flags }
    }
}

//! Setting links up under the budget: whom to ask, whom to accept, who gives way.
//!
//! ```text
//! dialler                                         acceptor
//!    │ Request (role, purpose)               ──▶     │  both keep a place from here on
//!    │      ◀──   Describe (offer) │ Refuse          │
//!    │ Describe (answer)                     ──▶     │  the link opens; each side proves its key on it
//! ```
//!
//! The offer is the acceptance: a connection is begun only where both sides want it, and opens after a way and a half.
//!
//! When both dial each other at once, the node with the larger id drops its own attempt.

use std::time::Duration;

use rand::RngExt;
use rand::seq::IteratorRandom;

use super::failed::Verdict;
use super::links::{Link, LinkId, Route, State};
use super::seat::Seat;
use super::timer::{Time, Timer};
use super::{Event, Output, Phase, Proto};
use crate::id::Id;
use crate::wire::{Dial, Flags, Frame, Header, MAX_ALTERNATIVES, Message, Purpose, Refusal, Role, Step, Via, kind};

/// A link that was asked for to join, or by a ring neighbour that is not one yet, keeps its place for so long.
const GRACE: Duration = Duration::from_secs(10);

/// A link that has been open for so long is not what holds a ring together that is only forming.
const SETTLED: Duration = Duration::from_secs(3);

/// The time that a peer has to answer doubles this often at most: an attempt holds a place meanwhile.
const MAX_PATIENCE: u32 = 1;

/// How much a link matters: those that matter least give way first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Worth {
    Spare,
    Finger,
    Direct,
    Leaf,
    Ring,
}

impl Proto {
    /// Begins to dial a peer, unless there is a link already. Whether a link is there or on its way now.
    pub(super) fn want(&mut self, peer: Id, purpose: Purpose, route: Route, now: Time) -> bool {
        if peer == self.me || self.phase == Phase::Left {
            return false;
        }
        if let Some(seat) = self.links.seat_to(peer) {
            if purpose < seat.purpose && seat.is_dialled() {
                self.links.update(seat.link, |link| link.purpose = purpose);
            }
            return true;
        }
        if self.failed.has(peer) || !self.make_room(purpose, false, now) {
            return false;
        }
        let attempt = self.rng.random();
        self.stats.dials += 1;
        let deadline = now.after(self.patience(peer));
        let link = self.links.insert(|id| Link { dialled: true, ..Link::new(id, peer, purpose, attempt, route, now) });
        self.await_until(link, deadline);
        self.send_step(link, Step::Request { role: self.config.role, purpose }, now);
        // Where no way leads to the peer the attempt is over already.
        self.links.get(link).is_some()
    }

    /// A step of a dial arrived, over the ring or by the signalling server.
    pub(super) fn on_dial(&mut self, from: Id, route: Route, dial: Dial, now: Time) {
        if from == self.me {
            return;
        }
        let Dial { attempt, step } = dial;
        if let Step::Request { role, purpose } = step {
            return self.on_request(from, route, attempt, role, purpose, now);
        }
        let Some(link) = self.links.to(from).filter(|link| link.attempt == attempt) else {
            return self.on_sought(from, route, attempt, step, now);
        };
        let (id, state, purpose) = (link.id, link.state, link.purpose);
        match (step, state) {
            (Step::Refuse { alternatives, .. }, State::Requested) => {
                self.on_refused(id, from, purpose, &alternatives, now);
            }
            (Step::Refuse { .. }, State::Connecting) => self.give_up(id, Verdict::Unknown, now),
            (Step::Describe(description), State::Requested | State::Connecting) => {
                self.on_described(id, description, now);
            }
            _ => {}
        }
    }

    /// Answers a description for an attempt that this side has given up, so that the other end frees the place at once.
    pub(super) fn withdraw(&mut self, peer: Id, route: Route, attempt: u32, now: Time) {
        let step = Step::Refuse { reason: Refusal::Closed, alternatives: Vec::new() };
        self.send_dial(peer, route, Dial { attempt, step }, now);
    }

    /// The other end describes itself; where it was asked for the link, it accepts by that.
    pub(super) fn on_described(&mut self, link: LinkId, description: String, now: Time) {
        let Some(entry) = self.links.get(link) else { return };
        if entry.state == State::Requested {
            self.connect(link, false);
        }
        // A lost description is noticed soon; only once they flow does a link get the time that it needs to open.
        if self.links.update(link, |link| std::mem::replace(&mut link.described, true)) == Some(false) {
            self.await_until(link, now.after(self.config.connect_timeout));
        }
        self.outputs.push_back(Output::Described { link, description });
    }

    pub(super) fn on_request(&mut self, from: Id, route: Route, attempt: u32, role: Role, purpose: Purpose, now: Time) {
        if let Some(link) = self.links.to(from) {
            let (id, state, dialled, since) = (link.id, link.state, link.dialled, link.since);
            if state == State::Open {
                self.probe(id, now);
                return self.refuse(from, route, attempt, Refusal::Linked, purpose, now);
            }
            // Both ask at once: the smaller id's request stands. One that the peer seems to have lost, or to have given up, does not.
            let fresh = state == State::Requested && now.since(since) < self.config.request_timeout;
            if dialled && fresh && self.me < from {
                return;
            }
            self.links.remove(id);
            self.outputs.push_back(Output::Close { link: id });
        }
        let refusal = if self.config.role == Role::Leaf {
            Some(Refusal::Closed)
        } else if !self.admits(from, purpose, now) || !self.make_room(self.granted(from, purpose, now), true, now) {
            Some(Refusal::Full)
        } else {
            None
        };
        if let Some(reason) = refusal {
            // An own attempt that gave way to this one is over too.
            self.fingers_on_link_down(from, now);
            return self.refuse(from, route, attempt, reason, purpose, now);
        }
        let patience = self.patience(from);
        self.failed.forgive(from);
        let link = self.links.insert(|id| Link { role, ..Link::new(id, from, purpose, attempt, route, now) });
        self.await_until(link, now.after(patience));
        self.connect(link, true);
    }

    /// How long this peer may take to answer a step: twice as long after each failure, for the way to it may be slow.
    pub(super) fn patience(&self, peer: Id) -> Duration {
        self.config.request_timeout * (1 << self.failed.times(peer).min(MAX_PATIENCE))
    }

    /// An attempt ends at this time, unless it comes further before.
    fn await_until(&mut self, link: LinkId, deadline: Time) {
        if self.links.update(link, |link| link.deadline = deadline).is_some() {
            self.timers.at_latest(Timer::Dial, deadline);
        }
    }

    fn connect(&mut self, link: LinkId, offers: bool) {
        let connecting = self.links.update(link, |link| {
            link.state = State::Connecting;
            link.peer
        });
        if let Some(peer) = connecting {
            self.outputs.push_back(Output::Connect { link, peer, offers });
        }
    }

    /// The link end made a description for the other end.
    pub(super) fn describe(&mut self, link: LinkId, description: String, now: Time) {
        if self.links.get(link).is_some_and(|link| link.state == State::Connecting) {
            self.send_step(link, Step::Describe(description), now);
        }
    }

    pub(super) fn on_link_up(&mut self, link: LinkId, role: Role, now: Time) {
        if self.links.get(link).is_none_or(Link::is_open) {
            return;
        }
        let opened = self.links.update(link, |link| {
            (link.state, link.role, link.since) = (State::Open, role, now);
            (link.peer, link.purpose, link.dialled)
        });
        let Some((peer, purpose, dialled)) = opened else { return };
        if let Some(seat) = self.links.seat_mut(link) {
            seat.heard_at = now;
        }
        self.failed.forgive(peer);
        self.links.set_reach(link, &[]);
        self.event(Event::PeerConnected(peer));
        if self.config.heartbeat_every > Duration::ZERO && !self.timers.is_set(Timer::Heartbeat) {
            self.timers.set(Timer::Heartbeat, now.after(self.config.heartbeat_every));
        }
        if self.phase == Phase::Member {
            self.send_ring(link);
        }
        self.tell_neighbours(link);
        self.gossip_soon(now);
        self.ring.unsettle();
        self.fingers_on_link_up(peer);
        // A link is dialled to a member, but only its own word makes it one.
        if dialled && matches!(purpose, Purpose::Join | Purpose::Leaf) && self.phase != Phase::Member {
            self.links.update(link, |link| link.member = true);
            self.join_on_link(link, purpose, dialled, now);
        } else if self.phase == Phase::Member {
            self.join_on_link(link, purpose, dialled, now);
        }
    }

    /// The link failed: while it was set up, or open. One that opened here and brought nothing the other end has given up meanwhile, as it may
    /// while places are few: the peer lives, and stays in the lists.
    pub(super) fn on_link_down(&mut self, link: LinkId, now: Time) {
        let Some(entry) = self.links.get(link) else { return };
        if !entry.is_open() {
            self.dial_failed(link, now);
        } else if entry.heard {
            self.drop_link(link, now);
        } else {
            self.remove_link(link, false, now);
        }
    }

    /// Closes an open link that is not needed any more. The peer is told why, for both live, and stay in the lists.
    pub(super) fn close(&mut self, link: LinkId, now: Time) {
        self.send_on(link, Message::Close);
        self.outputs.push_back(Output::Close { link });
        self.remove_link(link, false, now);
    }

    /// Closes an open link whose peer is dead.
    pub(super) fn close_dead(&mut self, link: LinkId, now: Time) {
        self.outputs.push_back(Output::Close { link });
        self.drop_link(link, now);
    }

    /// The peer needs the place of this link for another: it lives, and stays in the lists.
    pub(super) fn on_closed_by_peer(&mut self, link: LinkId, now: Time) {
        self.outputs.push_back(Output::Close { link });
        self.remove_link(link, false, now);
    }

    /// The peer leaves the ring.
    pub(super) fn on_farewell(&mut self, link: LinkId, peer: Id, now: Time) {
        self.outputs.push_back(Output::Close { link });
        self.forget_neighbour(peer);
        self.remove_link(link, true, now);
    }

    fn drop_link(&mut self, link: LinkId, now: Time) {
        if let Some(peer) = self.links.get(link).map(|link| link.peer) {
            self.forget_neighbour(peer);
            self.remove_link(link, false, now);
        }
    }

    fn remove_link(&mut self, link: LinkId, farewell: bool, now: Time) {
        let Some(entry) = self.links.remove(link) else { return };
        self.event(Event::PeerDisconnected(entry.peer));
        self.fingers_on_link_down(entry.peer, now);
        self.gossip_soon(now);
        self.ring.unsettle();
        if entry.member && self.links.members().next().is_none() {
            self.on_isolated(farewell, now);
        }
        let died = (farewell || self.failed.is_gone(entry.peer)).then_some(entry.peer);
        self.channels_on_link_down(link, died, now);
    }

    /// A link did not open: leave the peer alone for a while. Only a neighbour on the ring is missed for that: any other attempt may have
    /// given way at the other end to a link that matters more there. And it may be a hop on the way that is dead and not missed yet. So a
    /// successor is not forgotten, or the last one that lives could be, but a member behind it is asked: see [`Proto::on_ring`].
    fn dial_failed(&mut self, link: LinkId, now: Time) {
        let Some(entry) = self.links.get(link) else { return };
        let peer = entry.peer;
        let lost = entry.dialled && entry.purpose == Purpose::Ring;
        self.give_up(link, if lost { Verdict::Lost } else { Verdict::Unknown }, now);
        if lost {
            self.miss_neighbour(peer);
        }
    }

    /// Ends an attempt.
    fn give_up(&mut self, link: LinkId, verdict: Verdict, now: Time) {
        let Some(entry) = self.links.remove(link) else { return };
        self.stats.dials_failed += 1;
        if entry.state == State::Connecting {
            self.outputs.push_back(Output::Close { link });
        }
        self.failed.insert(entry.peer, verdict, self.config.failed_for, now);
        self.fingers_on_link_down(entry.peer, now);
        if entry.dialled && matches!(entry.purpose, Purpose::Join | Purpose::Leaf) {
            self.join_failed(now);
        }
    }

    /// The peer said no.
    fn on_refused(&mut self, link: LinkId, peer: Id, purpose: Purpose, alternatives: &[Id], now: Time) {
        self.give_up(link, Verdict::Unknown, now);
        let me = self.me;
        for &other in alternatives.iter().filter(|&&other| other != me && other != peer) {
            match purpose {
                Purpose::Ring => self.ring.hint(other, None),
                Purpose::Join | Purpose::Leaf
                    if self.phase != Phase::Member && self.want(other, purpose, Route::Signalling, now) =>
                {
                    break;
                }
                Purpose::Finger if self.finger_alternative(other, now) => {
                    break;
                }
                _ => {}
            }
        }
    }

    /// Those are named instead that stand nearest to the peer; or, where it wants a finger, that have room.
    pub(super) fn refuse(&mut self, to: Id, route: Route, attempt: u32, reason: Refusal, purpose: Purpose, now: Time) {
        let will_do = |seat: &&Seat| seat.peer != to && (purpose != Purpose::Finger || seat.room > 0);
        let mut alternatives: Vec<Id> = self.links.members().filter(will_do).map(|seat| seat.peer).collect();
        alternatives.sort_unstable_by_key(|id| id.distance(to));
        alternatives.truncate(MAX_ALTERNATIVES);
        self.send_dial(to, route, Dial { attempt, step: Step::Refuse { reason, alternatives } }, now);
    }

    /// Whether the owner of an arc, or a hop on the way, says that this peer cannot be reached.
    pub(super) fn fail_requests_to(&mut self, peer: Id, now: Time) {
        let unheard = |link: &&Link| !link.is_open() && !link.described && link.route != Route::Signalling;
        if let Some(link) = self.links.to(peer).filter(unheard).map(|link| link.id) {
            self.dial_failed(link, now);
        }
    }

    /// The signalling server does not know the peer, or cannot reach it. A neighbour that was lost on the ring as well is gone.
    pub(super) fn fail_signalled_dial(&mut self, peer: Id, now: Time) {
        let dialling = self.links.to(peer).filter(|link| !link.is_open() && link.route == Route::Signalling);
        if let Some((link, purpose)) = dialling.map(|link| (link.id, link.purpose)) {
            let lost = purpose == Purpose::Ring && self.failed.is_lost(peer);
            self.dial_failed(link, now);
            if lost {
                self.failed.confirm_gone(peer, self.config.dead_after, now);
                self.forget_neighbour(peer);
            }
        }
    }

    pub(super) fn on_dial_timer(&mut self, now: Time) {
        let late: Vec<LinkId> =
            self.links.iter().filter(|link| !link.is_open() && link.deadline <= now).map(|link| link.id).collect();
        for link in late {
            self.dial_failed(link, now);
        }
        if let Some(next) = self.links.iter().filter(|link| !link.is_open()).map(|link| link.deadline).min() {
            self.timers.set(Timer::Dial, next);
        }
    }

    /// A session is idle again.
    pub(super) fn release_direct(&mut self, peer: Id, now: Time) {
        let direct = self.links.open_to(peer).filter(|link| link.purpose == Purpose::Direct && link.dialled);
        if let Some(link) = direct.cloned()
            && self.worth(&link, now) <= Worth::Direct
        {
            self.close(link.id, now);
        }
    }

    /// Closes links that joined this node once and serve nothing now.
    pub(super) fn release_spare_links(&mut self, now: Time) {
        let spare = |link: &&Link| link.is_open() && link.dialled && link.purpose == Purpose::Join;
        let spare: Vec<Link> = self.links.iter().filter(spare).cloned().collect();
        for link in spare.into_iter().filter(|link| now.since(link.since) > GRACE) {
            if self.worth(&link, now) == Worth::Spare && self.links.members().count() > super::ring::NEAR * 2 {
                self.close(link.id, now);
            }
        }
    }

    /// What an accepted link is held for: a peer that believes to be a ring neighbour, and is none, gets a lesser place. A newcomer that
    /// is to be one gets the better place at once, but for a second that comes meanwhile.
    fn granted(&self, from: Id, purpose: Purpose, now: Time) -> Purpose {
        match purpose {
            Purpose::Ring if self.phase == Phase::Member && !self.is_near(from) => Purpose::Finger,
            Purpose::Join if self.phase == Phase::Member && self.is_near(from) && !self.has_newcomer(now) => {
                Purpose::Ring
            }
            _ => purpose,
        }
    }

    /// Whether a peer may have a place, if there is one: the last places are kept for the ring's own needs.
    ///
    /// A newcomer is let in even where all places are taken, one at a time: a ring of members that are all linked to each other,
    /// and full, would let nobody in for ever. It needs the place for no more than a moment, to learn where it belongs. A busy
    /// session gets the place of a link that serves nothing.
    fn admits(&self, from: Id, purpose: Purpose, now: Time) -> bool {
        match self.granted(from, purpose, now) {
            Purpose::Ring => return true,
            granted @ (Purpose::Join | Purpose::Direct) if self.links.is_full() => {
                return self.least_for(granted, true, now).is_some();
            }
            _ => {}
        }
        self.room() > 0
    }

    /// Makes sure that a place is free, if need be by closing a link that matters less: for a peer that asked, or for what this node is
    /// about to ask.
    pub(super) fn make_room(&mut self, purpose: Purpose, asked: bool, now: Time) -> bool {
        if !self.links.is_full() {
            return true;
        }
        let Some(least) = self.least_for(purpose, asked, now) else { return false };
        let victims: Vec<LinkId> = self
            .links
            .iter()
            .filter(|link| self.gives_way(link, purpose, asked, now) && self.worth(link, now) == least)
            .map(|link| link.id)
            .collect();
        // Links that no channel's tree needs come first.
        let unused: Vec<LinkId> = victims.iter().copied().filter(|&link| !self.is_in_tree(link)).collect();
        let victims = if unused.is_empty() { victims } else { unused };
        let Some(victim) = victims.into_iter().choose(&mut self.rng) else { return false };
        self.stats.evicted += 1;
        if self.links.get(victim).is_some_and(Link::is_open) {
            self.close(victim, now);
        } else {
            self.give_up(victim, Verdict::Unknown, now);
        }
        true
    }

    /// How much the links matter that give way to this purpose before all others, if there are any.
    fn least_for(&self, purpose: Purpose, asked: bool, now: Time) -> Option<Worth> {
        let below = match purpose {
            Purpose::Ring => Worth::Ring,
            // A second newcomer waits for the first.
            Purpose::Join if self.has_newcomer(now) => return None,
            Purpose::Join => Worth::Direct,
            _ => Worth::Finger,
        };
        let candidates = self.links.iter().filter(|link| self.gives_way(link, purpose, asked, now));
        candidates.map(|link| self.worth(link, now)).min().filter(|&least| least < below)
    }

    /// Whether a link may be closed at all for this purpose. What this node has asked for to keep its place gives way to peers that ask, who
    /// are sure to want the link, but not to what it asks for next: who knows of many would ask all and wait for none. Newcomers close none of the young ones: while many nodes start at once,
    /// any of them may be all that joins a part of the ring to the rest. And the last one that gives signs of life stays: the others may
    /// be dead and not missed yet.
    fn gives_way(&self, link: &Link, purpose: Purpose, asked: bool, now: Time) -> bool {
        if !asked && link.state == State::Requested && link.purpose == Purpose::Ring {
            return false;
        }
        let lively = |seat: &&Seat| now.since(seat.heard_at) <= self.config.heartbeat_every * 3 / 2;
        let is_only = || self.links.members().filter(lively).map(|seat| seat.link).eq([link.id]);
        let is_last = !self.config.heartbeat_every.is_zero() && is_only();
        !is_last && (purpose != Purpose::Join || now.since(link.since) > SETTLED)
    }

    fn worth(&self, link: &Link, now: Time) -> Worth {
        let young = now.since(link.since) < GRACE;
        match link.purpose {
            _ if link.role == Role::Member && self.serves_ring(link, young) => Worth::Ring,
            Purpose::Join if young && !link.member => Worth::Leaf,
            Purpose::Ring | Purpose::Join if self.fingers.has(link.peer) => Worth::Finger,
            Purpose::Ring | Purpose::Join => Worth::Spare,
            Purpose::Finger => Worth::Finger,
            Purpose::Direct => Worth::Direct,
            Purpose::Leaf => Worth::Leaf,
        }
    }

    /// Whether the ring needs a link, or may soon. Where the peer is no member yet, or has not said so, a link counts while it is young: one
    /// that this node asked for, once the peer has agreed; and a newcomer's whose successor this node is, for that is the one link that a
    /// newcomer needs. Of those no more on either side than of members.
    fn serves_ring(&self, link: &Link, young: bool) -> bool {
        if link.member {
            return self.is_near(link.peer);
        }
        let agreed = link.dialled && link.state != State::Requested;
        let needed = !link.dialled && self.is_own_arc(link.peer);
        let meant = link.is_open() || link.purpose == Purpose::Ring;
        let stranger = |other: &&Seat| other.role() == Role::Member && !other.is_member();
        let strangers = self.links.open().filter(stranger).map(|seat| seat.peer);
        young && meant && (agreed || needed) && self.is_near(link.peer) && self.is_near_among(link.peer, strangers)
    }

    /// Whether a newcomer has a link to learn its place by.
    fn has_newcomer(&self, now: Time) -> bool {
        let newcomers = |link: &Link| link.purpose == Purpose::Join && !link.dialled && !link.member;
        self.links.iter().any(|link| newcomers(link) && now.since(link.since) < GRACE)
    }

    /// Whether this node is the successor of whoever stands there, as far as it knows.
    fn is_own_arc(&self, id: Id) -> bool {
        self.ring.predecessor().is_none_or(|before| id.is_between(before, self.me))
    }

    fn send_step(&mut self, link: LinkId, step: Step, now: Time) {
        let Some(entry) = self.links.get(link) else { return };
        let dial = Dial { attempt: entry.attempt, step };
        self.send_dial(entry.peer, entry.route, dial, now);
    }

    fn send_dial(&mut self, peer: Id, route: Route, dial: Dial, now: Time) {
        match route {
            Route::Signalling => self.outputs.push_back(Output::Signal { to: peer, dial }),
            Route::Ring(via) => {
                self.send_to(peer, via, Flags::REPORT, Message::Dial(dial), now);
            }
            Route::Through(member) => {
                let Some(link) = self.links.link_to(member) else { return };
                let via = Some(Via { to: member, answer: member });
                let header = Header { flags: Flags::REPORT, via, ..Header::new(kind::DIAL, self.me, peer) };
                self.outputs.push_back(Output::Send { link, frame: Frame { header, message: Message::Dial(dial) } });
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The finger table: links that jump over the ring.
//!
//! Under a hard budget of links, Chord's fingers at `id + 2^row` are poor. A node has a few fingers of its own (6 of 16 links), each
//! a *random member of an arc*; the arcs are spaced geometrically, from the nearest neighbours to the far side of the ring, and lie
//! on either side by chance. Links are used both ways, so that others' fingers serve as well. (Kleinberg's small worlds: "The
//! small-world phenomenon", STOC 2000; the figures are in `docs/architecture.md`.)

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::links::{LinkId, Route};
use super::lookup::{Answer, LookupError, Token, Why};
use super::seek::PLENTY;
use super::timer::{Time, Timer};
use super::{Phase, Placement, Proto, Routing};
use crate::id::Id;
use crate::wire::{Dial, Message, Purpose, Step};

/// When the estimate of the ring's size changes by this factor, the arcs are laid anew.
const REARRANGE_AT: f64 = 1.5;

/// The factor from one arc to the next, near the node: more fingers there would be neighbours of each other.
const NEAR_RATIO: f64 = 2.0;

/// The smallest factor from one arc to the next at all.
const MIN_RATIO: f64 = 1.2;

/// One row of the finger table as the application sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct Finger {
    /// The row in whose arc `[self + 2^row, self + 2^(row + 1))` the peer lies.
    pub row: u32,
    /// The peer.
    pub peer: Id,
    /// Whether it was chosen as a finger by this node, or is linked for another reason.
    pub own: bool,
}

/// An arc to reach into, and with whom.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Arc {
    /// Distances from this node, from the nearest to the furthest.
    nearest: u64,
    furthest: u64,
    clockwise: bool,
    peer: Option<Id>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Fingers {
    arcs: Vec<Arc>,
    /// The estimate of the ring's size that the arcs were laid for.
    size: f64,
    /// The row to fill next.
    next: u32,
    /// Times that an empty row was tried since a finger was last won or lost: where all are full, there is no hurry.
    tries: u32,
    /// Requests to refresh a row that wait for their link to open.
    waiting: Vec<(Token, Id)>,
}

/// The wait before the next empty row is tried doubles this often at most.
const MAX_DOUBLINGS: u32 = 6;

/// Requests to refresh a row that wait for their link, at most.
const MAX_WAITING: usize = 64;

impl Fingers {
    pub(super) fn peers(&self) -> impl DoubleEndedIterator<Item = Id> {
        self.arcs.iter().filter_map(|arc| arc.peer)
    }

    /// One arc for each row of the textbook's table: the finger is the first node at or behind `2^row`, however far.
    pub(super) fn lay_rows(&mut self) {
        if self.arcs.is_empty() {
            let furthest = Id::MAX.number();
            let arc = |row| Arc { nearest: 1_u64 << row, furthest, clockwise: true, peer: None };
            self.arcs = (0..Id::BITS).map(arc).collect();
        }
    }

    /// The points below this row are the first successor's.
    pub(super) fn clear_rows_below(&mut self, row: u32) {
        self.arcs.iter_mut().take(row as usize).for_each(|arc| arc.peer = None);
    }

    pub(super) fn has(&self, peer: Id) -> bool {
        self.arcs.iter().any(|arc| arc.peer == Some(peer))
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn prefetch(&self) {
        (0..self.arcs.len()).for_each(|at| prefetch_index::prefetch_index(&self.arcs, at));
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.arcs.capacity() * size_of::<Arc>() + self.waiting.capacity() * size_of::<(Token, Id)>()
    }
}

impl Arc {
    fn contains(&self, me: Id, id: Id) -> bool {
        let distance = if self.clockwise { me.clockwise_to(id) } else { id.clockwise_to(me) };
        (self.nearest..=self.furthest).contains(&distance)
    }
}

impl Proto {
    /// The finger table: every member with an open link, by the row of the table that it stands in.
    pub fn fingers(&self) -> Vec<Finger> {
        let finger = |peer| Some(Finger { row: self.me.row_of(peer)?, peer, own: self.fingers.has(peer) });
        let mut fingers: Vec<Finger> = self.links.members().filter_map(|link| finger(link.peer)).collect();
        fingers.sort_unstable_by_key(|finger| (finger.row, self.me.clockwise_to(finger.peer)));
        fingers
    }

    /// How many nodes the ring has, from how densely the successor list covers its arc.
    pub fn estimated_size(&self) -> f64 {
        let successors = &self.ring.successors;
        match successors.last() {
            Some(&last) if successors.len() == self.config.successors => {
                let ring = (Id::MAX.number() + 1) as f64;
                successors.len() as f64 * ring / self.me.clockwise_to(last) as f64
            }
            _ => successors.len() as f64 + 1.0,
        }
    }

    pub(super) fn on_fingers_timer(&mut self, now: Time) {
        if self.phase != Phase::Member {
            return;
        }
        if self.config.has_classic_fingers() {
            return self.fix_fingers(now);
        }
        self.lay_arcs();
        if !self.lookups.seeks_finger() {
            self.fill_next_arc(now);
        }
        let missing = self.fingers.arcs.iter().any(|arc| arc.peer.is_none());
        if !missing && !self.lookups.seeks_finger() {
            self.better_a_finger(now);
        }
        // Who has many to fill is as soon done as who has few.
        let soonest = self.config.finger_every / (self.config.fingers as u32 / 2).max(8);
        let wait =
            if missing { soonest * (1 << self.fingers.tries.min(MAX_DOUBLINGS)) } else { self.config.finger_every * 4 };
        self.fingers.tries += 1;
        let wait = self.jittered(wait);
        self.timers.set(Timer::Fingers, now.after(wait));
    }

    /// Lays the arcs for the present size of the ring: q arcs from the nearest neighbours to half the ring, by the ratio
    /// `(N / 2)^(1 / q)`.
    fn lay_arcs(&mut self) {
        let size = self.estimated_size();
        let steady = (self.fingers.size / REARRANGE_AT..=self.fingers.size * REARRANGE_AT).contains(&size);
        if steady {
            return;
        }
        self.fingers.size = size;
        self.fingers.arcs.clear();
        self.fingers.tries = 0;
        let random = self.config.placement == Placement::RandomMember;
        let unit = (Id::MAX.number() + 1) as f64 / size;
        let ends = ends(self.config.fingers, size / 2.0);
        for pair in ends.windows(2) {
            // The owner of a fixed point stands behind it: its arc begins where a random member's ends.
            let (from, to) = if random { (pair[0], pair[1]) } else { (pair[1], pair[1] * pair[1] / pair[0]) };
            let end = |distance: f64| ((unit * distance) as u64).min(Id::MAX.number());
            let (nearest, furthest) = (end(from), end(to));
            let clockwise = !random || self.config.routing != Routing::BothWays || self.rng.random();
            self.fingers.arcs.push(Arc { nearest, furthest, clockwise, peer: None });
        }
        let me = self.me;
        let dialled = self
            .links
            .members()
            .filter(|seat| seat.is_dialled() && seat.purpose == Purpose::Finger)
            .map(|seat| seat.peer);
        for peer in dialled {
            if let Some(arc) = self.fingers.arcs.iter_mut().find(|arc| arc.peer.is_none() && arc.contains(me, peer)) {
                arc.peer = Some(peer);
            }
        }
    }

    fn fill_next_arc(&mut self, now: Time) {
        let count = self.fingers.arcs.len();
        let next = self.fingers.next as usize;
        let Some(index) = (0..count).map(|i| (next + i) % count).find(|&i| self.fingers.arcs[i].peer.is_none()) else {
            return;
        };
        self.fingers.next = index as u32 + 1;
        // Close by, the neighbours on the ring are all there is.
        let arc = &self.fingers.arcs[index];
        let neighbour = self
            .links
            .members()
            .map(|link| link.peer)
            .find(|&peer| self.is_near(peer) && arc.contains(self.me, peer) && !self.fingers.has(peer));
        match neighbour.filter(|_| self.config.placement == Placement::RandomMember) {
            Some(peer) => self.set_finger(index, peer),
            None => self.fill_arc(index, now),
        }
    }

    /// Where a finger leads to a member that is full, one with a larger budget would serve both better: the full one has a place again,
    /// and more members can be reached in two steps.
    fn better_a_finger(&mut self, now: Time) {
        let seat = |arc: &Arc| arc.peer.and_then(|peer| self.links.seat_to(peer)).filter(|seat| seat.is_open());
        let full = |arc: &Arc| seat(arc).is_some_and(|seat| seat.room == 0);
        let arcs = self.fingers.arcs.iter().enumerate().filter(|(_, arc)| full(arc) && self.given_up(arc).is_some());
        let arcs: Vec<usize> = arcs.map(|(index, _)| index).collect();
        if let Some(&index) = arcs.choose(&mut self.rng) {
            self.fill_arc(index, now);
        }
    }

    /// The link to give up for a better finger: one that this node asked for, and that serves nothing else.
    fn given_up(&self, arc: &Arc) -> Option<LinkId> {
        let link = arc.peer.and_then(|peer| self.links.open_to(peer))?;
        let neighbours = self.links.led_to_by(link.id).count();
        let small = neighbours <= PLENTY.into();
        (small && link.dialled && link.purpose == Purpose::Finger && !self.is_near(link.peer)).then_some(link.id)
    }

    pub(super) fn give_up_finger(&mut self, index: usize, now: Time) {
        if let Some(link) = self.fingers.arcs.get(index).and_then(|arc| self.given_up(arc)) {
            self.close(link, now);
        }
    }

    fn fill_arc(&mut self, index: usize, now: Time) {
        let arc = self.fingers.arcs[index].clone();
        let distance = match self.config.placement {
            Placement::RandomMember => self.rng.random_range(arc.nearest..=arc.furthest.max(arc.nearest)),
            Placement::FixedPoint | Placement::PowersOfTwo => arc.nearest,
        };
        let key = if arc.clockwise { self.me.plus(distance) } else { self.me.minus(distance) };
        let why = if self.config.placement == Placement::RandomMember { Why::Seek(index) } else { Why::Finger(index) };
        self.start_lookup(key, false, why, None, now);
    }

    /// The request for a link with a member of this finger's arc.
    pub(super) fn seek(&self, index: usize, attempt: u32) -> Option<Message> {
        let arc = self.fingers.arcs.get(index)?;
        let (from, to) = match arc.clockwise {
            true => (self.me.plus(arc.nearest), self.me.plus(arc.furthest)),
            false => (self.me.minus(arc.furthest), self.me.minus(arc.nearest)),
        };
        let least = if arc.peer.is_some() { PLENTY } else { 1 };
        Some(Message::Dial(Dial { attempt, step: Step::Seek { from, to, least } }))
    }

    /// Whether this member will do for a finger that is missing, or is to be given up for a better one.
    pub(super) fn is_for_arc(&self, index: usize, peer: Id) -> bool {
        let arc = self.fingers.arcs.get(index).filter(|arc| arc.peer.is_none() || self.given_up(arc).is_some());
        arc.is_some_and(|arc| arc.contains(self.me, peer))
    }

    pub(super) fn set_finger(&mut self, index: usize, peer: Id) {
        if let Some(arc) = self.fingers.arcs.get_mut(index) {
            arc.peer = Some(peer);
        }
    }

    /// A random member for an arc of the table was found.
    pub(super) fn on_finger_found(&mut self, index: usize, peer: Id, now: Time) {
        let me = self.me;
        let Some(arc) = self.fingers.arcs.get_mut(index) else { return };
        if peer == me || !arc.contains(me, peer) || arc.peer == Some(peer) {
            return;
        }
        arc.peer = Some(peer);
        if !self.want(peer, Purpose::Finger, Route::Ring(None), now)
            && let Some(arc) = self.fingers.arcs.get_mut(index)
        {
            arc.peer = None;
        }
    }

    /// A peer that was asked to be a finger named another instead. Whether that one is dialled now.
    pub(super) fn finger_alternative(&mut self, peer: Id, now: Time) -> bool {
        if self.config.has_classic_fingers() {
            return false;
        }
        let me = self.me;
        let Some(index) = self.fingers.arcs.iter().position(|arc| arc.peer.is_none() && arc.contains(me, peer)) else {
            return false;
        };
        self.on_finger_found(index, peer, now);
        self.fingers.has(peer)
    }

    pub(super) fn fingers_on_link_up(&mut self, peer: Id) {
        if self.fingers.has(peer) {
            self.fingers.tries = 0;
        }
        let waiting = std::mem::take(&mut self.fingers.waiting);
        let (done, rest) = waiting.into_iter().partition(|&(_, wanted)| wanted == peer);
        self.fingers.waiting = rest;
        for (token, _) in done as Vec<(Token, Id)> {
            self.answer(token, Answer::Finger(Ok(peer)));
        }
    }

    pub(super) fn fingers_on_link_down(&mut self, peer: Id, now: Time) {
        let mut lost = false;
        for arc in self.fingers.arcs.iter_mut().filter(|arc| arc.peer == Some(peer)) {
            arc.peer = None;
            lost = true;
        }
        if lost && self.phase == Phase::Member && self.fingers.tries > 1 {
            self.fingers.tries = 1;
            self.timers.at_latest(Timer::Fingers, now.after(self.config.finger_every / 8));
        }
        let waiting = std::mem::take(&mut self.fingers.waiting);
        let (failed, rest) = waiting.into_iter().partition(|&(_, wanted)| wanted == peer);
        self.fingers.waiting = rest;
        for (token, _) in failed as Vec<(Token, Id)> {
            self.answer(token, Answer::Finger(Err(LookupError::Refused)));
        }
    }

    /// The application wants a row refreshed.
    pub(super) fn update_finger(&mut self, token: Token, row: u32, now: Time) {
        if row >= Id::BITS {
            return self.answer(token, Answer::Finger(Err(LookupError::EmptyRow)));
        }
        let distance = self.rng.random_range(1 << row..2 << row);
        self.start_lookup(self.me.plus(distance), false, Why::Row(row, token), None, now);
    }

    pub(super) fn on_row_found(&mut self, row: u32, token: Token, peer: Id, now: Time) {
        if self.me.row_of(peer) != Some(row) {
            return self.answer(token, Answer::Finger(Err(LookupError::EmptyRow)));
        }
        if self.links.is_open_to(peer) {
            return self.answer(token, Answer::Finger(Ok(peer)));
        }
        if self.fingers.waiting.len() < MAX_WAITING && self.want(peer, Purpose::Finger, Route::Ring(None), now) {
            self.fingers.waiting.push((token, peer));
        } else {
            self.answer(token, Answer::Finger(Err(LookupError::Refused)));
        }
    }
}

/// Where the arcs of at most so many fingers begin and end, in mean distances between two neighbours on the ring: from the nearest
/// neighbour as far as `reach`, by one ratio. Where that would be less than [`NEAR_RATIO`], it holds for the far arcs only, of which
/// each then has two members at least.
fn ends(fingers: usize, reach: f64) -> Vec<f64> {
    if reach <= NEAR_RATIO || fingers == 0 {
        return Vec::new();
    }
    // The same on every machine: the platform's own functions may differ in the last bit.
    let most = |ratio: f64| (libm::log2(reach) / libm::log2(ratio)).floor();
    let count = (fingers as f64).min(most(MIN_RATIO));
    let ratio = libm::pow(reach, 1.0 / count);
    let mut ends = vec![1.0];
    if ratio < NEAR_RATIO {
        let dense = 2.0 / (ratio - 1.0);
        while ends[ends.len() - 1] < dense && ends[ends.len() - 1] * NEAR_RATIO < reach {
            ends.push(ends[ends.len() - 1] * NEAR_RATIO);
        }
    }
    let near = ends[ends.len() - 1];
    let rest = (count - (ends.len() - 1) as f64).min(((reach - near) / 2.0).ceil()).max(1.0);
    let ratio = libm::pow(reach / near, 1.0 / rest);
    ends.extend((1..=rest as i32).map(|power| near * libm::pow(ratio, f64::from(power))));
    ends
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{NOW, asks, connecting, hears, outputs};
    use super::super::{Config, Input, LinkId, Output};
    use super::*;
    use crate::wire::{Dial, Found, Frame, Message, Neighbours, RingView, Role, Step};

    /// A node with one open link, that has just asked for a member in the row where `peer` stands.
    fn refreshing_the_row_of(peer: Id, role: Role) -> (Proto, LinkId, u32) {
        let member = Id::new(5000);
        let config = Config { role, heartbeat_every: Duration::ZERO, ..Config::with_links(16) };
        let mut proto = Proto::new(Id::new(1000), config, 1, NOW);
        proto.handle(Input::Members { found: role == Role::Member, members: vec![member] }, NOW);
        for output in outputs(&mut proto) {
            let Output::Signal { dial, .. } = output else { continue };
            proto.handle(
                Input::Signal { from: member, dial: Dial { step: Step::Describe("an offer".to_owned()), ..dial } },
                NOW,
            );
        }
        if role == Role::Member {
            asks(&mut proto, member, 1, Purpose::Finger);
        }
        let link = connecting(&mut proto);
        proto.handle(Input::LinkUp { link, role: Role::Member }, NOW);
        hears(&mut proto, link, member, Message::Neighbours(Neighbours { member: true, room: 0, ids: [].into() }));
        let row = proto.id().row_of(peer).expect("another node");
        proto.handle(Input::UpdateFinger { token: Token(7), row }, NOW);
        let find = |output| match output {
            Output::Send { frame: Frame { message: Message::Find(request), .. }, .. } => Some(request),
            _ => None,
        };
        let request = outputs(&mut proto).into_iter().find_map(find).expect("the row is looked up");
        (proto, link, request)
    }

    #[test]
    fn arcs_reach_from_the_nearest_neighbour_to_half_the_ring_and_each_has_members() {
        for reach in [2.5, 4.0, 16.0, 50.0, 500.0, 5e3, 5e5] {
            for fingers in [1, 2, 6, 24, 48] {
                let ends = ends(fingers, reach);
                let last = ends[ends.len() - 1];
                assert!(ends[0] == 1.0 && (last / reach - 1.0).abs() < 1e-9, "{fingers} up to {reach}: {ends:?}");
                assert!(ends.len() <= fingers + 1, "{fingers} up to {reach}: {ends:?}");
                // In the mean; the first has the neighbours on the ring.
                let wide = ends.windows(2).all(|pair| pair[1] - pair[0] > 0.49);
                assert!(wide, "{fingers} up to {reach}: {ends:?}");
            }
        }
        assert_eq!(ends(6, 500.0).len(), 7, "few fingers are used in full");
        assert!(ends(48, 5_000.0).len() > 40, "many, too, where the ring is large");
        assert!(ends(6, 2.0).is_empty(), "a ring of neighbours only");
    }

    fn refused(outputs: &[Output]) -> bool {
        let answer = Answer::Finger(Err(LookupError::Refused));
        outputs.contains(&Output::Answer { token: Token(7), answer })
    }

    #[test]
    fn a_row_whose_member_cannot_be_reached_is_answered() {
        let peer = Id::new(1000 + (1 << 20));
        let (mut proto, link, request) = refreshing_the_row_of(peer, Role::Member);
        // The only way onward is gone, so the dial comes to nothing as soon as it begins.
        let found = Found { request, hops: 1, view: RingView::default().into() };
        hears(
            &mut proto,
            link,
            Id::new(5000),
            Message::Neighbours(Neighbours { member: false, room: 0, ids: [].into() }),
        );
        hears(&mut proto, link, peer, Message::Found(found));
        assert!(refused(&outputs(&mut proto)), "the request waits for ever");
    }

    #[test]
    fn a_leaf_that_refuses_the_member_that_it_dials_itself_is_answered() {
        let peer = Id::new(20);
        let (mut proto, link, request) = refreshing_the_row_of(peer, Role::Leaf);
        let found = Found { request, hops: 1, view: RingView::default().into() };
        hears(&mut proto, link, peer, Message::Found(found));
        asks(&mut proto, peer, 9, Purpose::Finger);
        let seen = outputs(&mut proto);
        assert!(refused(&seen), "the request waits for ever: {seen:?}");
    }
}

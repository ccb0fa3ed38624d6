//! The next hop: greedy over neighbours and their neighbours, both ways round the ring, with a way out of dead ends.
//!
//! **Greedy.** A node knows its neighbours and their neighbours. It forwards to the link that *promises* to come nearest to
//! the target: by the neighbour itself, or by a neighbour of that one. The header carries the best promise so far as its
//! *bound*. A hop must promise better, or be the very node that was promised: so the bound falls at least at every second
//! hop, and a frame cannot loop, however stale the tables are. (Manku, Naor, Wieder: "Know thy neighbor's neighbor", STOC 2004.)
//!
//! **The end of the way.** The node whose successor owns the target hands the frame to that successor, flagged
//! [`LAST`](Flags::LAST); from there it only steps along the ring towards the target. Where these steps end at a node that has lost its
//! neighbours, a frame for one node is in a dead end like any other, and not flagged any more; that for the owner of a key stays flagged, for
//! who has lost all before it learns from the flag that it is the owner.
//!
//! **Dead ends.** Where no link promises better than the bound, the frame begins to keep a *trail* of the nodes that it visits
//! and goes to the best of the links not on it, nearer or not; a node with none left gives it back. As soon as a node
//! can promise better than the bound, the trail is dropped. The trail bounds the search to [`MAX_TRAIL`] nodes.

use super::links::{LinkId, Step};
use super::seat::Seat;
use super::timer::Time;
use super::{Phase, Proto, Routing};
use crate::id::Id;
use crate::wire::{Flags, Header, MAX_TRAIL, kind};

/// What becomes of a frame at this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    /// It is for this node.
    Deliver,
    /// It goes on over this link. Its header has been changed: write it back before sending.
    Forward(LinkId),
    /// It ends here undelivered.
    Drop(DropReason),
}

/// Why a frame went no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// It has taken all its hops.
    Expired,
    /// This node owns the arc of the id, and it is nobody's.
    Nobody,
    /// No link is left to try.
    NoWay,
    /// It came from a link to forward, and this node is a leaf or not yet a member.
    NotMember,
}

impl Proto {
    /// Decides about a routed frame that came over `from`, or from this node itself; changes its header for the next hop.
    ///
    /// This is all that forwarding takes. When the answer is [`Hop::Drop`], pass the header to [`Proto::report`].
    pub fn route(&mut self, header: &mut Header, from: Option<LinkId>, now: Time) -> Hop {
        if let Some(from) = from {
            self.links.hear(from, now);
        }
        let hop = self.next_hop(header, from.as_slice());
        match hop {
            Hop::Forward(_) if header.ttl == 0 => Hop::Drop(DropReason::Expired),
            Hop::Forward(_) => {
                header.ttl -= 1;
                hop
            }
            _ => hop,
        }
    }

    /// The first hop of a frame of this node's own: the best that is not among the `tried`, while there is one.
    pub(super) fn first_hop(&self, header: &mut Header, tried: &[LinkId]) -> Hop {
        for detour in [false, true].into_iter().filter(|_| !tried.is_empty()) {
            let mut other = header.clone();
            let hop = match detour {
                false => self.next_hop(&mut other, tried),
                true if self.config.is_classic() => break,
                // Where the way ends at the next node already, a detour may still lead around what is wrong with the link.
                true => self.greedy(&mut other, header.target(), tried),
            };
            let untried = match hop {
                Hop::Deliver => true,
                Hop::Forward(link) => !tried.contains(&link),
                Hop::Drop(_) => false,
            };
            if untried {
                *header = other;
                return hop;
            }
        }
        self.next_hop(header, &[])
    }

    /// `avoid`: the link that the frame came over, or those that were tried for a frame of this node's own.
    fn next_hop(&self, header: &mut Header, avoid: &[LinkId]) -> Hop {
        if let Some(via) = header.via.as_mut().filter(|via| via.to == self.me) {
            via.to = header.dst;
            header.bound = Id::MAX.number();
        }
        if !header.flags.has(Flags::KEY) {
            if header.dst == self.me {
                return Hop::Deliver;
            }
            if let Some(link) = self.links.link_to(header.dst) {
                return Hop::Forward(link);
            }
        }
        if self.phase != Phase::Member {
            return self.leave_from_outside(header, avoid);
        }
        let target = header.target();
        let exact = is_exact(header);
        if exact && let Some(link) = self.links.link_to(target) {
            return Hop::Forward(link);
        }
        if self.config.is_classic() {
            return self.chord_hop(header, target, exact, avoid);
        }
        // A neighbour says that it has a link to the target: it knows better than the arcs, which lag behind while nodes join.
        let usable = |seat: &Seat| seat.may_forward() && !avoid.contains(&seat.link);
        let promised = || self.links.places_leading_to(target).any(|place| usable(self.links.seat(place)));
        if exact && header.bound > 0 && promised() {
            return self.greedy(header, target, avoid);
        }
        #[cfg(feature = "known-bugs")]
        if let Some(hop) = self.past_target(header, target, exact, avoid) {
            return hop;
        }
        if let Some(hop) = self.finish(header, target, exact) {
            return hop;
        }
        self.greedy(header, target, avoid)
    }

    fn nearest_step(&self, target: Id, eligible: impl Fn(&Seat, Id) -> bool) -> Option<Step> {
        self.links.nearest(target, self.config.routing != Routing::BothWays, eligible)
    }

    /// The first hop of a frame of a node that is not a member: by the neighbour that promises best.
    fn leave_from_outside(&self, header: &mut Header, avoid: &[LinkId]) -> Hop {
        if !avoid.is_empty() && header.src != self.me {
            return Hop::Drop(DropReason::NotMember);
        }
        let step = self.nearest_step(header.target(), |seat, _| seat.is_member() && !avoid.contains(&seat.link));
        step.map_or(Hop::Drop(DropReason::NoWay), |step| Hop::Forward(step.link))
    }

    /// The end of the way, when it is near: the target lies in this node's arc, or in its successor's.
    fn finish(&self, header: &mut Header, target: Id, exact: bool) -> Option<Hop> {
        let here = if exact { Hop::Drop(DropReason::Nobody) } else { Hop::Deliver };
        let predecessor = self.ring.predecessor();
        let successor = self.ring.successor();
        if predecessor.is_none() && successor.is_none() && self.links.members().next().is_none() {
            return Some(here);
        }
        let last = header.flags.has(Flags::LAST);
        let before = header.flags.has(Flags::BEFORE) && !exact;
        // A node may own a key without knowing it until it is told so.
        let may_step = |peer: Id| !exact || !header.trail.contains(&peer);
        let step_to = |peer: Id| self.links.link_to(peer).filter(|_| may_step(peer)).map(Hop::Forward);

        if successor.is_some_and(|successor| target.is_in_arc(self.me, successor)) {
            if before {
                return Some(here);
            }
            let step = successor.and_then(step_to);
            // A key's owner is to hear of it though the frame comes another way.
            if step.is_some() || !exact {
                header.flags = header.flags.with(Flags::LAST);
            }
            return step;
        }
        let owned = target == self.me || predecessor.is_some_and(|before| target.is_in_arc(before, self.me));
        match (owned, before) {
            (true, false) => Some(here),
            (true, true) => {
                header.flags = header.flags.with(Flags::LAST);
                predecessor.and_then(step_to).or(Some(here))
            }
            // The node before says that this one owns the target; a predecessor that is nearer may not have told it yet. Where the nodes
            // before it have died, that of a key is so; but who is sought may live among them, and be reached from the other side.
            (false, false) if last && predecessor.is_none() && !exact => Some(here),
            (false, false) if last => predecessor
                .filter(|&nearer| target.is_in_arc(nearer, self.me) || nearer.is_between(target, self.me))
                .and_then(step_to),
            (false, true) if last => successor.filter(|&nearer| nearer.is_between(self.me, target)).and_then(step_to),
            _ => None,
        }
    }

    fn greedy(&self, header: &mut Header, target: Id, avoid: &[LinkId]) -> Hop {
        let fresh = |seat: &Seat, id: Id| !avoid.contains(&seat.link) && may_visit(seat, id, &header.trail);
        let bound = header.bound;
        let improves = |step: &Step| step.promise < bound || (step.direct && step.promise == bound);
        let reliable = self.nearest_step(target, |seat, id| !seat.is_suspect() && fresh(seat, id)).filter(improves);
        if let Some(step) = reliable.or_else(|| self.nearest_step(target, fresh).filter(improves)) {
            header.bound = step.promise;
            header.trail.clear();
            return Hop::Forward(step.link);
        }
        self.leave_dead_end(header, target)
    }

    /// Away from a dead end: to the best link not yet on the trail, or back.
    fn leave_dead_end(&self, header: &mut Header, target: Id) -> Hop {
        if is_exact(header) {
            header.flags = header.flags.without(Flags::LAST);
        }
        let mark = header.trail.iter().position(|&id| id == self.me);
        let mark = mark.unwrap_or_else(|| {
            header.trail.push(self.me);
            header.trail.len() - 1
        });
        if header.trail.len() >= MAX_TRAIL {
            return Hop::Drop(DropReason::NoWay);
        }
        let onward = self.nearest_step(target, |seat, id| may_visit(seat, id, &header.trail));
        if let Some(step) = onward {
            return Hop::Forward(step.link);
        }
        let back = header.trail[..mark].iter().rev().find_map(|&earlier| self.links.link_to(earlier));
        back.map_or(Hop::Drop(DropReason::NoWay), Hop::Forward)
    }

    /// Tells the source of a frame that was dropped, when it asked to be told.
    pub fn report(&mut self, header: &Header, reason: DropReason, now: Time) {
        self.stats.dropped += 1;
        if !header.flags.has(Flags::REPORT) || header.kind == kind::UNREACHABLE {
            return;
        }
        let nobody = reason == DropReason::Nobody;
        if header.src == self.me {
            return self.on_unreachable(header.dst, nobody, now);
        }
        let message = crate::wire::Message::Unreachable(crate::wire::Unreachable { peer: header.dst, nobody });
        self.send_to(header.src, header.answer_through(), Flags::default(), message, now);
    }
}

/// Whether a frame is for one node alone, and not for whoever owns a key.
fn is_exact(header: &Header) -> bool {
    !header.flags.has(Flags::KEY) || header.target() != header.dst
}

/// Whether a frame that has been to these nodes may be sent over this link, for the sake of a node that it leads to.
fn may_visit(seat: &Seat, leads_to: Id, trail: &[Id]) -> bool {
    seat.may_forward() && !trail.contains(&seat.peer) && !trail.contains(&leads_to)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, hears, linked, member};
    use super::*;
    use crate::wire::{Message, Neighbours, RingView};

    /// Links to members that know of nobody else.
    fn linked_members<const N: usize>(proto: &mut Proto, peers: [u64; N]) -> [LinkId; N] {
        peers.map(|peer| {
            let link = linked(proto, Id::new(peer));
            let neighbours = Neighbours { member: true, room: 0, ids: [].into() };
            hears(proto, link, Id::new(peer), Message::Neighbours(neighbours));
            link
        })
    }

    fn frame(to: u64, flags: Flags) -> Header {
        Header { flags, ..Header::new(kind::DATAGRAM, Id::new(200), Id::new(to)) }
    }

    const LAST: Flags = Flags::LAST;

    #[test]
    fn who_has_lost_its_predecessors_owns_their_keys_but_does_not_say_that_they_are_nobody() {
        let mut proto = member(100, 16);
        let [from, other] = linked_members(&mut proto, [200, 300]);
        assert_eq!(proto.route(&mut frame(90, LAST.with(Flags::KEY)), Some(from), NOW), Hop::Deliver);
        assert_eq!(proto.route(&mut frame(90, LAST), Some(from), NOW), Hop::Forward(other));
    }

    #[test]
    fn who_has_lost_its_predecessors_owns_its_own_id() {
        let mut proto = member(100, 16);
        let [from] = linked_members(&mut proto, [200]);
        assert_eq!(proto.predecessors(), []);
        assert_eq!(proto.route(&mut frame(100, Flags::KEY), Some(from), NOW), Hop::Deliver);
    }

    #[test]
    fn a_frame_in_a_dead_end_does_not_step_along_the_ring_to_where_it_was() {
        let mut proto = member(200, 16);
        let [before, after] = linked_members(&mut proto, [150, 300]);
        for (link, peer) in [(before, 150), (after, 300)] {
            let me = [Id::new(200)];
            let view =
                RingView { member: true, predecessors: me.into_iter().collect(), successors: me.into_iter().collect() };
            hears(&mut proto, link, Id::new(peer), Message::Ring(view.into()));
        }
        assert_eq!(proto.predecessors()[0], Id::new(150));
        let mut header = frame(140, LAST);
        assert_eq!(proto.route(&mut header.clone(), Some(after), NOW), Hop::Forward(before));
        header.trail.push(Id::new(150));
        header.bound = 1;
        assert_eq!(proto.route(&mut header, Some(before), NOW), Hop::Forward(after));
        assert!(!header.flags.has(LAST) && header.trail == [150, 200].map(Id::new), "{header:?}");
    }

    #[test]
    fn a_frame_is_not_at_its_end_where_there_is_no_link_to_the_successor() {
        let mut proto = member(200, 16);
        let [link, other] = linked_members(&mut proto, [150, 100]);
        let view = RingView {
            member: true,
            predecessors: [].into_iter().collect(),
            successors: [200, 300].map(Id::new).into_iter().collect(),
        };
        hears(&mut proto, link, Id::new(150), Message::Ring(view.into()));
        assert_eq!(proto.successors()[0], Id::new(300));
        let mut header = frame(250, Flags::default());
        assert_eq!(proto.route(&mut header, Some(other), NOW), Hop::Forward(link));
        assert!(!header.flags.has(LAST), "{header:?}");
    }
}

//! Predecessor and successor list: how a member keeps its place, after Zave's corrected Chord.
//!
//! A successor list is only ever copied whole from a live member ([`Proto::on_ring`]: *stabilize*), a predecessor only replaced
//! by a node that is nearer, or when the old one is dead (*rectify*). An entry counts as live while a link to it is open, so a node
//! holds links to the two nearest on each side ([`Proto::settle`]). Zave pads a list that lost an entry with one that is never
//! live; here the list is shorter instead, until the next copy fills it.
//!
//! Beyond Zave: the neighbours' lists of their neighbours are taken as hints of nearer nodes, as in T-Man (Jelasity et al.,
//! 2009). A hint is only dialled; it enters the list as any other member does, by its own view over an open link. This is what
//! makes hundreds of nodes that start at once one ring in a few round trips, and two rings that meet one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use rand::seq::IteratorRandom;

use super::failed::Verdict;
use super::links::{LinkId, Route};
use super::timer::{Time, Timer};
use super::{Event, Output, Phase, Proto};
use crate::id::Id;
use crate::wire::{MAX_PREDECESSORS, MAX_SUCCESSORS, Message, Purpose, RingView, Role};

/// Neighbours on each side that a node holds links to.
pub(super) const NEAR: usize = 2;

/// Neighbours on each side that were dialled in vain before and are dialled beside the others, at most.
const MAX_DOUBTFUL: usize = 2;

/// Hints kept between two reconciliations at most.
const MAX_HINTS: usize = 16;

/// A node that said farewell is not dialled again for so long, whatever the neighbours' lists still say.
const GONE_FOR: Duration = Duration::from_secs(10);

/// Every so many checks, the signalling server is asked for members that might belong to another ring.
const CHECKS_PER_SAMPLE: u32 = 3;

/// How much of the view the neighbours have not been told of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
enum Untold {
    #[default]
    Nothing,
    /// The part of the successor list that only the predecessor copies.
    Far,
    /// Who the nearest on either side are.
    Near,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ring {
    /// The nearest first, at most [`NEAR`].
    pub(super) predecessors: ArrayVec<Id, MAX_PREDECESSORS>,
    /// The nearest first.
    pub(super) successors: ArrayVec<Id, MAX_SUCCESSORS>,
    /// Nodes that may be nearer, and the member of another ring through which to reach them.
    hints: Vec<(Id, Option<Id>)>,
    /// What the neighbours were last told of: their answer may be due.
    told: Option<(Option<Id>, Option<Id>)>,
    /// Nearer nodes with a link that were asked for their view since the last stabilization, at most [`NEAR`]. Asked after each view that
    /// comes, two that the successor does not know of would double the frames on their way, for ever.
    asked: Vec<Id>,
    untold: Untold,
    /// The nearest nodes may not be those that have links.
    unsettled: bool,
    checks: u32,
}

impl Ring {
    pub(super) fn predecessor(&self) -> Option<Id> {
        self.predecessors.first().copied()
    }

    pub(super) fn successor(&self) -> Option<Id> {
        self.successors.first().copied()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.predecessors.is_empty() && self.successors.is_empty()
    }

    pub(super) fn hint(&mut self, id: Id, through: Option<Id>) {
        self.unsettled = true;
        if self.hints.len() < MAX_HINTS && self.hints.iter().all(|&(known, _)| known != id) {
            self.hints.push((id, through));
        }
    }

    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// The neighbours are to be told of the view, changed or not.
    pub(super) fn announce(&mut self) {
        self.untold = Untold::Near;
    }

    pub(super) fn replace(&mut self, predecessors: Vec<Id>, successors: Vec<Id>) {
        let near = |list: &[Id]| list.iter().copied().take(NEAR).collect::<Vec<_>>();
        if *self.predecessors != predecessors || near(&self.successors) != near(&successors) {
            self.untold = Untold::Near;
        } else if *self.successors != successors {
            self.untold = self.untold.max(Untold::Far);
        } else {
            return;
        }
        (self.predecessors, self.successors) = (first_of(&predecessors), first_of(&successors));
        self.unsettled = true;
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn prefetch(&self) {
        prefetch_index::prefetch_index(std::slice::from_ref(&self.predecessors), 0);
        prefetch_index::prefetch_index(std::slice::from_ref(&self.successors), 0);
        // Its length stands at its end.
        prefetch_index::prefetch_index(std::slice::from_ref(&self.successors), 1);
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn prefetch_more(&self) {
        prefetch_index::prefetch_index(std::slice::from_ref(&self.asked), 0);
        prefetch_index::prefetch_index(std::slice::from_ref(&self.told), 0);
    }

    #[cfg(feature = "known-bugs")]
    fn remove_successor(&mut self, id: Id) {
        let rest = self.successors.iter().copied().filter(|&entry| entry != id).collect();
        self.replace(self.predecessors.to_vec(), rest);
    }

    fn remove_predecessor(&mut self, id: Id) {
        let rest = self.predecessors.iter().copied().filter(|&entry| entry != id).collect();
        self.replace(rest, self.successors.to_vec());
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.hints.capacity() * size_of::<(Id, Option<Id>)>()
    }

    fn remove(&mut self, id: Id) {
        let without = |list: &[Id]| list.iter().copied().filter(|&entry| entry != id).collect();
        self.replace(without(&self.predecessors), without(&self.successors));
    }

    /// What was told last decides about an event only; hints live no longer than one input.
    #[cfg(feature = "model")]
    pub(super) fn hash_untimed(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.predecessors, &self.successors, self.untold, self.unsettled).hash(hasher);
        (self.checks % CHECKS_PER_SAMPLE).hash(hasher);
    }

    fn close_to_home(&self) -> impl Iterator<Item = Id> {
        self.successors.iter().take(NEAR).chain(&*self.predecessors).copied()
    }
}

impl Proto {
    /// What this node tells of the ring.
    pub(super) fn view(&self) -> Arc<RingView> {
        Arc::new(RingView {
            member: self.phase == Phase::Member,
            predecessors: first_of(&self.ring.predecessors),
            successors: first_of(&self.ring.successors),
        })
    }

    pub(super) fn send_ring(&mut self, link: LinkId) {
        let view = self.view();
        self.send_on(link, Message::Ring(view));
    }

    /// A neighbour told its view of the ring: stabilize from it and, when it believes to be the predecessor, rectify.
    pub(super) fn on_ring(&mut self, link: LinkId, peer: Id, view: &RingView, now: Time) {
        self.set_member(link, view.member, now);
        let is_member = self.links.seat_of(link).is_some_and(|seat| seat.is_member());
        // A node that knows its place but is no member yet stabilizes as if it were: the ring moves on while it joins.
        let placed = self.phase == Phase::Member || self.joining.placed;
        if !is_member || !placed {
            return;
        }
        for &id in view.predecessors.iter().chain(&*view.successors).filter(|&&id| id != self.me) {
            if self.is_nearer(id) {
                self.ring.hint(id, None);
            }
        }
        self.forget_the_lost(peer, view, now);
        self.joining.introduced |= view.successors.first() == Some(&self.me);
        let (predecessors, successors) = (self.rectified(peer, view), self.stabilized(peer, view));
        if predecessors.is_some() || successors.is_some() {
            let predecessors = predecessors.unwrap_or_else(|| self.ring.predecessors.to_vec());
            let successors = successors.unwrap_or_else(|| self.ring.successors.to_vec());
            self.ring.replace(predecessors, successors);
        }
    }

    /// Forgets the successors that no link could be opened to, and that `peer`, who stands behind them, does not know either. It would: a
    /// node that lives tells its successor of itself. A link that did not open is not enough, for a hop on the way may be what is dead:
    /// a node would forget living successors, in the end the last.
    fn forget_the_lost(&mut self, peer: Id, view: &RingView, now: Time) {
        if self.failed.is_empty() || self.hears_no_successor() {
            return;
        }
        let row: Vec<Id> = [peer].into_iter().chain(view.predecessors.iter().copied()).collect();
        // One without a predecessor knows whom it has lost, but not from how far: it counts only where it is the next that lives.
        let next = row.len() == 1 && self.live_successor() == Some(peer);
        let leaves_out = |id: Id| next || row.windows(2).any(|pair| id.is_between(pair[1], pair[0]));
        let unknown = |id: Id| id.is_between(self.me, peer) && leaves_out(id);
        let lost = |&id: &Id| self.failed.is_lost(id) && !self.links.is_open_to(id) && unknown(id);
        for id in self.ring.successors.iter().copied().filter(lost).collect::<Vec<_>>() {
            self.failed.confirm_gone(id, self.config.dead_after, now);
            self.forget_neighbour(id);
        }
    }

    /// Whether all successors with a link are silent: the ring is about to change, and what stands in the lists of others is old as well.
    fn hears_no_successor(&self) -> bool {
        let mut linked = self
            .ring
            .successors
            .iter()
            .filter_map(|&id| self.links.seat_to(id))
            .filter(|seat| seat.is_open())
            .peekable();
        linked.peek().is_some() && linked.all(|seat| seat.is_suspect())
    }

    /// No link to a neighbour opened. As a predecessor it is not needed; of a successor, the next member behind it knows whether it lives.
    pub(super) fn miss_neighbour(&mut self, peer: Id) {
        #[cfg(feature = "known-bugs")]
        let rectifies = !self.has(super::KnownBug::NotifyWithoutRectify);
        #[cfg(not(feature = "known-bugs"))]
        let rectifies = true;
        if rectifies {
            self.ring.remove_predecessor(peer);
        }
        let behind = self.links.members().min_by_key(|seat| peer.clockwise_to(seat.peer)).map(|seat| seat.link);
        if let Some(link) = behind.filter(|_| self.ring.successors.contains(&peer)) {
            self.send_on(link, Message::AskRing);
        }
    }

    /// The successor list after hearing `peer`: its list behind it, when it is the first live successor or nearer than that.
    fn stabilized(&self, peer: Id, view: &RingView) -> Option<Vec<Id>> {
        let copied = [peer].into_iter().chain(view.successors.iter().copied());
        let old = &self.ring.successors;
        match self.live_successor() {
            // No news, mostly.
            Some(live) if live == peer && old.first() == Some(&peer) && self.continues(view) => None,
            Some(live) if live == peer => {
                let not_live = old.iter().copied().take_while(|&id| id != peer);
                Some(self.successor_list(not_live.chain(copied).chain(self.left_out(peer, view))))
            }
            Some(live) if !peer.is_between(self.me, live) => None,
            // Behind the last, it would leave out those between: a list that goes on beyond what it knows is worse than a short one.
            None if old.last().is_some_and(|&last| !peer.is_between(self.me, last) && peer != last) => None,
            _ => Some(self.successor_list(copied.chain(old.iter().copied()))),
        }
    }

    /// Whether the successor list is the first successor and then the list in this view of it.
    fn continues(&self, view: &RingView) -> bool {
        let others = view.successors.iter().filter(|&&id| id != self.me);
        self.ring.successors.iter().skip(1).eq(others.take(self.config.successors - 1))
    }

    /// The successors with a link that the list of `peer` steps over, for it had not heard of them yet. The list may be old: where all in it
    /// have died since, they are what is left.
    fn left_out(&self, peer: Id, view: &RingView) -> impl Iterator<Item = Id> {
        let last = match view.successors.contains(&self.me) {
            true => self.me,
            false => view.successors.last().copied().unwrap_or(peer),
        };
        let linked = |id: Id| self.links.is_open_to_member(id);
        let listed = self.ring.successors.iter().copied();
        listed.filter(move |&id| peer != last && id.is_between(peer, last) && linked(id))
    }

    /// The first in the list with an open link.
    pub(super) fn live_successor(&self) -> Option<Id> {
        self.ring.successors.iter().copied().find(|&id| self.links.is_open_to_member(id))
    }

    /// The predecessors after hearing `peer`, when it is the predecessor or believes to be and is right.
    fn rectified(&self, peer: Id, view: &RingView) -> Option<Vec<Id>> {
        // Whoever stands behind this node in a list has gone once around the ring: its own word comes back, dead nodes and all.
        let behind = view.predecessors.iter().copied().take_while(|&id| id != self.me).filter(|&id| id != peer);
        let old = self.ring.predecessor();
        let believes = view.successors.first() == Some(&self.me);
        let nearer = old.is_none_or(|old| peer.is_between(old, self.me) || !self.links.is_open_to(old));
        #[cfg(feature = "known-bugs")]
        let nearer = nearer && (!self.has(super::KnownBug::NotifyWithoutRectify) || self.was_notified_in_2001(peer));
        (old == Some(peer) || (believes && nearer)).then(|| [peer].into_iter().chain(behind).take(NEAR).collect())
    }

    /// The ids in the order in which they follow this node, without those known to be gone, cut to the list's length.
    pub(super) fn successor_list(&self, ids: impl Iterator<Item = Id>) -> Vec<Id> {
        let mut list: Vec<Id> =
            ids.filter(|&id| id != self.me && (!self.failed.is_gone(id) || self.links.is_open_to(id))).collect();
        list.sort_unstable_by_key(|&id| self.me.clockwise_to(id));
        list.dedup();
        list.truncate(self.config.successors);
        list
    }

    /// Whether `id` is nearer than the last neighbour on either side that is to have a link.
    pub(super) fn is_nearer(&self, id: Id) -> bool {
        let than = |list: &[Id], linked: usize, distance: &dyn Fn(Id) -> u64| {
            list.get(linked - 1).is_none_or(|&last| distance(id) < distance(last)) && !list.contains(&id)
        };
        than(&self.ring.successors, self.config.linked_successors, &|id| self.me.clockwise_to(id))
            || than(&self.ring.predecessors, NEAR, &|id| id.clockwise_to(self.me))
    }

    /// Whether the neighbours that are to have a link have one.
    pub(super) fn has_near_links(&self) -> bool {
        let (before, after) = (self.ring.predecessors.iter(), self.ring.successors.iter());
        let mut near = before.chain(after.take(self.config.linked_successors));
        near.all(|&id| self.links.is_open_to(id))
    }

    pub(super) fn set_member(&mut self, link: LinkId, member: bool, now: Time) {
        let Some(seat) = self.links.seat_of(link).filter(|seat| seat.role() == Role::Member) else { return };
        if seat.is_member() != member {
            let peer = seat.peer;
            self.links.update(link, |link| link.member = member);
            self.ring.unsettle();
            self.gossip_soon(now);
            if !member {
                // It joins anew, and needs a place between members: no list is to hold it until it is one.
                self.forget_neighbour(peer);
                if self.links.members().next().is_none() {
                    self.on_isolated(false, now);
                }
            } else if self.phase == Phase::Joining && !self.joining.placed {
                self.find_place(None, now);
            }
        }
    }

    /// A neighbour leaves properly: close the ring over it at once, with what it knew.
    pub(super) fn on_leave(&mut self, link: LinkId, peer: Id, view: &RingView, now: Time) {
        if self.ring.successor() == Some(peer) {
            let rest = self.ring.successors.iter().chain(&*view.successors).copied().filter(|&id| id != peer);
            let successors = self.successor_list(rest);
            self.ring.replace(self.ring.predecessors.to_vec(), successors);
        }
        for &id in view.predecessors.iter().chain(&*view.successors).filter(|&&id| id != self.me) {
            self.ring.hint(id, None);
        }
        self.failed.insert(peer, Verdict::Gone, GONE_FOR, now);
        self.on_farewell(link, peer, now);
    }

    /// No link leads to this node any more, or it is no member any more.
    pub(super) fn forget_neighbour(&mut self, peer: Id) {
        #[cfg(feature = "known-bugs")]
        if self.has(super::KnownBug::NotifyWithoutRectify) {
            self.ring.unsettle();
            return self.ring.remove_successor(peer);
        }
        self.joining.introduced &= self.ring.predecessor() != Some(peer);
        self.ring.remove(peer);
        self.ring.unsettle();
    }

    /// After every input: dial the nearest nodes that have no link yet, tell the neighbours what has changed.
    pub(super) fn settle(&mut self, now: Time) {
        if self.failed.expire(now) {
            self.ring.unsettle();
        }
        self.try_to_become_member(now);
        if std::mem::take(&mut self.ring.unsettled) && (self.phase == Phase::Member || self.joining.placed) {
            self.dial_nearest(now);
        }
        self.ring.hints = Vec::new();
        let untold = std::mem::take(&mut self.ring.untold);
        if untold > Untold::Nothing {
            self.tell_ring(untold);
            self.store_on_ring_changed(now);
            self.channels_on_ring_changed(now);
        }
    }

    fn dial_nearest(&mut self, now: Time) {
        let hints = std::mem::take(&mut self.ring.hints);
        for clockwise in [true, false] {
            for (place, id) in self.nearest(clockwise, &hints).into_iter().enumerate() {
                let through = hints.iter().find(|&&(hint, _)| hint == id).and_then(|&(_, through)| through);
                // With no neighbour left on a side, the ring may have come apart there: only the server leads to the other part then.
                let apart = self.failed.is_lost(id) && !self.has_link_on(clockwise);
                let by_id = if apart { Route::Signalling } else { Route::Ring(None) };
                let route = through.map_or(by_id, Route::Through);
                self.want(id, Purpose::Ring, route, now);
                // A nearer node with a link is not in the list yet: only its own word brings it there.
                let asks = clockwise && place < NEAR && self.config.repair_at_once;
                let unheard = asks && self.links.is_open_to_member(id) && self.would_list(id);
                if unheard
                    && let Some(link) = self.links.link_to(id)
                    && self.ring.asked.len() < NEAR
                    && !self.ring.asked.contains(&id)
                {
                    self.ring.asked.push(id);
                    self.send_on(link, Message::AskRing);
                }
            }
        }
    }

    fn has_link_on(&self, clockwise: bool) -> bool {
        let predecessors = &self.ring.predecessors;
        if clockwise {
            self.live_successor().is_some()
        } else {
            predecessors.iter().any(|&id| self.links.is_open_to(id))
        }
    }

    /// Whether the word of this node would bring it into the list. One behind the live successor comes with that one's list: to
    /// ask it would change nothing, and its answer make this node ask again.
    fn would_list(&self, id: Id) -> bool {
        let nearer = self.live_successor().is_none_or(|live| id.is_between(self.me, live));
        let old = &self.ring.successors;
        nearer && !old.contains(&id) && self.successor_list(old.iter().copied().chain([id])).contains(&id)
    }

    /// The nearest nodes on one side that are not known to be gone, linked or not.
    fn nearest(&self, clockwise: bool, hints: &[(Id, Option<Id>)]) -> Vec<Id> {
        let count = if clockwise { self.config.linked_successors } else { NEAR };
        let usable = |&id: &Id| id != self.me && (!self.failed.has(id) || self.links.has(id));
        let listed = self.ring.successors.iter().chain(&*self.ring.predecessors).copied();
        let hinted = hints.iter().map(|&(id, _)| id);
        let most = count + MAX_DOUBTFUL;
        let reachable = self.links.reachable(clockwise).filter(usable).take(most);
        let distance = |id: Id| if clockwise { self.me.clockwise_to(id) } else { id.clockwise_to(self.me) };
        let mut ids: Vec<Id> = Vec::with_capacity(most + 1);
        for id in listed.chain(hinted).filter(usable).chain(reachable) {
            let at = ids.partition_point(|&nearer| distance(nearer) < distance(id));
            if at < most && ids.get(at) != Some(&id) {
                ids.insert(at, id);
                ids.truncate(most);
            }
        }
        // Where one was dialled in vain before, the next is dialled beside it.
        let mut sure = 0;
        let surely = |&id: &Id| !self.failed.failed_before(id) || self.links.is_open_to(id);
        let beyond = ids.iter().position(|id| {
            sure += usize::from(surely(id));
            sure == count
        });
        ids.truncate(beyond.map_or(most, |last| last + 1));
        ids
    }

    fn tell_ring(&mut self, untold: Untold) {
        let now_told = (self.ring.predecessor(), self.ring.successor());
        if self.ring.told.replace(now_told) != Some(now_told) {
            self.event(Event::RingChanged { predecessor: now_told.0, successor: now_told.1 });
        }
        if self.phase != Phase::Member || !self.config.repair_at_once {
            return;
        }
        let link_to = |&peer: &Id| self.links.link_to(peer);
        let links: Vec<LinkId> = match untold {
            Untold::Near => self.ring.close_to_home().collect::<BTreeSet<Id>>().iter().filter_map(link_to).collect(),
            _ => self.ring.predecessors.iter().find_map(link_to).into_iter().collect(),
        };
        let view = self.view();
        for link in links {
            self.send_on(link, Message::Ring(Arc::clone(&view)));
        }
    }

    /// Whether the ring needs this link: to one of the two nearest on either side, by the lists or among the links.
    pub(super) fn is_near(&self, peer: Id) -> bool {
        if self.ring.close_to_home().any(|id| id == peer) {
            return true;
        }
        self.is_near_among(peer, self.links.members().map(|seat| seat.peer))
    }

    /// Whether fewer than [`NEAR`] of these others stand nearer on one side.
    pub(super) fn is_near_among(&self, peer: Id, others: impl Iterator<Item = Id> + Clone) -> bool {
        [true, false].into_iter().any(|clockwise| {
            let distance = |id: Id| if clockwise { self.me.clockwise_to(id) } else { id.clockwise_to(self.me) };
            others.clone().filter(|&other| distance(other) < distance(peer)).nth(NEAR - 1).is_none()
        })
    }

    pub(super) fn on_stabilize_timer(&mut self, now: Time) {
        if self.phase != Phase::Member {
            return;
        }
        let every = self.jittered(self.config.stabilize_every);
        self.timers.set(Timer::Stabilize, now.after(every));
        if let Some(link) = self.live_successor().and_then(|peer| self.links.link_to(peer)) {
            self.send_ring(link);
            self.send_on(link, Message::AskRing);
        }
        self.ring.asked.clear();
        self.ring.unsettle();
    }

    /// Looks this node's own place up over some distant link: finds the other ring when there are two.
    pub(super) fn on_check_timer(&mut self, now: Time) {
        if self.phase != Phase::Member {
            return;
        }
        let every = self.jittered(self.config.check_every);
        self.timers.set(Timer::Check, now.after(every));
        if self.ring.checks.is_multiple_of(CHECKS_PER_SAMPLE) {
            self.outputs.push_back(Output::FindMembers);
        }
        self.ring.checks = self.ring.checks.wrapping_add(1);
        if let Some(link) = self.random_member_link() {
            self.find_place(Some(link), now);
        }
        self.release_spare_links(now);
    }

    /// A lookup, over a link of its own choice, says where this member's place is.
    pub(super) fn on_place_confirmed(&mut self, before: Id, view: &RingView, asked: Option<Id>) {
        let through = asked.filter(|&through| through != before);
        let nearby = [before].into_iter().chain(view.successors.iter().copied().take(NEAR));
        for id in nearby.filter(|&id| id != self.me) {
            if self.is_nearer(id) {
                self.ring.hint(id, through);
            }
        }
    }

    /// A member with an open link, drawn at random.
    fn random_member_link(&mut self) -> Option<LinkId> {
        self.links.members().map(|seat| seat.link).choose(&mut self.rng)
    }
}

/// As many as there is room for.
fn first_of<const N: usize>(ids: &[Id]) -> ArrayVec<Id, N> {
    let mut first = ArrayVec::new();
    let whole = first.try_extend_from_slice(&ids[..ids.len().min(N)]);
    debug_assert!(whole.is_ok(), "there is room for them");
    first
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hears, linked, member, outputs};
    use super::*;
    use crate::wire::Frame;

    fn view(predecessors: &[u64], successors: &[u64]) -> Message {
        let predecessors = predecessors.iter().copied().map(Id::new).collect();
        let successors = successors.iter().copied().map(Id::new).collect();
        Message::Ring(Arc::new(RingView { member: true, predecessors, successors }))
    }

    /// Who is told of the ring when the successor 110 of 100, which stands between 80, 90, 110 and 120, says that these follow it.
    fn told_when_the_successor_says(successors: &[u64]) -> Vec<Id> {
        let mut proto = member(100, 16);
        let views = [
            (80, view(&[], &[90])),
            (90, view(&[80], &[100])),
            (110, view(&[100], &[120, 80, 90])),
            (120, view(&[110], &[])),
        ];
        let links = views.each_ref().map(|&(peer, _)| linked(&mut proto, Id::new(peer)));
        for (link, (peer, view)) in links.into_iter().zip(views) {
            hears(&mut proto, link, Id::new(peer), view);
        }
        outputs(&mut proto);
        let link = proto.links.open_to(Id::new(110)).expect("a link").id;
        hears(&mut proto, link, Id::new(110), view(&[100], successors));
        let told = |output| match output {
            Output::Send { frame: Frame { header, message: Message::Ring(_) }, .. } => Some(header.dst),
            _ => None,
        };
        outputs(&mut proto).into_iter().filter_map(told).collect()
    }

    #[test]
    fn only_the_predecessor_hears_of_a_change_far_down_the_list() {
        assert_eq!(told_when_the_successor_says(&[120, 130, 80, 90]), [Id::new(90)]);
    }

    #[test]
    fn the_nearest_hear_of_a_change_among_them() {
        assert_eq!(told_when_the_successor_says(&[115, 120, 80, 90]), [80, 90, 110].map(Id::new));
    }

    #[test]
    fn what_is_no_news_is_told_to_nobody() {
        assert_eq!(told_when_the_successor_says(&[120, 80, 90]), []);
    }
}

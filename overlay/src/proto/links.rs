//! The table of links: one place for each, being set up or open, and who can be reached through whom.

use super::seat::Seat;
use super::timer::Time;
use crate::id::Id;
use crate::wire::{Purpose, Role};

/// Names one link of one node; given to another only after 65,535 further links.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

impl LinkId {
    fn new(number: u16, place: u16) -> Self {
        LinkId(u32::from(number) << 16 | u32::from(place))
    }

    /// The place of the link in the node's table: below the budget of links, and no other link's at the same time.
    pub const fn place(self) -> usize {
        self.0 as usize & 0xffff
    }
}

/// How the two ends of a link that is being set up speak to each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Route {
    /// Over the ring; through this neighbour of the peer, when the peer is not a member.
    Ring(Option<Id>),
    /// Through this member of another ring that is about to merge with this one; the answers come the same way.
    Through(Id),
    /// Through the signalling server.
    Signalling,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum State {
    /// The peer was asked.
    Requested,
    /// The peer has agreed, or was told so: descriptions go back and forth.
    Connecting,
    /// Frames can be sent.
    Open,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) peer: Id,
    pub(super) role: Role,
    /// What the side that dialled wanted it for.
    pub(super) purpose: Purpose,
    /// Whether this side dialled.
    pub(super) dialled: bool,
    pub(super) attempt: u32,
    pub(super) route: Route,
    pub(super) state: State,
    /// When the present state began.
    pub(super) since: Time,
    /// Until when it must open.
    pub(super) deadline: Time,
    /// Whether the peer has said that it is a member of the ring.
    pub(super) member: bool,
    /// Whether the other end has sent a description.
    pub(super) described: bool,
    /// Whether anything has come over it.
    pub(super) heard: bool,
    /// Silent for too long to be relied on.
    pub(super) suspect: bool,
}

impl Link {
    /// A link with a member that this node has been asked for, or is about to ask for.
    pub(super) fn new(id: LinkId, peer: Id, purpose: Purpose, attempt: u32, route: Route, now: Time) -> Self {
        Link {
            id,
            peer,
            role: Role::Member,
            purpose,
            dialled: false,
            attempt,
            route,
            state: State::Requested,
            since: now,
            deadline: now,
            member: false,
            described: false,
            heard: false,
            suspect: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

/// A member that can be reached: itself a neighbour, or a neighbour's neighbour. Packed: the id, then the place of the link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Reach(u64);

impl Reach {
    fn new(id: Id, place: usize) -> Self {
        Reach(id.number() << 16 | place as u64)
    }

    fn id(self) -> Id {
        Id::new(self.0 >> 16)
    }

    fn place(self) -> usize {
        usize::from(self.0 as u16)
    }
}

/// The best first step towards a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// The link to take.
    pub(super) link: LinkId,
    /// The distance to the target of the best node that it leads to, in one step or two.
    pub(super) promise: u64,
    /// Whether that node is the neighbour itself.
    pub(super) direct: bool,
}

/// Entries of the table of who can be reached that room is kept for, at most.
const SLACK: usize = 32;

/// Places that the table grows by: a node seldom has a use for twice as many as it had.
const GROWTH: usize = 4;

/// Seats that stand in the table itself. Where a million nodes take turns, each further place in memory costs one more translation of an
/// address, more than many lines beside each other.
#[cfg(feature = "prefetch")]
const INLINE: usize = 16;
#[cfg(feature = "prefetch")]
type Seats = smallvec::SmallVec<[Seat; INLINE]>;

#[cfg(not(feature = "prefetch"))]
const INLINE: usize = 0;
#[cfg(not(feature = "prefetch"))]
type Seats = Vec<Seat>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Links {
    places: Vec<Option<Link>>,
    /// By place, as far as there is room for: what is asked most of the link there. Who looks for one link looks here, and at no other.
    seats: Seats,
    /// Sorted.
    reach: Vec<Reach>,
    me: Reach,
    /// The entries that all but the first eighth of the table begin with, once there are eight. Most searches end in one part of it, and
    /// these say in which without a look at the others.
    marks: [Reach; 7],
    /// The number of entries before this node's own id.
    home: u32,
    /// Places that are taken.
    taken: u16,
    max: u16,
    /// Links so far, modulo 2^16.
    count: u16,
}

impl Links {
    pub(super) fn new(me: Id, max: usize) -> Self {
        let max = u16::try_from(max).unwrap_or(u16::MAX);
        let (places, seats, reach, marks) = (Vec::new(), Seats::new(), Vec::new(), [Reach(0); 7]);
        Links { places, seats, reach, me: Reach::new(me, 0), marks, home: 0, taken: 0, max, count: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> + Clone {
        self.places.iter().flatten()
    }

    /// What is asked most of all links.
    pub(super) fn seats(&self) -> impl Iterator<Item = &Seat> + Clone {
        self.seats.iter().filter(|seat| seat.is_taken())
    }

    /// The same of those that are open.
    pub(super) fn open(&self) -> impl Iterator<Item = &Seat> + Clone {
        self.seats.iter().filter(|seat| seat.is_open())
    }

    /// The same of open links to members of the ring.
    pub(super) fn members(&self) -> impl Iterator<Item = &Seat> + Clone {
        self.seats.iter().filter(|seat| seat.is_open_to_member())
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.taken)
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken >= self.max
    }

    pub(super) fn max(&self) -> usize {
        usize::from(self.max)
    }

    pub(super) fn at(&self, place: usize) -> Option<&Link> {
        self.places.get(place)?.as_ref()
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.at(id.place()).filter(|link| link.id == id)
    }

    /// Changes a link, and gives what the change gives. `None`: there is no such link.
    pub(super) fn update<T>(&mut self, id: LinkId, change: impl FnOnce(&mut Link) -> T) -> Option<T> {
        let link = self.places.get_mut(id.place())?.as_mut().filter(|link| link.id == id)?;
        let result = change(link);
        self.seats[id.place()].follow(link);
        Some(result)
    }

    /// Something has come over a link. Gives the peer.
    pub(super) fn hear(&mut self, id: LinkId, now: Time) -> Option<Id> {
        let seat = self.seat_mut(id)?;
        seat.heard_at = now;
        let seat = *seat;
        if !seat.is_lively() {
            self.update(id, |link| (link.heard, link.suspect) = (true, false));
        }
        Some(seat.peer)
    }

    /// What holds of the link in this place.
    pub(super) fn seat(&self, place: usize) -> &Seat {
        self.seats.get(place).unwrap_or(&Seat::FREE)
    }

    /// What holds of this link.
    pub(super) fn seat_of(&self, id: LinkId) -> Option<&Seat> {
        self.seats.get(id.place()).filter(|seat| seat.link == id)
    }

    /// To change what stands in the seat alone.
    pub(super) fn seat_mut(&mut self, id: LinkId) -> Option<&mut Seat> {
        self.seats.get_mut(id.place()).filter(|seat| seat.link == id)
    }

    /// The link to this peer, open or not.
    pub(super) fn to(&self, peer: Id) -> Option<&Link> {
        self.at(self.seat_to(peer)?.link.place())
    }

    /// What holds of the link to this peer, open or not.
    pub(super) fn seat_to(&self, peer: Id) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.leads_to(peer))
    }

    pub(super) fn open_to(&self, peer: Id) -> Option<&Link> {
        self.to(peer).filter(|link| link.is_open())
    }

    /// The open link to this peer.
    pub(super) fn link_to(&self, peer: Id) -> Option<LinkId> {
        self.seat_to(peer).filter(|seat| seat.is_open()).map(|seat| seat.link)
    }

    /// The places of the links that lead to this node: its own, or one to a neighbour of it.
    pub(super) fn places_leading_to(&self, peer: Id) -> impl Iterator<Item = usize> {
        let reached = self.reach[self.reach_from(peer)..].iter().take_while(move |reach| reach.id() == peer);
        reached.map(|reach| reach.place())
    }

    /// The members that this link leads to: the peer and its neighbours.
    pub(super) fn led_to_by(&self, link: LinkId) -> impl Iterator<Item = Id> {
        self.reach.iter().filter(move |reach| reach.place() == link.place()).map(|reach| reach.id())
    }

    /// Whether there is a link to this peer, open or not.
    pub(super) fn has(&self, peer: Id) -> bool {
        self.seat_to(peer).is_some()
    }

    pub(super) fn is_open_to(&self, peer: Id) -> bool {
        self.link_to(peer).is_some()
    }

    /// Whether there is an open link to this peer, and the peer is a member.
    pub(super) fn is_open_to_member(&self, peer: Id) -> bool {
        self.seat_to(peer).is_some_and(Seat::is_open_to_member)
    }

    /// Takes a place. The caller has made room.
    pub(super) fn insert(&mut self, link: impl FnOnce(LinkId) -> Link) -> LinkId {
        debug_assert!(!self.is_full(), "room was made before a place is taken");
        let place = self.seats[..self.places.len()].iter().position(|seat| !seat.is_taken()).unwrap_or_else(|| {
            if self.places.len() == self.seats.len() {
                self.places.reserve_exact(GROWTH);
                self.seats.reserve_exact(GROWTH);
                self.seats.resize(self.places.len() + GROWTH, Seat::FREE);
            }
            self.places.push(None);
            self.places.len() - 1
        });
        let id = LinkId::new(self.count, place as u16);
        self.count = self.count.wrapping_add(1);
        self.taken += 1;
        let link = link(id);
        self.seats[place] = Seat::of(&link);
        self.places[place] = Some(link);
        id
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.get(id)?;
        let place = id.place();
        self.retain_reach(|reach| reach.place() != place);
        self.mark();
        self.taken -= 1;
        self.seats[place] = Seat::FREE;
        self.places[place].take()
    }

    /// Notes whom an open link leads to: the peer itself and, from its own list, its neighbours.
    pub(super) fn set_reach(&mut self, id: LinkId, neighbours: &[Id]) {
        let Some(peer) = self.seat_of(id).map(|seat| seat.peer) else { return };
        let place = id.place();
        let others = neighbours.iter().copied().filter(|&id| id != self.me.id() && id != peer);
        let mut new: Vec<Reach> = Vec::with_capacity(neighbours.len() + 1);
        new.extend([peer].into_iter().chain(others).map(|id| Reach::new(id, place)));
        new.sort_unstable();
        new.dedup();
        // What stays is left where it is; of the new, those that are missing are gathered at the front.
        let (mut next, mut missing) = (0, 0);
        self.retain_reach(|reach| {
            if reach.place() != place {
                return true;
            }
            while next < new.len() && new[next] < reach {
                new[missing] = new[next];
                (next, missing) = (next + 1, missing + 1);
            }
            let stays = new.get(next) == Some(&reach);
            next += usize::from(stays);
            stays
        });
        let rest = next..new.len();
        let count = missing + rest.len();
        new.copy_within(rest, missing);
        self.insert_reach(&new[..count]);
    }

    pub(super) fn home(&self) -> usize {
        self.home as usize
    }

    fn retain_reach(&mut self, mut stays: impl FnMut(Reach) -> bool) {
        let (mut home, me) = (self.home, self.me);
        self.reach.retain(|&reach| {
            let stays = stays(reach);
            home -= u32::from(!stays && reach < me);
            stays
        });
        self.home = home;
    }

    /// Merges in what is sorted, from the back.
    fn insert_reach(&mut self, new: &[Reach]) {
        self.home += new.partition_point(|&reach| reach < self.me) as u32;
        let (mut read, count) = (self.reach.len(), new.len());
        // A table of about the exact size, for it is most of what a node remembers.
        if self.reach.capacity() < read + count {
            self.reach.reserve_exact(count.max(SLACK / 2));
        }
        self.reach.shrink_to(read + count + SLACK);
        let mut write = read + count;
        self.reach.resize(write, Reach(0));
        for &reach in new.iter().rev() {
            while read > 0 && self.reach[read - 1] > reach {
                (read, write) = (read - 1, write - 1);
                self.reach[write] = self.reach[read];
            }
            write -= 1;
            self.reach[write] = reach;
        }
        self.mark();
    }

    /// Notes where the parts of the table begin.
    fn mark(&mut self) {
        let step = self.reach.len() / 8;
        if step > 0 {
            self.marks = std::array::from_fn(|part| self.reach[(part + 1) * step]);
        }
    }

    /// The ids of members that can be reached in one step or two, from this node clockwise or counter-clockwise, each once.
    pub(super) fn reachable(&self, clockwise: bool) -> impl Iterator<Item = Id> {
        let (before, after) = self.reach.split_at(self.home());
        let (mut up, mut down) = (after.iter().chain(before), before.iter().rev().chain(after.iter().rev()));
        let mut last = None;
        std::iter::from_fn(move || if clockwise { up.next() } else { down.next() })
            .filter(|reach| self.seat(reach.place()).is_member())
            .map(|reach| reach.id())
            .filter(move |&id| last.replace(id) != Some(id))
    }

    /// The link that promises to come nearest to `target`, on either side or `clockwise` only, among those that `eligible`
    /// allows; it is asked about each link and the id that the link leads to. O(log n) when the first candidate is allowed.
    pub(super) fn nearest(&self, target: Id, clockwise: bool, eligible: impl Fn(&Seat, Id) -> bool) -> Option<Step> {
        let length = self.reach.len();
        let start = self.reach_from(target);
        let (mut up, mut down) = (0, 0);
        let mut best: Option<Step> = None;
        while up + down < length {
            let above = self.reach[if start + up < length { start + up } else { start + up - length }];
            let below = self.reach[if start > down { start - 1 - down } else { start + length - 1 - down }];
            let (rise, fall) = (target.clockwise_to(above.id()), below.id().clockwise_to(target));
            let reach = if rise == 0 || (rise <= fall && !clockwise) {
                up += 1;
                above
            } else {
                down += 1;
                below
            };
            let promise = if clockwise { reach.id().clockwise_to(target) } else { reach.id().distance(target) };
            if best.is_some_and(|best| best.promise < promise) {
                break;
            }
            let seat = self.seat(reach.place());
            let direct = seat.leads_to(reach.id());
            if (direct || (best.is_none() && seat.is_member())) && eligible(seat, reach.id()) {
                best = Some(Step { link: seat.link, promise, direct });
                if direct {
                    break;
                }
            }
        }
        best
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn all_seats(&self) -> &[Seat] {
        &self.seats
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn marks(&self) -> &[Reach] {
        &self.marks
    }

    #[cfg(feature = "prefetch")]
    pub(super) fn reach(&self) -> &[Reach] {
        &self.reach
    }

    pub(super) fn places(&self) -> &[Option<Link>] {
        &self.places
    }

    #[cfg(feature = "model")]
    pub(super) fn hash_reach(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.reach.iter().for_each(|reach| reach.0.hash(hasher));
        self.reach.len().hash(hasher);
    }

    #[cfg(feature = "model")]
    pub(super) fn place_of(&self, id: LinkId) -> Option<usize> {
        self.get(id).map(|link| link.id.place())
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        let seats = self.seats.capacity();
        let seats = if seats > INLINE { seats * size_of::<Seat>() } else { 0 };
        seats + self.places.capacity() * size_of::<Option<Link>>() + self.reach.capacity() * size_of::<Reach>()
    }

    /// The index of the first entry at `id` or after it.
    fn reach_from(&self, id: Id) -> usize {
        let part = self.part_with(id);
        part.start + self.reach[part].partition_point(|reach| reach.id() < id)
    }

    /// The part of the table that an entry for this id would stand in.
    pub(super) fn part_with(&self, id: Id) -> std::ops::Range<usize> {
        let (length, step) = (self.reach.len(), self.reach.len() / 8);
        if step == 0 {
            return 0..length;
        }
        let before = self.marks.iter().filter(|mark| mark.id() < id).count();
        let start = before * step;
        start..if before < self.marks.len() { start + step } else { length }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg32;

    use super::*;

    #[test]
    fn whatever_is_done_to_the_table_everybody_is_found_where_they_stand() {
        const ME: Id = Id::new(500);
        for seed in 0..50 {
            let mut rng = Pcg32::seed_from_u64(seed);
            let mut links = Links::new(ME, 12);
            // The last id is also what stands for a free place.
            let id =
                |rng: &mut Pcg32| [Id::MAX, Id::new(rng.random_range(0..1000))][usize::from(rng.random_bool(0.95))];
            // Who is led to by each link, and with which place.
            let mut led_to: Vec<(LinkId, Vec<Id>)> = Vec::new();
            for _ in 0..300 {
                let peer = id(&mut rng);
                match rng.random_range(0..3) {
                    0 if !links.is_full() && links.to(peer).is_none() && peer != ME => {
                        let new = |id| Link::new(id, peer, Purpose::Ring, 0, Route::Signalling, Time(0));
                        led_to.push((links.insert(new), Vec::new()));
                    }
                    1 if !led_to.is_empty() => {
                        let (link, _) = led_to.swap_remove(rng.random_range(0..led_to.len()));
                        assert!(links.remove(link).is_some() && links.remove(link).is_none());
                    }
                    2 if !led_to.is_empty() => {
                        let at = rng.random_range(0..led_to.len());
                        let neighbours: Vec<Id> = (0..rng.random_range(0..20)).map(|_| id(&mut rng)).collect();
                        let (link, led) = &mut led_to[at];
                        let peer = links.get(*link).expect("it stands").peer;
                        links.set_reach(*link, &neighbours);
                        *led = neighbours.into_iter().filter(|&id| id != ME).chain([peer]).collect();
                        led.sort_unstable();
                        led.dedup();
                    }
                    _ => {}
                }
                let mut reach: Vec<Reach> = Vec::new();
                for (link, led) in &led_to {
                    reach.extend(led.iter().map(|&id| Reach::new(id, link.place())));
                    let peer = links.get(*link).expect("it stands").peer;
                    assert_eq!(links.to(peer).map(|found| found.id), Some(*link), "seed {seed}");
                }
                reach.sort_unstable();
                assert_eq!(links.reach, reach, "seed {seed}");
                assert_eq!(links.home(), links.reach_from(ME), "seed {seed}");
                assert_eq!(links.len(), led_to.len());
                assert_eq!(links.to(Id::MAX).is_some(), links.iter().any(|link| link.peer == Id::MAX), "seed {seed}");
            }
        }
    }
}

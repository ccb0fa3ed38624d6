//! The table of links: one place for each, being set up or open, and who can be reached through whom.

use super::timer::Time;
use crate::id::Id;
use crate::wire::{Purpose, Role};

/// Names one link of one node; never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u32);

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
    /// Until when it must open; when the peer was last heard, once it is open.
    pub(super) time: Time,
    /// Whether the peer has said that it is a member of the ring.
    pub(super) member: bool,
    /// Whether the other end has sent a description.
    pub(super) described: bool,
    /// Silent for too long to be relied on.
    pub(super) suspect: bool,
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }
}

/// A member that can be reached: itself a neighbour, or a neighbour's neighbour. Packed: the id, then the place of the link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reach(u64);

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
    /// The place of the link to take.
    pub(super) place: usize,
    /// The distance to the target of the best node that it leads to, in one step or two.
    pub(super) promise: u64,
    /// Whether that node is the neighbour itself.
    pub(super) direct: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Links {
    places: Vec<Option<Link>>,
    /// Sorted.
    reach: Vec<Reach>,
    max: usize,
    next_id: u32,
}

impl Links {
    pub(super) fn new(max: usize) -> Self {
        Links { places: Vec::new(), reach: Vec::new(), max, next_id: 0 }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> + Clone {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.places.iter_mut().flatten()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Link> + Clone {
        self.iter().filter(|link| link.is_open())
    }

    /// Open links to members of the ring.
    pub(super) fn members(&self) -> impl Iterator<Item = &Link> + Clone {
        self.open().filter(|link| link.member)
    }

    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn at(&self, place: usize) -> Option<&Link> {
        self.places.get(place)?.as_ref()
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.iter().find(|link| link.id == id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.iter_mut().find(|link| link.id == id)
    }

    pub(super) fn to(&self, peer: Id) -> Option<&Link> {
        self.iter().find(|link| link.peer == peer)
    }

    pub(super) fn to_mut(&mut self, peer: Id) -> Option<&mut Link> {
        self.iter_mut().find(|link| link.peer == peer)
    }

    pub(super) fn open_to(&self, peer: Id) -> Option<&Link> {
        self.to(peer).filter(|link| link.is_open())
    }

    pub(super) fn is_open_to(&self, peer: Id) -> bool {
        self.open_to(peer).is_some()
    }

    /// Takes a place. The caller has made room.
    pub(super) fn insert(&mut self, link: impl FnOnce(LinkId) -> Link) -> LinkId {
        debug_assert!(!self.is_full(), "room was made before a place is taken");
        let id = LinkId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let link = Some(link(id));
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = link,
            None => self.places.push(link),
        }
        id
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let place = self.place_of(id)?;
        self.reach.retain(|reach| reach.place() != place);
        self.places[place].take()
    }

    /// Notes whom a link leads to: the peer itself and, from its own list, its neighbours.
    pub(super) fn set_reach(&mut self, id: LinkId, me: Id, neighbours: &[Id]) {
        let Some(place) = self.place_of(id) else { return };
        let Some(peer) = self.at(place).map(|link| link.peer) else { return };
        self.reach.retain(|reach| reach.place() != place);
        let others = neighbours.iter().filter(|&&id| id != me && id != peer);
        self.reach.extend(others.chain([&peer]).map(|&id| Reach::new(id, place)));
        self.reach.sort_unstable();
        self.reach.dedup();
    }

    /// The ids of members that can be reached in one step or two, from `from` clockwise or counter-clockwise, each once.
    pub(super) fn reachable(&self, from: Id, clockwise: bool) -> impl Iterator<Item = Id> {
        let length = self.reach.len();
        let start = self.reach.partition_point(|reach| reach.id() < from);
        let mut last = None;
        (0..length)
            .map(move |i| if clockwise { (start + i) % length } else { (start + length - 1 - i) % length })
            .filter(|&i| {
                let reach = self.reach[i];
                self.at(reach.place()).is_some_and(|link| link.member)
            })
            .map(|i| self.reach[i].id())
            .filter(move |&id| last.replace(id) != Some(id))
    }

    /// The link that promises to come nearest to `target`, among those that `eligible` allows; it is asked about each link
    /// and the id that the link leads to. O(log n) when the first candidate is allowed.
    pub(super) fn nearest(&self, target: Id, eligible: impl Fn(&Link, Id) -> bool) -> Option<Step> {
        let length = self.reach.len();
        let start = self.reach.partition_point(|reach| reach.id() < target);
        let (mut up, mut down) = (0, 0);
        let mut best: Option<Step> = None;
        while up + down < length {
            let above = self.reach[(start + up) % length];
            let below = self.reach[(start + length - 1 - down) % length];
            let (rise, fall) = (target.clockwise_to(above.id()), below.id().clockwise_to(target));
            let reach = if rise <= fall {
                up += 1;
                above
            } else {
                down += 1;
                below
            };
            let promise = reach.id().distance(target);
            if best.is_some_and(|best| best.promise < promise) {
                break;
            }
            let Some(link) = self.at(reach.place()) else { continue };
            let direct = link.peer == reach.id();
            if (direct || (best.is_none() && link.member)) && eligible(link, reach.id()) {
                best = Some(Step { place: reach.place(), promise, direct });
                if direct {
                    break;
                }
            }
        }
        best
    }

    #[cfg(feature = "model")]
    pub(super) fn places(&self) -> &[Option<Link>] {
        &self.places
    }

    #[cfg(feature = "model")]
    pub(super) fn hash_reach(&self, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.reach.iter().for_each(|reach| reach.0.hash(hasher));
        self.reach.len().hash(hasher);
    }

    pub(super) fn place_of(&self, id: LinkId) -> Option<usize> {
        self.places.iter().position(|place| place.as_ref().is_some_and(|link| link.id == id))
    }
}

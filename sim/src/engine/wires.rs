//! The open connections of one node: which link of which node is at the other end.

use std::num::NonZeroU32;

use atoll::proto::LinkId;
use prefetch_index::prefetch_index;
use rand::seq::IteratorRandom;
use rand_pcg::Pcg32;
use smallvec::SmallVec;

/// One end of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) link: LinkId,
    /// The node at the other end, plus one: so a place without a wire takes no more room.
    peer: NonZeroU32,
    /// What that one calls the link.
    pub(super) peer_link: LinkId,
    /// The tick at which the last frame sent from here arrives: a later one must not overtake it.
    pub(super) last_arrival: u64,
}

impl Wire {
    pub(super) fn new(link: LinkId, peer: usize, peer_link: LinkId) -> Self {
        Wire { link, peer: NonZeroU32::MIN.saturating_add(peer as u32), peer_link, last_arrival: 0 }
    }

    /// The node at the other end.
    pub(super) fn peer(&self) -> usize {
        self.peer.get() as usize - 1
    }
}

/// Ends that stand in the node itself: those of most budgets.
const INLINE: usize = 16;

/// A node's ends, each in the place that the node gave its link.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(SmallVec<[Option<Wire>; INLINE]>);

impl Wires {
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Wire> {
        self.0.get_mut(link.place())?.as_mut().filter(|wire| wire.link == link)
    }

    /// Another link than this one, at random.
    pub(super) fn other(&self, than: LinkId, rng: &mut Pcg32) -> Option<LinkId> {
        self.0.iter().flatten().map(|wire| wire.link).filter(|&link| link != than).choose(rng)
    }

    pub(super) fn insert(&mut self, wire: Wire) {
        let place = wire.link.place();
        if self.0.len() <= place {
            // Half a million lists of twice the length that they need are a gigabyte.
            if self.0.capacity() <= place {
                self.0.reserve_exact(place + 4 - self.0.len());
            }
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(wire);
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Wire> {
        self.0.get_mut(link.place())?.take_if(|wire| wire.link == link)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Wire> + use<> {
        std::mem::take(&mut self.0).into_iter().flatten()
    }

    /// Has the caches fetch this end.
    pub(super) fn prefetch(&self, link: LinkId) {
        prefetch_index(&self.0, link.place());
    }

    /// Has the caches fetch all ends.
    pub(super) fn prefetch_all(&self) {
        (0..self.0.len()).step_by(2).for_each(|at| prefetch_index(&self.0, at));
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        if self.0.spilled() { self.0.capacity() * size_of::<Option<Wire>>() } else { 0 }
    }
}

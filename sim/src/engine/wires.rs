//! The open connections of one node: which link of which node is at the other end.

use atoll::proto::LinkId;
use rand::seq::IteratorRandom;
use rand_pcg::Pcg32;

/// One end of an open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) link: LinkId,
    /// The node at the other end.
    pub(super) peer: u32,
    /// What that one calls the link.
    pub(super) peer_link: LinkId,
    /// The tick at which the last frame sent from here arrives: a later one must not overtake it.
    pub(super) last_arrival: u64,
}

/// A node's ends. Few: a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(Vec<Wire>);

impl Wires {
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Wire> {
        self.0.iter_mut().find(|wire| wire.link == link)
    }

    /// Another link than this one, at random.
    pub(super) fn other(&self, than: LinkId, rng: &mut Pcg32) -> Option<LinkId> {
        self.0.iter().map(|wire| wire.link).filter(|&link| link != than).choose(rng)
    }

    pub(super) fn insert(&mut self, wire: Wire) {
        // Half a million lists of twice the length that they need are a gigabyte.
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(4);
        }
        self.0.push(wire);
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Wire> {
        let at = self.0.iter().position(|wire| wire.link == link)?;
        Some(self.0.swap_remove(at))
    }

    pub(super) fn take_all(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.0)
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<Wire>()
    }
}

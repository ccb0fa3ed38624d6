//! For whoever runs many nodes in turn: has the memory that a node's next input will need brought into the caches, while other
//! nodes take theirs.
//!
//! Among a million nodes nearly every look at a node's tables is a cache miss of about a tenth of a microsecond, and one waits for
//! the other. These calls begin the misses together, and wait for none. They change nothing.

use std::slice::from_ref;

use prefetch_index::prefetch_index;

use super::Proto;
use super::links::{LinkId, Links, Reach};

/// Bytes that a cache fetches at once, on most machines.
const LINE: usize = 64;

impl Proto {
    /// The node itself. Call this first, and [`Proto::prefetch_tables`] some inputs later.
    pub fn prefetch(&self) {
        prefetch_index(from_ref(&self.me), 0);
        prefetch_index(from_ref(&self.rng), 0);
        prefetch_index(from_ref(&self.joining), 0);
        prefetch_index(from_ref(&self.ring), 0);
        prefetch_index(from_ref(&self.links), 0);
        prefetch_index(from_ref(&self.failed), 0);
        prefetch_index(from_ref(&self.fingers), 0);
        prefetch_index(from_ref(&self.lookups), 0);
        prefetch_index(from_ref(&self.timers), 0);
        prefetch_index(from_ref(&self.stats), 0);
        prefetch_index(from_ref(&self.outputs), 0);
    }

    /// What a frame that comes over this link needs of the tables: what it takes to forward it, or all.
    pub fn prefetch_tables(&self, link: LinkId, all: bool) {
        prefetch_index(&self.ring.successors, 0);
        prefetch_index(&self.ring.predecessors, 0);
        self.links.prefetch(link.place(), all);
    }
}

impl Links {
    fn prefetch(&self, place: usize, all: bool) {
        let (places, reach) = self.tables();
        prefetch_index(places, place);
        let line = LINE / size_of::<Reach>();
        let step = if all { line } else { (reach.len() / 8).max(line) };
        (0..reach.len()).step_by(step).for_each(|at| prefetch_index(reach, at));
        if all {
            (0..places.len()).for_each(|at| prefetch_index(places, at));
        }
    }
}

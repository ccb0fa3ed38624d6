//! For whoever runs many nodes in turn: has the memory that a node's next input will need brought into the caches, while other
//! nodes take theirs.
//!
//! Among a million nodes nearly every look at a node's tables is a cache miss of about a tenth of a microsecond, and one waits for
//! the other. These calls begin the misses together, and wait for none. They change nothing.

use std::slice::from_ref;

use prefetch_index::prefetch_index;

use super::Proto;
use super::links::{Links, Reach};
use super::seat::Seat;
use super::timer::Timer;
use crate::id::Id;
use crate::wire::kind;

/// Bytes that a cache fetches at once, on most machines.
const LINE: usize = 64;

/// Entries of the table of who can be reached in a line.
const LINE_OF_REACH: usize = LINE / size_of::<Reach>();

impl Proto {
    /// What every input needs of the node itself. Call this first, and [`Proto::prefetch_for_frame`] or
    /// [`Proto::prefetch_for_timeout`] some inputs later.
    pub fn prefetch(&self) {
        prefetch_index(from_ref(&self.me), 0);
        self.links.prefetch();
        self.ring.prefetch();
        prefetch_index(from_ref(&self.config), 0);
    }

    /// What every input needs but a frame that only passes through.
    pub fn prefetch_more(&self) {
        prefetch_index(from_ref(&self.ring), 0);
        self.ring.prefetch_more();
        prefetch_index(from_ref(&self.failed), 0);
        prefetch_index(from_ref(&self.fingers), 0);
        prefetch_index(from_ref(&self.timers), 0);
        prefetch_index(from_ref(&self.outputs), 0);
    }

    /// What a frame of this kind that goes to this target needs of the tables.
    pub fn prefetch_for_frame(&self, kind: u8, target: Id) {
        self.links.prefetch_seats();
        match kind {
            kind::FIRST_ROUTED.. => self.links.prefetch_way(target),
            kind::NEIGHBOURS => self.links.prefetch_reach(),
            _ => self.links.prefetch_home(),
        }
    }

    /// What the next timer needs of the tables, or the end of a link.
    pub fn prefetch_for_timeout(&self) {
        prefetch_index(from_ref(&self.lookups), 0);
        self.fingers.prefetch();
        self.links.prefetch_seats();
        if !matches!(self.timers.next(), Some((_, Timer::Gossip))) {
            let places = self.links.places();
            (0..places.len()).for_each(|at| prefetch_index(places, at));
            self.links.prefetch_home();
        }
    }
}

impl Links {
    fn prefetch(&self) {
        prefetch_index(from_ref(self), 0);
        prefetch_index(self.marks(), 0);
        prefetch_index(self.marks(), self.marks().len() - 1);
    }

    fn prefetch_seats(&self) {
        let seats = self.all_seats();
        (0..seats.len()).step_by(LINE / size_of::<Seat>()).for_each(|at| prefetch_index(seats, at));
    }

    /// The whole table of who can be reached.
    fn prefetch_reach(&self) {
        let reach = self.reach();
        (0..reach.len()).step_by(LINE_OF_REACH).for_each(|at| prefetch_index(reach, at));
    }

    /// Those who stand next to this node on either side.
    fn prefetch_home(&self) {
        let home = self.home();
        prefetch_index(self.reach(), home);
        prefetch_index(self.reach(), home.saturating_sub(4));
    }

    fn prefetch_way(&self, target: Id) {
        let part = self.part_with(target);
        part.step_by(LINE_OF_REACH).for_each(|at| prefetch_index(self.reach(), at));
    }
}

//! Once the faults have stopped, predecessor(successor(n)) = n for every member n.
//!
//! Stoica et al., "Chord" (SIGCOMM 2001), section 4.4, whose definition of a ring that is consistent this is; as Liben-Nowell,
//! Balakrishnan and Karger (PODC 2002) show, it is not enough alone: see [`exact_lists`](super::exact_lists).

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "inverse";

pub(super) fn check(members: &Members<'_>) -> Result<(), Broken> {
    for node in members.nodes().iter().filter(|_| members.len() > 1) {
        let id = node.id();
        let Some(&successor) = node.successors().first() else {
            return Err(Broken::new(NAME, format!("{id} has no successor")));
        };
        let Some(place) = members.place_of(successor) else {
            return Err(Broken::new(NAME, format!("{successor}, the successor of {id}, is no member")));
        };
        let back = members.nodes()[place].predecessors().first();
        if back != Some(&id) {
            return Err(Broken::new(
                NAME,
                format!("{successor}, the successor of {id}, takes {back:?} for its predecessor"),
            ));
        }
    }
    Ok(())
}

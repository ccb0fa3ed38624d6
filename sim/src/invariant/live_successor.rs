//! Every member has a living successor in its list: whatever dies, it still leads to the ring.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 5: `OneLiveSuccessor`. She
//! assumes that no failure takes the last one; see [`allows`].
//!
//! Here a member may have an empty list, when it knows nobody at all: it founded the ring, or is what is left of it.

use super::{Broken, Members};
use atoll::id::Id;

/// The name.
pub const NAME: &str = "live successor";

pub(super) fn check(members: &Members<'_>) -> Result<(), Broken> {
    match (0..members.len()).find(|&place| members.best(place).is_none()) {
        None => Ok(()),
        Some(place) => {
            let (id, list) = (members.id(place), members.nodes()[place].successors());
            Err(Broken::new(NAME, format!("{id} has no living member in its list {list:?}")))
        }
    }
}

/// Zave's assumption about failures: one that takes the last living successor of another member does not happen. Whether these may
/// go.
pub fn allows(members: &Members<'_>, gone: impl Fn(Id) -> bool) -> bool {
    members.nodes().iter().filter(|node| !gone(node.id())).all(|node| {
        let list = node.successors();
        let lives = |&id: &Id| members.place_of(id).is_some() && !gone(id);
        list.iter().any(lives) || !list.iter().any(|&id| members.place_of(id).is_some())
    })
}

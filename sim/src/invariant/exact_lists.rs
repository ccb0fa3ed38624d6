//! Once the faults have stopped, every list is exact: the members that follow, in order, as many as the list holds.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 3: the `Ideal` state, which
//! the protocol reaches when there are no more joins and failures ("eventual reachability").

use atoll::id::Id;

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "exact lists";

pub(super) fn check(members: &Members<'_>) -> Result<(), Broken> {
    let count = members.len();
    for (place, node) in members.nodes().iter().enumerate() {
        let id = node.id();
        let length = node.config().successors.min(count - 1);
        let after: Vec<Id> = (1..=length).map(|step| members.id((place + step) % count)).collect();
        if node.successors() != after {
            let list = node.successors();
            return Err(Broken::new(NAME, format!("the list of {id} is {list:?} and should be {after:?}")));
        }
        let before = members.id((place + count - 1) % count);
        let known = node.predecessors().first();
        if count > 1 && known != Some(&before) {
            return Err(Broken::new(NAME, format!("the predecessor of {id} is {known:?} and should be {before}")));
        }
    }
    Ok(())
}

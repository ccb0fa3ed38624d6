//! Every member leads to the ring: one that nobody follows yet, an *appendage*, reaches it by living successors.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 3: `ConnectedAppendages`.

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "connected appendages";

pub(super) fn check(members: &Members<'_>) -> Result<(), Broken> {
    let mut leads = vec![false; members.len()];
    members.rings().into_iter().flatten().for_each(|place| leads[place] = true);
    for start in 0..members.len() {
        let mut path = Vec::new();
        let mut at = start;
        while !leads[at] {
            path.push(at);
            match members.best(at) {
                Some(next) if path.len() <= members.len() => at = next,
                _ => {
                    let named = members.named(&path);
                    return Err(Broken::new(NAME, format!("{} leads to no ring, but {named:?}", members.id(start))));
                }
            }
        }
        path.into_iter().for_each(|place| leads[place] = true);
    }
    Ok(())
}

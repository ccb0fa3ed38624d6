//! The ring is ordered: going round it once by the living successors passes its members by ascending id.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 3: `OrderedRing`. A ring
//! that winds around twice before it closes is what Liben-Nowell, Balakrishnan and Karger ("Analysis of the evolution of
//! peer-to-peer systems", PODC 2002) call loopy: each node finds its neighbours consistent, and lookups go astray.

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "ordered ring";

pub(super) fn check(members: &Members<'_>, most: usize) -> Result<(), Broken> {
    let rings = members.rings();
    let descents = |ring: &Vec<usize>| (0..ring.len()).filter(|&i| ring[i] >= ring[(i + 1) % ring.len()]).count();
    let windings: usize = rings.iter().map(descents).sum();
    if windings <= most {
        return Ok(());
    }
    let named: Vec<_> = rings.iter().map(|ring| members.named(ring)).collect();
    Err(Broken::new(NAME, format!("it winds around {windings} times: {named:?}")))
}

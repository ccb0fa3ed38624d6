//! There is at most one ring: following the living successors from anywhere ends in the same circle.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 3: `AtMostOneRing`, and
//! with the next member always known, `AtLeastOneRing`.

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "one ring";

pub(super) fn check(members: &Members<'_>, most: usize) -> Result<(), Broken> {
    let rings = members.rings();
    if members.is_empty() || (1..=most).contains(&rings.len()) {
        return Ok(());
    }
    let named: Vec<_> = rings.iter().map(|ring| members.named(ring)).collect();
    Err(Broken::new(NAME, format!("there are {}: {named:?}", rings.len())))
}

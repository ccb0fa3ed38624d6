//! Once the ring has converged, every member reaches every other, and lookups name the owner.
//!
//! Stoica et al., "Chord" (SIGCOMM 2001), theorem 2 and section 4.4: on a consistent ring every lookup ends at the key's successor.

use atoll::id::Id;

use super::{Broken, Members};

/// The name of the one about packets.
pub const PACKETS: &str = "every pair reachable";

/// The name of the one about lookups.
pub const OWNERS: &str = "right owner";

/// Up to so many members packets go between all pairs; beyond, between as many pairs drawn at random.
pub const ALL_PAIRS: usize = 24;

/// Says that what `from` sent to `to` has not arrived.
pub fn not_arrived(from: Id, to: Id, tries: u32) -> Broken {
    Broken::new(PACKETS, format!("a packet from {from} to {to}, sent {tries} times, did not arrive"))
}

/// Checks what a lookup gave: the first member at or after the key.
pub fn check_owner(members: &Members<'_>, key: Id, answer: Option<Id>) -> Result<(), Broken> {
    let place = members.nodes().partition_point(|member| member.id() < key) % members.len();
    let owner = members.id(place);
    if answer == Some(owner) {
        return Ok(());
    }
    Err(Broken::new(OWNERS, format!("the lookup of {key} gave {answer:?}; its owner is {owner}")))
}

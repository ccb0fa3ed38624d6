//! What must hold of the ring: one invariant a file, each with its source.
//!
//! *Always*: [`live_successor`], [`one_ring`], [`ordered_ring`], [`connected_appendages`], [`principals`], [`link_budget`],
//! [`answered`], [`in_order`], [`not_lost`] and [`calm`]. *Once the faults have stopped*: [`all_joined`], [`inverse`], [`exact_lists`], [`reachable`] and
//! [`not_stale`]. Each names what
//! it assumes about the faults.

pub mod all_joined;
pub mod answered;
pub mod calm;
pub mod connected_appendages;
pub mod exact_lists;
pub mod in_order;
pub mod inverse;
pub mod link_budget;
pub mod live_successor;
mod members;
pub mod not_lost;
pub mod not_stale;
pub mod one_ring;
pub mod ordered_ring;
pub mod principals;
pub mod reachable;

use atoll::proto::{Phase, Proto};
use serde::Serialize;

pub use members::Members;

/// An invariant that does not hold, and how that shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{invariant} is broken: {what}")]
pub struct Broken {
    /// Its name.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
}

impl Broken {
    /// Says that an invariant does not hold.
    pub fn new(invariant: &'static str, what: String) -> Self {
        Broken { invariant, what }
    }
}

/// What must always hold of the members of one network, but for what needs a memory. `rings`: how many rings there may be.
///
/// # Errors
///
/// The first invariant that is broken.
pub fn check_always(members: &Members<'_>, rings: usize) -> Result<(), Broken> {
    live_successor::check(members)?;
    one_ring::check(members, rings)?;
    ordered_ring::check(members, rings)?;
    connected_appendages::check(members)
}

/// What must hold of all running nodes once the faults have stopped, and time enough has passed.
///
/// # Errors
///
/// The first invariant that is broken.
pub fn check_converged<'a>(running: impl IntoIterator<Item = &'a Proto> + Clone) -> Result<(), Broken> {
    all_joined::check(running.clone())?;
    let members = Members::new(running.into_iter().filter(|node| node.phase() == Phase::Member));
    if members.is_empty() {
        return Ok(());
    }
    check_always(&members, 1)?;
    inverse::check(&members)?;
    exact_lists::check(&members)
}

/// What must always hold of these members, with one ring.
///
/// # Errors
///
/// The first invariant that is broken.
pub fn safe(members: &[&Proto]) -> Result<(), Broken> {
    check_always(&Members::new(members.iter().copied()), 1)
}

/// Every predecessor and every successor list of these members is exactly right.
pub fn ideal(members: &[&Proto]) -> bool {
    check_converged(members.iter().copied()).is_ok()
}

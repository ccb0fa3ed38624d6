//! Once the faults have stopped, every node that wants to be a member is one.
//!
//! Without it the ring could be ideal by leaving nodes out.

use atoll::proto::{Phase, Proto};
use atoll::wire::Role;

use super::Broken;

/// The name.
pub const NAME: &str = "all joined";

pub(super) fn check<'a>(running: impl IntoIterator<Item = &'a Proto>) -> Result<(), Broken> {
    let outside = |node: &&Proto| node.config().role == Role::Member && node.phase() != Phase::Member;
    match running.into_iter().find(outside) {
        None => Ok(()),
        Some(node) => Err(Broken::new(NAME, format!("{} is {:?}", node.id(), node.phase()))),
    }
}

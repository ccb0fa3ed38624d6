//! Every member has a living successor in its list: whatever dies, it still leads to the ring.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 5: `OneLiveSuccessor`. She
//! assumes that no failure takes the last one; see [`allows`].
//!
//! Here a member may have an empty list, when it knows nobody at all: it founded the ring, or is what is left of it.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use atoll::id::Id;
use atoll::proto::Proto;

use super::principals::principals;
use super::{Broken, Members};

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
/// go, when `dead` have gone lately.
///
/// She assumes that a node reads another's list and takes it over in one step. Here the list travels meanwhile, and one that was on its
/// way when somebody died can push the last living entry out. So the entry that stays must be one that no list leaves out, a
/// [principal](super::principals); and it is assumed, too, that not all of r members that follow each other go within a time: see [`Config::successors`](atoll::proto::Config::successors). And a node here reaches others by its
/// links alone: one that has lost all of them is no member any more. So no member loses its last link to a living one.
///
/// For the same reason one that has just joined a lone founder does not go before the founder has heard of it: its word, on its way, would
/// make it the only entry of a list that was empty.
pub fn allows(members: &Members<'_>, dead: &BTreeSet<Id>, gone: impl Fn(Id) -> bool) -> bool {
    let lives = |id: Id| members.place_of(id).is_some() && !gone(id);
    let principals = principals(members);
    let ids: BTreeSet<Id> = members.nodes().iter().map(|node| node.id()).chain(dead.iter().copied()).collect();
    members.nodes().iter().filter(|node| !gone(node.id())).all(|node| {
        let (id, list) = (node.id(), node.successors());
        let stays = |&id: &Id| lives(id) && principals.contains(&id);
        let keeps_one = list.iter().any(stays) || !list.iter().any(|&id| members.place_of(id).is_some());
        let unheard = |other: &Proto| gone(other.id()) && other.successors().contains(&id);
        let keeps_one = keeps_one && !(list.is_empty() && members.nodes().iter().any(|other| unheard(other)));
        let after = ids.range((Excluded(id), Unbounded)).chain(ids.range(..id)).take(node.config().successors);
        let (mut after, mut others) = (after, ids.iter().filter(|&&other| other != id));
        let linked = |lives: &dyn Fn(Id) -> bool| node.peers().any(|peer| peer.member && lives(peer.id));
        let keeps_link = linked(&lives) || !linked(&|id| members.place_of(id).is_some());
        keeps_one && keeps_link && (others.next().is_none() || after.any(|&id| lives(id)))
    })
}

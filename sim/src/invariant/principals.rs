//! There are enough principals: members that no successor list leaves out.
//!
//! Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 43(12), 2017), section 5: `SufficientPrincipals`.
//! A member is *skipped* when it lies between two entries that follow each other in another's list, that one's own id counted as
//! the first entry; a **principal** is a member that nobody skips. A new member is none until every list that reaches beyond it
//! has heard of it. Nothing that the protocol does makes a principal be skipped, but for its death; so, with r entries in a list, she
//! demands a base of r + 1 members that are principals for ever.
//!
//! She needs so many because her lists have a fixed length and may reach around the whole ring, back to their owner and beyond.
//! Atoll's are shorter instead of padded, are sorted, and never hold their owner: each entry is reached in less than one turn. So
//! here **one** principal is enough. For going round a ring, all of whose steps are shorter than a turn, passes the place of every
//! principal; as no step may pass over one, it stands on each such ring. Hence there is one ring; were it to wind twice it would meet
//! the principal twice. That is why rings smaller than r + 1, down to a lone founder, are valid here.
//!
//! Her nodes join in one step. Here a joining node copies a list, then sets a link up, and is a member after that: by then, others may
//! have become principals that its list does not know. So a principal counts as *settled* only when it has been one for longer
//! than a join takes.
//!
//! What is checked is both: that there is a principal; and of the settled ones that still are members, that all, or r + 1 of
//! them at least, are principals still. Zave assumes that failures are detected without error, and so does this: it is checked in
//! scenarios in which no living node is taken for dead, without loss, partitions, slow nodes and links that do not open. One such
//! error is left: a dial that goes over a hop that has just died fails like one to a dead node. So while deaths are being repaired, only
//! the first is demanded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::Time;

use super::{Broken, Members};

/// The name.
pub const NAME: &str = "principals";

/// Longer than a join takes, from the copy of a list to the link to a successor, with some that do not open.
pub const SETTLED: Duration = Duration::from_secs(20);

/// The members that no successor list leaves out.
pub fn principals(members: &Members<'_>) -> BTreeSet<Id> {
    let count = members.len();
    let mut skipped = vec![false; count];
    for node in members.nodes() {
        let mut from = node.id();
        for &to in node.successors() {
            // The first member after `from`.
            let mut place = members.nodes().partition_point(|member| member.id() <= from) % count;
            let mut steps = 0;
            while steps < count && members.id(place).is_between(from, to) {
                skipped[place] = true;
                place = members.after(place);
                steps += 1;
            }
            from = to;
        }
    }
    (0..count).filter(|&place| !skipped[place]).map(|place| members.id(place)).collect()
}

/// The members that were principals, and since when.
#[derive(Clone, Debug, Default)]
pub struct Base(BTreeMap<Id, Time>);

impl Base {
    /// Notes who is a principal now, and forgets who is a member no more. `calm`: no death is being repaired.
    ///
    /// # Errors
    ///
    /// When there are too few.
    pub fn check(&mut self, members: &Members<'_>, calm: bool, now: Time) -> Result<(), Broken> {
        let principals = principals(members);
        self.0.retain(|&id, _| members.place_of(id).is_some());
        let successors = members.nodes().iter().map(|node| node.config().successors).max().unwrap_or_default();
        let settled = self.0.values().filter(|&&since| now.since(since) >= SETTLED).count();
        let settled = if calm { settled.min(successors + 1) } else { 0 };
        let demanded = settled.max(self.0.len().min(1));
        if principals.len() < demanded {
            let lost: Vec<Id> = self.0.keys().copied().filter(|id| !principals.contains(id)).collect();
            let found = principals.len();
            return Err(Broken::new(NAME, format!("{found} instead of {demanded}: some list leaves out {lost:?}")));
        }
        self.0.retain(|id, &mut since| principals.contains(id) || now.since(since) >= SETTLED);
        for id in principals {
            self.0.entry(id).or_insert(now);
        }
        Ok(())
    }
}

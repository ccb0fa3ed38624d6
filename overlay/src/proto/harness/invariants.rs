//! What must hold of the ring: Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 2017), section 4.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::Id;
use crate::proto::Proto;

/// Always, under any fault that leaves a member in every successor list: there is exactly one ring, it is ordered, and every
/// member leads to it.
pub fn safe(members: &[&Proto]) -> Result<(), String> {
    let living: BTreeSet<Id> = members.iter().map(|member| member.id()).collect();
    if living.len() < 2 {
        return Ok(());
    }
    let mut next = BTreeMap::new();
    for member in members {
        let best = member.successors().iter().copied().find(|id| living.contains(id));
        let founder = member.successors().is_empty() && member.predecessors().is_empty();
        match best {
            Some(best) => next.insert(member.id(), best),
            None if founder => next.insert(member.id(), member.id()),
            None => return Err(format!("LiveSuccessor is broken: {} has no living successor", member.id())),
        };
    }
    let rings: BTreeSet<Vec<Id>> = living.iter().map(|&start| ring_from(start, &next)).collect();
    if rings.len() != 1 {
        return Err(format!("AtMostOneRing is broken: {rings:?}"));
    }
    let ring = rings.into_iter().next().unwrap_or_default();
    let descents = (0..ring.len()).filter(|&i| ring[i] >= ring[(i + 1) % ring.len()]).count();
    if descents != 1 {
        return Err(format!("OrderedRing is broken: {ring:?}"));
    }
    Ok(())
}

/// The ring that following the best successors from `start` ends in, beginning with its smallest id.
fn ring_from(start: Id, next: &BTreeMap<Id, Id>) -> Vec<Id> {
    let mut at = start;
    for _ in 0..next.len() {
        at = next[&at];
    }
    let mut ring = vec![at];
    while next[&ring[ring.len() - 1]] != at {
        ring.push(next[&ring[ring.len() - 1]]);
    }
    let smallest = (0..ring.len()).min_by_key(|&i| ring[i]).unwrap_or(0);
    ring.rotate_left(smallest);
    ring
}

/// After the faults have stopped: every predecessor and every successor list is exactly right.
pub fn ideal(members: &[&Proto]) -> bool {
    let mut ids: Vec<Id> = members.iter().map(|member| member.id()).collect();
    ids.sort_unstable();
    members.iter().all(|member| {
        let at = ids.binary_search(&member.id()).expect("it is among them");
        let length = member.config().successors.min(ids.len() - 1);
        let after = (1..=length).map(|i| ids[(at + i) % ids.len()]);
        let before = ids[(at + ids.len() - 1) % ids.len()];
        let predecessor = member.predecessors().first().copied();
        after.eq(member.successors().iter().copied()) && (predecessor == Some(before) || ids.len() == 1)
    })
}

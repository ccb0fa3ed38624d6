//! What must hold of the ring: Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 2017), section 4.

use crate::id::Id;
use crate::proto::Proto;

/// Always, under any fault that leaves a member in every successor list: there is exactly one ring, it is ordered, and every
/// member leads to it.
pub fn safe(members: &[&Proto]) -> Result<(), String> {
    if members.len() < 2 {
        return Ok(());
    }
    let mut living: Vec<(Id, &Proto)> = members.iter().map(|&member| (member.id(), member)).collect();
    living.sort_unstable_by_key(|&(id, _)| id);
    let place_of = |id: Id| living.binary_search_by_key(&id, |&(id, _)| id).ok();
    let mut best = Vec::new();
    for (place, &(id, member)) in living.iter().enumerate() {
        let founder = member.successors().is_empty() && member.predecessors().is_empty();
        match member.successors().iter().find_map(|&id| place_of(id)) {
            Some(next) => best.push(next),
            None if founder => best.push(place),
            None => return Err(format!("LiveSuccessor is broken: {id} has no living successor")),
        }
    }
    let rings = rings(&best);
    let named = |ring: &Vec<usize>| ring.iter().map(|&place| living[place].0).collect::<Vec<_>>();
    if rings.len() != 1 {
        return Err(format!("AtMostOneRing is broken: {:?}", rings.iter().map(named).collect::<Vec<_>>()));
    }
    let descents = (0..rings[0].len()).filter(|&i| rings[0][i] >= rings[0][(i + 1) % rings[0].len()]).count();
    if descents != 1 {
        return Err(format!("OrderedRing is broken: {:?}", named(&rings[0])));
    }
    Ok(())
}

/// The rings that following the best successors ends in, each from the place where it was entered first.
fn rings(best: &[usize]) -> Vec<Vec<usize>> {
    let mut seen_from = vec![None; best.len()];
    let mut rings = Vec::new();
    for start in 0..best.len() {
        let mut at = start;
        while seen_from[at].is_none() {
            seen_from[at] = Some(start);
            at = best[at];
        }
        if seen_from[at] == Some(start) {
            let mut ring = vec![at];
            while best[ring[ring.len() - 1]] != at {
                ring.push(best[ring[ring.len() - 1]]);
            }
            rings.push(ring);
        }
    }
    rings
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

//! The members of one ring in order, and whom each takes for its successor: what the invariants look at.

use atoll::id::Id;
use atoll::proto::Proto;

/// The living members of one network, in the order of their ids.
///
/// *Living* is what the processes are, not what a node believes. A node that is still joining owns no arc and is not among them.
#[derive(Debug)]
pub struct Members<'a> {
    nodes: Vec<&'a Proto>,
    /// By place: the place of the first living member in the list; a node that knows nobody follows itself.
    best: Vec<Option<usize>>,
}

impl<'a> Members<'a> {
    /// The members, in any order.
    pub fn new(members: impl IntoIterator<Item = &'a Proto>) -> Self {
        let mut nodes: Vec<&Proto> = members.into_iter().collect();
        nodes.sort_unstable_by_key(|node| node.id());
        let mut members = Members { nodes, best: Vec::new() };
        members.best = (0..members.len()).map(|place| members.find_best(place)).collect();
        members
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// In the order of their ids.
    pub fn nodes(&self) -> &[&'a Proto] {
        &self.nodes
    }

    /// The id of the member at a place.
    pub fn id(&self, place: usize) -> Id {
        self.nodes[place].id()
    }

    /// The place of a living member.
    pub fn place_of(&self, id: Id) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |node| node.id()).ok()
    }

    /// The place of the first living member in the list of the one at `place`: Zave's *best successor*.
    pub fn best(&self, place: usize) -> Option<usize> {
        self.best[place]
    }

    /// The rings that following the best successors ends in, each from the place where it was entered first.
    pub fn rings(&self) -> Vec<Vec<usize>> {
        let mut seen_from = vec![None; self.len()];
        let mut rings = Vec::new();
        for start in 0..self.len() {
            let mut at = start;
            let end = loop {
                if let Some(from) = seen_from[at] {
                    break (from == start).then_some(at);
                }
                seen_from[at] = Some(start);
                match self.best[at] {
                    Some(next) => at = next,
                    None => break None,
                }
            };
            if let Some(first) = end {
                let mut ring = vec![first];
                let mut at = first;
                while let Some(next) = self.best[at].filter(|&next| next != first) {
                    ring.push(next);
                    at = next;
                }
                rings.push(ring);
            }
        }
        rings
    }

    /// The ids at these places, for messages.
    pub fn named(&self, places: &[usize]) -> Vec<Id> {
        places.iter().map(|&place| self.id(place)).collect()
    }

    /// The place after this one.
    pub fn after(&self, place: usize) -> usize {
        (place + 1) % self.len()
    }

    fn find_best(&self, place: usize) -> Option<usize> {
        let node = self.nodes[place];
        let knows_nobody = node.successors().is_empty() && node.predecessors().is_empty();
        if knows_nobody { Some(place) } else { node.successors().iter().find_map(|&id| self.place_of(id)) }
    }
}

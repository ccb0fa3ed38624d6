//! The signalling server: whom it names to those who look for members, and who founds the ring.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use atoll::id::Id;
use rand::RngExt;
use rand_pcg::Pcg32;

/// Members named at once, at most: as the real server does.
const NAMED: usize = 8;

/// Of these, so many stand next to the one who asks, one on each side: as the real server does.
const NEAR: usize = 2;

/// The members that are registered, for a fair draw in constant time.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    members: Vec<u32>,
    by_id: BTreeMap<Id, u32>,
    /// By node: its place among the members.
    place: Vec<Option<u32>>,
    founder: Option<u32>,
}

/// The answer to a node that looks for members.
pub(super) enum Introduction {
    /// Join through one of these.
    Members(Vec<u32>),
    /// There is nobody: found the ring.
    Found,
    /// There is nobody yet.
    Nobody,
}

impl Server {
    pub(super) fn register(&mut self, node: u32, id: Id) {
        let at = node as usize;
        if self.place.len() <= at {
            self.place.resize(at + 1, None);
        }
        if self.place[at].is_none() {
            self.place[at] = Some(self.members.len() as u32);
            self.members.push(node);
            self.by_id.insert(id, node);
        }
    }

    pub(super) fn forget(&mut self, node: u32, id: Id) {
        if let Some(place) = self.place.get_mut(node as usize).and_then(Option::take) {
            self.members.swap_remove(place as usize);
            self.by_id.remove(&id);
            if let Some(&moved) = self.members.get(place as usize) {
                self.place[moved as usize] = Some(place);
            }
        }
    }

    /// Answers `node`. `reachable` says of a node that it lives and that the server can speak with it.
    pub(super) fn introduce(
        &mut self,
        node: u32,
        id: Id,
        may_found: bool,
        reachable: impl Fn(u32) -> bool,
        rng: &mut Pcg32,
    ) -> Introduction {
        let named = self.draw(node, id, &reachable, rng);
        let founder = self.founder.filter(|&founder| reachable(founder));
        match founder {
            _ if !named.is_empty() => Introduction::Members(named),
            Some(founder) if founder != node => Introduction::Members(vec![founder]),
            _ if may_found => {
                self.founder = Some(node);
                Introduction::Found
            }
            _ => Introduction::Nobody,
        }
    }

    fn next_to(&self, id: Id, node: u32) -> [u32; NEAR] {
        let after = self.by_id.range((Excluded(id), Unbounded)).chain(&self.by_id).next();
        let before = self.by_id.range(..id).next_back().or_else(|| self.by_id.last_key_value());
        [after, before].map(|entry| entry.map_or(node, |(_, &member)| member))
    }

    fn draw(&self, node: u32, id: Id, reachable: impl Fn(u32) -> bool, rng: &mut Pcg32) -> Vec<u32> {
        let usable = |&member: &u32| member != node && reachable(member);
        if self.members.len() <= 4 * NAMED {
            let mut all: Vec<u32> = self.members.iter().copied().filter(usable).collect();
            while all.len() > NAMED {
                all.swap_remove(rng.random_range(0..all.len()));
            }
            return all;
        }
        let mut named = Vec::with_capacity(NAMED);
        named.extend(self.next_to(id, node).iter().filter(|member| usable(member)));
        for _ in 0..4 * NAMED {
            let member = self.members[rng.random_range(0..self.members.len())];
            if named.len() < NAMED && usable(&member) && !named.contains(&member) {
                named.push(member);
            }
        }
        named
    }
}

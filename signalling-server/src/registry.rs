//! Who is registered where, who is a member of its ring, and who is to found one: plain data, no sockets and no clock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use atoll::Id;
use atoll::key::PEER_KEY_BYTES;
use atoll::signalling::{ErrorCode, MAX_MEMBERS, Member, MemberList, Role, Status};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index;
use serde::Serialize;
use tokio::time::Instant;

/// How long a designated founder may take to become a member, before another node that asks is designated instead.
pub const FOUNDING: Duration = Duration::from_secs(10);
/// Nodes in one answer of `/dht`; the rest with `after`.
pub const MAX_DHT_NODES: usize = 1000;

/// The encoding of a public key: what an id is held by.
pub(crate) type KeyBytes = [u8; PEER_KEY_BYTES];

/// All networks of a server. `H` is how a node is reached.
#[derive(Debug)]
pub(crate) struct Registry<H> {
    networks: BTreeMap<String, Network<H>>,
    max_networks: usize,
    next_ticket: u64,
    rng: StdRng,
}

/// A registration that took place.
#[derive(Debug)]
pub(crate) struct Registered<H> {
    /// Tells this registration from a later one of the same node.
    pub(crate) ticket: u64,
    /// Through whom to join.
    pub(crate) list: MemberList,
    /// The older connection of the same key, to be closed.
    pub(crate) replaced: Option<H>,
}

/// A node that wants to be registered; its key is proved already.
#[derive(Debug)]
pub(crate) struct Applicant<H> {
    pub(crate) id: Id,
    pub(crate) key: KeyBytes,
    pub(crate) role: Role,
    pub(crate) status: Option<Status>,
    pub(crate) handle: H,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) networks: usize,
    pub(crate) nodes: usize,
    pub(crate) members: usize,
}

impl<H: Clone> Registry<H> {
    pub(crate) fn new(max_networks: usize, seed: u64) -> Self {
        Registry { networks: BTreeMap::new(), max_networks, next_ticket: 0, rng: StdRng::seed_from_u64(seed) }
    }

    /// Registers a node. The same key again replaces its older connection: a node that lost its connection comes back before
    /// the server has noticed. Another key on the same id is refused.
    pub(crate) fn register(
        &mut self,
        network: &str,
        applicant: Applicant<H>,
        now: Instant,
    ) -> Result<Registered<H>, ErrorCode> {
        if !self.networks.contains_key(network) && self.networks.len() >= self.max_networks {
            return Err(ErrorCode::TooManyNetworks);
        }
        let Applicant { id, key, role, status, handle } = applicant;
        let ring = self.networks.entry(network.to_owned()).or_default();
        if ring.nodes.get(&id).is_some_and(|holder| holder.key != key) {
            return Err(ErrorCode::IdHeld);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let node = Node { key, role, ticket, handle, status: Status::default() };
        let replaced = ring.nodes.insert(id, node).map(|old| old.handle);
        ring.set_status(id, status.unwrap_or_default());
        let list = ring.list_for(id, now, &mut self.rng);
        Ok(Registered { ticket, list, replaced })
    }

    /// Takes a node out, unless it has registered anew since.
    pub(crate) fn unregister(&mut self, network: &str, id: Id, ticket: u64) {
        let Some(ring) = self.networks.get_mut(network) else { return };
        if ring.nodes.get(&id).is_none_or(|node| node.ticket != ticket) {
            return;
        }
        ring.nodes.remove(&id);
        ring.members.remove(id);
        ring.founder = ring.founder.filter(|(founder, _)| *founder != id);
        if ring.nodes.is_empty() {
            self.networks.remove(network);
        }
    }

    /// Other members for this node, or whether it is to found the ring.
    pub(crate) fn find_members(&mut self, network: &str, id: Id, now: Instant) -> MemberList {
        let rng = &mut self.rng;
        self.networks.get_mut(network).map(|ring| ring.list_for(id, now, rng)).unwrap_or_default()
    }

    /// Takes note of how a node sees the ring.
    pub(crate) fn set_status(&mut self, network: &str, id: Id, ticket: u64, status: Status) {
        let Some(ring) = self.networks.get_mut(network) else { return };
        if ring.nodes.get(&id).is_some_and(|node| node.ticket == ticket) {
            ring.set_status(id, status);
        }
    }

    /// How a node of this network is reached.
    pub(crate) fn reach(&self, network: &str, id: Id) -> Option<H> {
        self.networks.get(network)?.nodes.get(&id).map(|node| node.handle.clone())
    }

    /// The ring as its nodes see it; `None` where no such network is.
    pub(crate) fn view(&self, network: &str, after: Option<Id>) -> Option<RingView> {
        let ring = self.networks.get(network)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let nodes = ring.nodes.range((from, Bound::Unbounded)).take(MAX_DHT_NODES);
        let nodes = nodes.map(|(id, node)| NodeView { id: *id, role: node.role, status: node.status.clone() });
        let (total, members) = (ring.nodes.len(), ring.members.list.len());
        Some(RingView { network: network.to_owned(), total, members, nodes: nodes.collect() })
    }

    pub(crate) fn counts(&self) -> Counts {
        let nodes = self.networks.values().map(|ring| ring.nodes.len()).sum();
        let members = self.networks.values().map(|ring| ring.members.list.len()).sum();
        Counts { networks: self.networks.len(), nodes, members }
    }
}

/// The ring as JSON, for `/dht`.
#[derive(Debug, Serialize)]
pub(crate) struct RingView {
    network: String,
    total: usize,
    members: usize,
    nodes: Vec<NodeView>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    id: Id,
    role: Role,
    #[serde(flatten)]
    status: Status,
}

#[derive(Debug)]
struct Network<H> {
    nodes: BTreeMap<Id, Node<H>>,
    members: Members,
    /// Who was told to found the ring, and since when.
    founder: Option<(Id, Instant)>,
}

#[derive(Debug)]
struct Node<H> {
    key: KeyBytes,
    role: Role,
    ticket: u64,
    handle: H,
    status: Status,
}

impl<H> Default for Network<H> {
    fn default() -> Self {
        Network { nodes: BTreeMap::new(), members: Members::default(), founder: None }
    }
}

impl<H> Network<H> {
    fn set_status(&mut self, id: Id, mut status: Status) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        status.member &= node.role == Role::Member;
        if status.member {
            self.members.add(id);
        } else {
            self.members.remove(id);
        }
        status.successors.shrink_to_fit();
        status.links.shrink_to_fit();
        node.status = status;
    }

    fn list_for(&mut self, id: Id, now: Instant, rng: &mut StdRng) -> MemberList {
        let members = self.members.sample(id, rng);
        if !members.is_empty() {
            self.founder = None;
            return MemberList { found: false, members };
        }
        let Some(node) = self.nodes.get(&id) else { return MemberList::default() };
        if node.status.member {
            return MemberList::default(); // It is the only one.
        }
        let founding = self.founder.filter(|(_, since)| now.saturating_duration_since(*since) < FOUNDING);
        match founding {
            Some((founder, _)) if founder != id => MemberList { found: false, members: vec![Member { id: founder }] },
            Some(_) => MemberList { found: true, members: Vec::new() },
            None if node.role == Role::Leaf => MemberList::default(),
            None => {
                self.founder = Some((id, now));
                MemberList { found: true, members: Vec::new() }
            }
        }
    }
}

/// The members of a ring, to draw from: the list in any order, and by id where each stands in it.
#[derive(Debug, Default)]
struct Members {
    list: Vec<Id>,
    place: BTreeMap<Id, usize>,
}

impl Members {
    fn add(&mut self, id: Id) {
        if self.place.contains_key(&id) {
            return;
        }
        self.place.insert(id, self.list.len());
        self.list.push(id);
    }

    fn remove(&mut self, id: Id) {
        let Some(at) = self.place.remove(&id) else { return };
        self.list.swap_remove(at);
        if let Some(moved) = self.list.get(at) {
            self.place.insert(*moved, at);
        }
    }

    /// Up to [`MAX_MEMBERS`] of them without `asking`: the next on either side, for they know the place of the one who asks, and others,
    /// each as likely as the other.
    fn sample(&self, asking: Id, rng: &mut StdRng) -> Vec<Member> {
        // More than needed: `asking` may be among them, and those next to it.
        let amount = (MAX_MEMBERS + 3).min(self.list.len());
        let drawn = index::sample(rng, self.list.len(), amount).into_iter().map(|at| self.list[at]);
        let mut named = Vec::with_capacity(MAX_MEMBERS);
        for id in self.next_to(asking).into_iter().flatten().chain(drawn) {
            if id != asking && named.len() < MAX_MEMBERS && !named.contains(&id) {
                named.push(id);
            }
        }
        named.into_iter().map(|id| Member { id }).collect()
    }

    /// The members before and after this id on the ring.
    fn next_to(&self, id: Id) -> [Option<Id>; 2] {
        let before = self.place.range(..id).next_back().or_else(|| self.place.last_key_value());
        let after =
            self.place.range((Bound::Excluded(id), Bound::Unbounded)).next().or_else(|| self.place.first_key_value());
        [before, after].map(|entry| entry.map(|(&id, _)| id))
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;

//! What can be set about a node's part in the ring. Every limit of the protocol is here or a constant beside its use.

use std::sync::Arc;
use std::time::Duration;

use super::ring::NEAR;
use crate::wire::{MAX_SUCCESSORS, Role};

/// The shortest wait that can be set: a timer that is due again at once would never let its node go.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest wait that can be set: waits are doubled, and must not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How a frame finds its next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Routing {
    /// To the node nearest to the target on either side, over links of both ends.
    #[default]
    BothWays,
    /// To the node nearest to the target that does not lie behind it.
    Clockwise,
    /// As in the paper on Chord: to the closest preceding node among the own fingers and successors. See
    /// `Config::classic`. Without the feature `classic` the same as [`Clockwise`](Self::Clockwise).
    Chord,
}

/// Where a node's own fingers lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Each a random member of its arc; the arcs are spaced geometrically over the ring.
    #[default]
    RandomMember,
    /// Each the owner of a fixed point clockwise of the node; the points are spaced geometrically over the ring.
    FixedPoint,
    /// The owners of all points `self + 2^row`, as in the paper on Chord, refreshed in every period. Without the feature `classic` the same as
    /// [`FixedPoint`](Self::FixedPoint).
    PowersOfTwo,
}

/// What a node stores at most. Over it, a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Records. Values, which are nobody's, take three quarters of them at most.
    pub records: usize,
    /// Bytes of records. Values take three quarters of them at most.
    pub bytes: usize,
    /// Records of one writer.
    pub records_per_writer: usize,
    /// Bytes of one writer's records.
    pub bytes_per_writer: usize,
    /// Records of one arc of the ring: the own one, or that of another owner. A node keeps six arcs, all of about the same length.
    pub records_per_arc: usize,
    /// Bytes of the records of one arc.
    pub bytes_per_arc: usize,
}

impl Quotas {
    /// So many records and bytes in all, and the usual shares of them for a writer and for an arc.
    pub fn of(records: usize, bytes: usize) -> Self {
        Quotas {
            records,
            bytes,
            records_per_writer: records.div_ceil(16),
            bytes_per_writer: bytes.div_ceil(16),
            records_per_arc: records.div_ceil(2),
            bytes_per_arc: bytes.div_ceil(2),
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas::of(16_384, 64 << 20)
    }
}

/// The settings of a [`Proto`](super::Proto).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Whether the node becomes a member of the ring or only visits it.
    pub role: Role,
    /// Links that the node holds at most, being set up or open, whoever dialled: at least [`Config::MIN_LINKS`].
    pub max_links: usize,
    /// Entries in the successor list: the ring survives as long as no run of so many neighbours dies at once.
    pub successors: usize,
    /// Successors that the node holds links to, 2 at least: those that it can repair the ring with at once.
    pub linked_successors: usize,
    /// Own fingers at most. The links that others choose to this node fill the rest of the budget.
    pub fingers: usize,
    /// Where they lie.
    pub placement: Placement,
    /// How a frame finds its next hop.
    pub routing: Routing,
    /// Whether the neighbours of neighbours count in routing.
    pub lookahead: bool,
    /// Whether neighbours on the ring are told of its changes at once, and not only in the next period.
    pub repair_at_once: bool,
    /// How often a node compares its view of the ring with its successor's. Changes are told at once; this catches what was
    /// lost on the way.
    pub stabilize_every: Duration,
    /// How often a node checks by a lookup over a distant link that it has its place in the one ring.
    pub check_every: Duration,
    /// How long changes of the neighbours are gathered before they are told.
    pub gossip_delay: Duration,
    /// A link that was silent for so long is asked for a sign of life. Zero: never, where the links themselves notice.
    pub heartbeat_every: Duration,
    /// A link that was silent for so long is avoided while there is another way.
    pub suspect_after: Duration,
    /// A link that was silent for so long is dead.
    pub dead_after: Duration,
    /// How long a peer may take to answer a step of setting up a link.
    pub request_timeout: Duration,
    /// How long a link may take to open once both ends have described themselves.
    pub connect_timeout: Duration,
    /// How long one try of a lookup may take.
    pub lookup_timeout: Duration,
    /// Tries of a lookup, each by another first hop.
    pub lookup_tries: u8,
    /// How long a joining node waits before it asks again for a member to join through. Doubles up to 16 times as much.
    pub join_retry: Duration,
    /// How long a peer that could not be linked is left alone; twice as long for each further failure.
    pub failed_for: Duration,
    /// How often an empty row of the finger table is tried again.
    pub finger_every: Duration,
    /// Nodes that keep a record: the owner of its point and successors of it. At least 1, and one more than `successors` at most.
    pub replicas: usize,
    /// How often an owner compares its arc with those who keep it as well.
    pub repair_every: Duration,
    /// What the node stores at most.
    pub quotas: Quotas,
    /// A bug to commit, to see that the checkers find it.
    #[cfg(feature = "known-bugs")]
    pub known_bug: Option<super::KnownBug>,
}

impl Config {
    /// The smallest budget of links: two neighbours on each side, and room for the ring to change.
    pub const MIN_LINKS: usize = 6;

    /// The settings of a node with this budget of links.
    pub fn with_links(max_links: usize) -> Self {
        let max_links = max_links.max(Self::MIN_LINKS);
        Config {
            role: Role::Member,
            max_links,
            successors: 8,
            linked_successors: NEAR,
            fingers: max_links * 3 / 8,
            placement: Placement::RandomMember,
            routing: Routing::BothWays,
            lookahead: true,
            repair_at_once: true,
            stabilize_every: Duration::from_secs(1),
            check_every: Duration::from_secs(5),
            gossip_delay: Duration::from_millis(50),
            heartbeat_every: Duration::from_secs(1),
            suspect_after: Duration::from_millis(2500),
            dead_after: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            lookup_timeout: Duration::from_secs(1),
            lookup_tries: 4,
            join_retry: Duration::from_millis(500),
            failed_for: Duration::from_millis(300),
            finger_every: Duration::from_secs(2),
            replicas: 6,
            repair_every: Duration::from_secs(10),
            quotas: Quotas::default(),
            #[cfg(feature = "known-bugs")]
            known_bug: None,
        }
    }

    /// Chord as in the paper (Stoica et al., "Chord", IEEE/ACM ToN 2003), to compare with: clockwise routing over fingers at
    /// all powers of two and a successor list of 20, no limit of links, repair only in periods of 30 seconds. What stays
    /// different from the paper is told in the module `chord`.
    #[cfg(feature = "classic")]
    pub fn classic() -> Self {
        let period = Duration::from_secs(30);
        Config {
            successors: 20,
            linked_successors: 20,
            fingers: 48,
            placement: Placement::PowersOfTwo,
            routing: Routing::Chord,
            lookahead: false,
            repair_at_once: false,
            stabilize_every: period,
            finger_every: period,
            check_every: LONGEST,
            heartbeat_every: period / 2,
            suspect_after: period * 2 / 3,
            dead_after: period * 5 / 6,
            ..Config::with_links(usize::from(u16::MAX))
        }
    }

    /// Whether frames are routed as in the paper on Chord.
    pub(super) fn is_classic(&self) -> bool {
        cfg!(feature = "classic") && self.routing == Routing::Chord
    }

    /// Whether fingers are laid as in the paper on Chord.
    pub(super) fn has_classic_fingers(&self) -> bool {
        cfg!(feature = "classic") && self.placement == Placement::PowersOfTwo
    }

    /// Whether neighbours are told of each other: for routing, and as hints of who is near on the ring.
    pub(super) fn tells_neighbours(&self) -> bool {
        self.lookahead || self.repair_at_once
    }

    /// The settings with every number and every wait brought into its bounds.
    pub(super) fn bounded(shared: Arc<Self>) -> Arc<Self> {
        let bounded = Config::clone(&shared).brought_into_bounds();
        if bounded == *shared { shared } else { Arc::new(bounded) }
    }

    fn brought_into_bounds(mut self) -> Self {
        self.max_links = self.max_links.clamp(Self::MIN_LINKS, usize::from(u16::MAX));
        self.successors = self.successors.clamp(2, MAX_SUCCESSORS);
        self.linked_successors = self.linked_successors.clamp(NEAR, self.successors);
        self.fingers = self.fingers.min(self.max_links - 4).min(48);
        self.lookup_tries = self.lookup_tries.max(1);
        self.replicas = self.replicas.clamp(1, self.successors + 1);
        let waits = [
            &mut self.stabilize_every,
            &mut self.check_every,
            &mut self.gossip_delay,
            &mut self.suspect_after,
            &mut self.dead_after,
            &mut self.request_timeout,
            &mut self.connect_timeout,
            &mut self.lookup_timeout,
            &mut self.join_retry,
            &mut self.failed_for,
            &mut self.finger_every,
            &mut self.repair_every,
        ];
        waits.into_iter().for_each(|wait| *wait = (*wait).clamp(SHORTEST, LONGEST));
        if !self.heartbeat_every.is_zero() {
            self.heartbeat_every = self.heartbeat_every.clamp(SHORTEST, LONGEST);
        }
        self
    }
}

impl Default for Config {
    /// A native node: 64 links.
    fn default() -> Self {
        Config::with_links(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::proto::{Input, Proto, Time};

    #[test]
    fn no_wait_that_is_set_makes_a_node_spin_or_overflow() {
        for wait in [Duration::ZERO, Duration::MAX] {
            let config = Config {
                stabilize_every: wait,
                check_every: wait,
                gossip_delay: wait,
                join_retry: wait,
                failed_for: wait,
                finger_every: wait,
                lookup_timeout: wait,
                ..Config::default()
            };
            let mut proto = Proto::new(Id::new(1), config, 1, Time(0));
            proto.handle(Input::Members { found: true, members: Vec::new() }, Time(0));
            for _ in 0..100 {
                let due = proto.poll_timeout().expect("a member always has something to do");
                proto.handle_timeout(due);
                while proto.poll_output().is_some() {}
                assert!(proto.poll_timeout() > Some(due), "due again at once with waits of {wait:?}");
            }
        }
    }
}

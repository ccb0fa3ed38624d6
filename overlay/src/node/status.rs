//! What a node tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::id::Id;
use crate::key::PeerKey;
use crate::proto::{ChannelStats, Event, Finger, Phase, Stats, StoreStats};
use crate::wire::{Purpose, Role};

/// A node and its neighbours at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node's own id.
    pub id: Id,
    /// How far it has come.
    pub phase: Phase,
    /// The nodes before it, the nearest first.
    pub predecessors: Vec<Id>,
    /// The successor list, the nearest first.
    pub successors: Vec<Id>,
    /// The peers with an open link.
    pub peers: Vec<PeerInfo>,
    /// The finger table.
    pub fingers: Vec<Finger>,
    /// Links open or being set up.
    pub links_in_use: usize,
    /// The budget of links.
    pub max_links: usize,
    /// How many nodes the ring has, estimated from the density of the successor list.
    pub estimated_size: f64,
    /// What has been counted since the node started.
    pub counters: Counters,
}

/// A peer with an open link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its id.
    pub id: Id,
    /// What it is to the ring.
    pub role: Role,
    /// Whether it says that it is a member of the ring.
    pub member: bool,
    /// What the link was wanted for.
    pub purpose: Purpose,
    /// Its key, as it proved it.
    pub key: Option<PeerKey>,
    /// The version of the protocol that both speak.
    pub version: u16,
    /// Silent for longer than it should be.
    pub suspect: bool,
}

/// Counts since the node started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Counters {
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Frames passed on for others.
    pub frames_forwarded: u64,
    /// Frames dropped because a link was full or gone.
    pub frames_dropped: u64,
    /// Frames for this node, routed over the ring, with a body that could not be read. Who made them is not known.
    pub malformed: u64,
    /// Links closed because the peer broke the rules, by the rule.
    pub closed_for_cause: BTreeMap<&'static str, u64>,
    /// What the protocol counts.
    pub protocol: Stats,
    /// What it does for channels.
    pub channels: ChannelStats,
    /// What it stores, and does for that.
    pub store: StoreStats,
}

/// What happens to a node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Something about its place on the ring.
    Ring(Event),
    /// A link to a peer that did not prove who it is, or belongs elsewhere, was refused.
    PeerRefused {
        /// Who it was to be.
        peer: Id,
        /// What was wrong.
        reason: String,
    },
    /// A link that both ends had agreed on did not open: the peer cannot be reached, or somebody between the two changed what they
    /// told each other. The ring tries again where it needs the link.
    LinkFailed {
        /// Who it was to be.
        peer: Id,
        /// What was wrong.
        reason: String,
    },
    /// A name that this node had claimed is somebody else's: the node could not renew its claim in time.
    NameLost {
        /// The name.
        name: String,
    },
    /// The disk takes no more records: the node serves those that it has, and refuses to keep new ones.
    StoreFailed {
        /// Why.
        reason: String,
    },
    /// Registered with a signalling server.
    SignallingConnected {
        /// The server.
        url: String,
    },
    /// The signalling server cannot be reached. The ring goes on without it.
    SignallingLost {
        /// The server.
        url: String,
        /// What happened.
        reason: String,
        /// When the next attempt comes.
        retry_in: Duration,
    },
    /// The signalling server refuses this node.
    SignallingRefused {
        /// The server.
        url: String,
        /// Why.
        reason: String,
        /// When the next attempt comes.
        retry_in: Duration,
    },
}

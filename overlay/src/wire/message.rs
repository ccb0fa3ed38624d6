//! The bodies of frames: what nodes say to each other.

use std::sync::Arc;

use arrayvec::ArrayVec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::channel::Tree;
use super::envelope::Envelope;
use super::store::{Parcel, Replicate, Store, Stored};
use super::{MAX_PREDECESSORS, MAX_SUCCESSORS};
use crate::id::Id;

/// The kinds of frames. The numbers are the wire's; they are never used again for something else.
pub mod kind {
    /// Kept for the hello: the first message in each direction, which has no header.
    pub const HELLO: u8 = 1;
    /// Are you there?
    pub const PING: u8 = 2;
    /// I am.
    pub const PONG: u8 = 3;
    /// The members that the sender has links to.
    pub const NEIGHBOURS: u8 = 4;
    /// Asks for the sender's [`RING`].
    pub const ASK_RING: u8 = 5;
    /// The predecessors and successors of the sender.
    pub const RING: u8 = 6;
    /// The sender leaves the ring; the body says who its neighbours were.
    pub const LEAVE: u8 = 7;
    /// The sender needs the place of the link for another, and closes it.
    pub const CLOSE: u8 = 8;
    /// What neighbours in the tree of a channel tell each other.
    pub const TREE: u8 = 9;
    /// Messages of a channel.
    pub const ENVELOPE: u8 = 10;

    /// Kinds from here on are routed over the ring, those below stay on their link.
    pub const FIRST_ROUTED: u8 = 32;
    /// Who owns this key?
    pub const FIND: u8 = 32;
    /// The answer to [`FIND`].
    pub const FOUND: u8 = 33;
    /// A step in setting up a link.
    pub const DIAL: u8 = 34;
    /// A frame could not be delivered.
    pub const UNREACHABLE: u8 = 35;
    /// Records the hops it takes.
    pub const TRACE: u8 = 36;
    /// The answer to [`TRACE`].
    pub const TRACED: u8 = 37;
    /// Keep a record, or give one.
    pub const STORE: u8 = 39;
    /// The answer to [`STORE`].
    pub const STORED: u8 = 40;
    /// What the nodes that keep one arc's records tell each other.
    pub const REPLICATE: u8 = 41;
    /// A message of the store that is larger than a frame, in parts.
    pub const PARCEL: u8 = 42;

    /// Kinds from here on travel on the unreliable channel.
    pub const FIRST_DATAGRAM: u8 = 64;
    /// A packet of a session.
    pub const DATAGRAM: u8 = 64;
}

/// The body of a frame, decoded.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Are you there?
    Ping,
    /// I am.
    Pong,
    /// The members that the sender has links to.
    Neighbours(Neighbours),
    /// Asks for the sender's view of the ring.
    AskRing,
    /// The sender's view of the ring.
    Ring(Arc<RingView>),
    /// The sender leaves; these were its neighbours.
    Leave(Arc<RingView>),
    /// The sender is about to close the link.
    Close,
    /// Between neighbours in the tree of a channel.
    Tree(Box<Tree>),
    /// Messages of a channel. What is passed on is not copied.
    Envelope(Arc<Envelope>),
    /// Who owns the key that the frame is addressed to? The number is given back in the answer.
    Find(u32),
    /// The answer to `Find`.
    Found(Found),
    /// A step in setting up a link.
    Dial(Dial),
    /// A frame could not be delivered.
    Unreachable(Unreachable),
    /// Records the hops it takes.
    Trace(Trace),
    /// The answer to `Trace`: the same hops, complete.
    Traced(Trace),
    /// A request to the store at the point that the frame is addressed to.
    Store(Box<Store>),
    /// The answer to `Store`.
    Stored(Box<Stored>),
    /// Between the nodes that keep one arc's records.
    Replicate(Box<Replicate>),
    /// A message of the store that is larger than a frame, in parts.
    Parcel(Box<Parcel>),
    /// A packet of a session, of no more than [`MAX_DATAGRAM`](super::MAX_DATAGRAM) bytes.
    Datagram(Bytes),
    /// A kind that a later version added.
    Unknown {
        /// Its kind.
        kind: u8,
        /// Its body, as it came.
        body: Bytes,
    },
}

impl Message {
    /// The kind of the frame that carries this.
    pub fn kind(&self) -> u8 {
        match self {
            Message::Ping => kind::PING,
            Message::Pong => kind::PONG,
            Message::Neighbours(_) => kind::NEIGHBOURS,
            Message::AskRing => kind::ASK_RING,
            Message::Ring(_) => kind::RING,
            Message::Leave(_) => kind::LEAVE,
            Message::Close => kind::CLOSE,
            Message::Tree(_) => kind::TREE,
            Message::Envelope(_) => kind::ENVELOPE,
            Message::Find(_) => kind::FIND,
            Message::Found(_) => kind::FOUND,
            Message::Dial(_) => kind::DIAL,
            Message::Unreachable(_) => kind::UNREACHABLE,
            Message::Trace(_) => kind::TRACE,
            Message::Traced(_) => kind::TRACED,
            Message::Store(_) => kind::STORE,
            Message::Stored(_) => kind::STORED,
            Message::Replicate(_) => kind::REPLICATE,
            Message::Parcel(_) => kind::PARCEL,
            Message::Datagram(_) => kind::DATAGRAM,
            Message::Unknown { kind, .. } => *kind,
        }
    }
}

/// What a node is to the ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns an arc and forwards for others.
    #[default]
    Member,
    /// Only visits: speaks through a neighbour, owns no arc, forwards nothing.
    Leaf,
}

/// The members that the sender has links to. One list for all neighbours: each finds itself in it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Neighbours {
    /// Whether the sender is a member of the ring itself.
    pub member: bool,
    /// At most [`MAX_NEIGHBOURS`](super::MAX_NEIGHBOURS) ids.
    pub ids: Arc<[Id]>,
    /// Links that the sender could still accept from those who look for a finger.
    pub room: u16,
}

/// The ring as one node sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RingView {
    /// Whether the node is a member of the ring; one that joins is not yet.
    pub member: bool,
    /// Its predecessors, the nearest first.
    pub predecessors: ArrayVec<Id, MAX_PREDECESSORS>,
    /// Its successor list, the nearest first.
    pub successors: ArrayVec<Id, MAX_SUCCESSORS>,
}

/// The answer to a lookup.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The number of the request.
    pub request: u32,
    /// How many hops the request took.
    pub hops: u8,
    /// The ring as the node that answers sees it.
    pub view: Arc<RingView>,
}

/// A step in setting up a link between two nodes; both ends give the attempt the number that the dialling one drew.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Dial {
    /// Drawn at random by the node that dials.
    pub attempt: u32,
    /// What happens.
    pub step: Step,
}

/// The steps of setting up a link, in their order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// May I have a link with you?
    Request {
        /// What the dialling node is to the ring.
        role: Role,
        /// What it wants the link for.
        purpose: Purpose,
    },
    /// No.
    Refuse {
        /// Why not.
        reason: Refusal,
        /// Whom to try instead, at most [`MAX_ALTERNATIVES`](super::MAX_ALTERNATIVES) ids.
        alternatives: Vec<Id>,
    },
    /// An offer, an answer or a candidate, as the links of both ends understand it; at most
    /// [`MAX_DESCRIPTION`](super::MAX_DESCRIPTION) bytes. The offer of a node that was asked for a link is its yes.
    Describe(String),
    /// May I have a link with a member between these two ids, from the first clockwise to the second? Addressed to a key: its owner
    /// passes it on to a member with room, which answers as to a [`Step::Request`] for a finger.
    Seek {
        /// The first id that will do.
        from: Id,
        /// The last.
        to: Id,
        /// Links that the member must still be able to accept: 1, or more where a finger that the seeker has would be given up for it.
        least: u16,
    },
}

/// What a link is wanted for. It decides who gives way when places are short: the later gives way to the earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// The two are neighbours on the ring, or believe so.
    Ring,
    /// A leaf attaches.
    Leaf,
    /// A busy session takes the direct way.
    Direct,
    /// A finger: a shortcut over the ring.
    Finger,
    /// The first link of a node that joins, or one between two rings that meet.
    Join,
}

/// Why a link was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refusal {
    /// All places are taken by links that matter more.
    Full,
    /// There is one already; if it is dead this side will notice within a second. Ask again then.
    Linked,
    /// The node is a leaf, or has given the attempt up.
    Closed,
}

/// Why a frame could not be delivered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Unreachable {
    /// Whom it was for.
    pub peer: Id,
    /// Whether the owner of that arc says that nobody holds this id; otherwise no way was found.
    pub nobody: bool,
}

/// The hops that a frame took.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Trace {
    /// The number of the request.
    pub request: u32,
    /// The nodes on the way in their order, the source left out; at most [`MAX_TRACE`](super::MAX_TRACE).
    pub hops: Vec<Id>,
}

//! What is written down of what nodes do, and what may be done to their frames.

use atoll::id::Id;
use atoll::proto::{Answer, Event as RingEvent};
use atoll::wire::Frame;
use bytes::Bytes;

/// What of the nodes' doings is written down in [`World::happened`](super::World::happened).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Answers to lookups and traces, packets and reports that nobody could be reached.
    pub answers: bool,
    /// What nodes tell of the ring.
    pub events: bool,
    /// Frames to nodes that are dead.
    pub dead_contacts: bool,
}

/// Judges the frames that nodes are about to send: given the index of the sender, and the frame.
pub type Sabotage = Box<dyn FnMut(usize, &Frame) -> Fate + Send>;

/// What becomes of a frame that a node is about to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It goes where it should.
    #[default]
    Goes,
    /// It goes nowhere.
    Dropped,
    /// It goes over another of the sender's links, drawn at random; nowhere, where there is no other.
    Astray,
}

/// Something that a node handed to its application.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The answer to a request.
    Answer {
        /// The node.
        node: usize,
        /// The token of the request.
        token: u64,
        /// The answer.
        answer: Answer,
    },
    /// A packet arrived.
    Packet {
        /// The node.
        node: usize,
        /// Who sent it.
        from: Id,
        /// The packet.
        packet: Bytes,
    },
    /// A packet could not be delivered.
    Unreachable {
        /// The node that sent it.
        node: usize,
        /// To whom.
        peer: Id,
        /// Whether nobody holds that id.
        nobody: bool,
    },
    /// Something about the ring.
    Event {
        /// The node.
        node: usize,
        /// What it told.
        event: RingEvent,
    },
    /// A node sent a frame over a link whose other end is dead: it does not know that yet.
    DeadContact {
        /// The node.
        node: usize,
        /// The kind of the frame.
        kind: u8,
        /// Whose frame it is.
        src: Id,
        /// Where it should go.
        dst: Id,
    },
}

/// How much has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inputs that nodes took: frames, timers, links that opened or closed, answers of the signalling server.
    pub events: u64,
    /// Frames sent over links.
    pub frames: u64,
    /// Frames and signalling messages that were lost.
    pub lost: u64,
    /// Messages by the signalling server.
    pub signals: u64,
    /// Links that opened.
    pub links: u64,
    /// The most links that a node had in use at any step, where [`World::audit`](super::World::audit) is set.
    pub most_links: usize,
}

//! What waits in the wheel: one thing that is still to happen to one node.
//!
//! Events are small, for each is moved some times, and of each node one waits at least: frames, and what the signalling server says, stand
//! in tables of their own.

use atoll::id::Id;
use atoll::proto::{Input, LinkId};
use atoll::wire::{Dial, Frame};

use super::trace::Trace;

/// What is still to happen to a node.
#[derive(Debug)]
pub(super) enum What {
    /// From a node of this group; of this kind, and in this place of the table of frames.
    Frame {
        group: u8,
        kind: u8,
        link: LinkId,
        frame: FrameAt,
    },
    /// In this place of the table of what the server says.
    FromServer(SaidAt),
    AskServer,
    LinkUp {
        link: LinkId,
    },
    LinkDown {
        link: LinkId,
    },
    Wake,
}

impl What {
    /// Writes the event down in the trace: that it happens to this node, and what it brings.
    pub(super) fn note(&self, tick: u64, node: u32, brings: &Brings, trace: &mut Trace) {
        let about = match self {
            What::Frame { link, .. } => {
                if let Brings::Frame(Frame { header, .. }) = brings {
                    trace.note(header.dst.number() << 16 | u64::from(header.kind) << 8 | u64::from(header.ttl));
                    trace.note(header.src.number() << 16 | u64::from(link.0 & 0xffff));
                }
                0
            }
            What::FromServer(_) => match brings {
                Brings::Said(FromServer::Signal { from, .. }) => from.number() << 8 | 1,
                Brings::Said(FromServer::NotDelivered { to }) => to.number() << 8 | 2,
                Brings::Said(FromServer::Members { members, .. }) => {
                    members.first().map_or(0, |id| id.number()) << 8 | 4
                }
                Brings::Frame(_) | Brings::Nothing => 0,
            },
            What::AskServer => 3,
            What::LinkUp { link } => u64::from(link.0) << 8 | 5,
            What::LinkDown { link } => u64::from(link.0) << 8 | 6,
            What::Wake => 7,
        };
        trace.note(tick);
        trace.note(about << 32 ^ u64::from(node));
    }
}

/// Where a frame stands that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt(pub(super) u32);

/// Where something stands that the signalling server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SaidAt(pub(super) u32);

impl From<FromServer> for Input {
    fn from(said: FromServer) -> Self {
        match said {
            FromServer::Signal { from, dial } => Input::Signal { from, dial },
            FromServer::NotDelivered { to } => Input::NotDelivered { to },
            FromServer::Members { found, members } => Input::Members { found, members },
        }
    }
}

/// What an event had in one of the tables.
pub(super) enum Brings {
    Frame(Frame),
    Said(FromServer),
    Nothing,
}

/// What the signalling server has to say.
#[derive(Debug)]
pub(super) enum FromServer {
    Signal { from: Id, dial: Dial },
    NotDelivered { to: Id },
    Members { found: bool, members: Vec<Id> },
}

#[derive(Debug)]
pub(super) struct Event {
    /// To the node of this index.
    pub(super) node: u32,
    pub(super) what: What,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_small() {
        assert_eq!(size_of::<Event>(), 16);
    }
}

//! What waits in the wheel: one thing that is still to happen to one node.
//!
//! Events are small, for each is moved some times, and of each node one waits at least: frames stand in a table of their own.

use atoll::id::Id;
use atoll::proto::LinkId;
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
    FromServer(Box<FromServer>),
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
    /// Writes the event down in the trace: that it happens to this node, and the frame where it is one.
    pub(super) fn note(&self, tick: u64, node: u32, frame: Option<&Frame>, trace: &mut Trace) {
        let about = match self {
            What::Frame { link, .. } => {
                if let Some(Frame { header, .. }) = frame {
                    trace.note(header.dst.number() << 16 | u64::from(header.kind) << 8 | u64::from(header.ttl));
                    trace.note(header.src.number() << 16 | u64::from(link.0 & 0xffff));
                }
                0
            }
            What::FromServer(what) => match &**what {
                FromServer::Signal { from, .. } => from.number() << 8 | 1,
                FromServer::NotDelivered { to } => to.number() << 8 | 2,
                FromServer::Members { members, .. } => members.first().map_or(0, |id| id.number()) << 8 | 4,
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

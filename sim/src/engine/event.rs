//! What waits in the wheel: one thing that is still to happen to one node.
//!
//! Events are small, for each is moved some times, and of each node one waits at least: frames stand in a table of their own.

use atoll::id::Id;
use atoll::proto::LinkId;
use atoll::wire::Dial;

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

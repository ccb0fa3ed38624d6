//! What waits in the wheel: one thing that is still to happen to one node.

use atoll::id::Id;
use atoll::proto::LinkId;
use atoll::wire::{Dial, Frame};

use super::trace::Trace;

/// What is still to happen to a node.
#[derive(Debug)]
pub(super) enum What {
    /// From a node of this group.
    Frame {
        group: u8,
        link: LinkId,
        frame: Frame,
    },
    Signal {
        from: Id,
        dial: Box<Dial>,
    },
    NotDelivered {
        to: Id,
    },
    AskServer,
    Members {
        found: bool,
        members: Vec<Id>,
    },
    LinkUp {
        link: LinkId,
    },
    LinkDown {
        link: LinkId,
    },
    Wake,
}

#[derive(Debug)]
pub(super) struct Event {
    /// To the node of this index.
    pub(super) node: u32,
    pub(super) what: What,
}

impl Event {
    /// Writes the event down in the trace.
    pub(super) fn note(&self, tick: u64, trace: &mut Trace) {
        let about = match &self.what {
            What::Frame { link, frame, .. } => {
                let header = &frame.header;
                trace.note(header.dst.number() << 16 | u64::from(header.kind) << 8 | u64::from(header.ttl));
                trace.note(header.src.number() << 16 | u64::from(link.0 & 0xffff));
                0
            }
            What::Signal { from, .. } => from.number() << 8 | 1,
            What::NotDelivered { to } => to.number() << 8 | 2,
            What::AskServer => 3,
            What::Members { members, .. } => members.first().map_or(0, |id| id.number()) << 8 | 4,
            What::LinkUp { link } => u64::from(link.0) << 8 | 5,
            What::LinkDown { link } => u64::from(link.0) << 8 | 6,
            What::Wake => 7,
        };
        trace.note(tick);
        trace.note(about << 32 ^ u64::from(self.node));
    }
}

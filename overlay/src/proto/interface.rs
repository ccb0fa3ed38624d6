//! What goes into a node and what comes out of it: see the contract of [`Proto`](super::Proto).

use super::{Answer, ChannelEvent, LinkId, Membership, Token};
use crate::id::Id;
use crate::record::{Key, Place, Record};
use crate::wire::{ChannelId, Dial, Frame, Published, Role};

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A frame came over an open link.
    Frame {
        /// The link that it came over.
        link: LinkId,
        /// What came.
        frame: Frame,
    },
    /// The signalling server relayed a step of a dial.
    Signal {
        /// The node that sent it; the server vouches for it.
        from: Id,
        /// The step.
        dial: Dial,
    },
    /// The signalling server could not relay a step to this node.
    NotDelivered {
        /// For whom it was.
        to: Id,
    },
    /// The signalling server named members of the ring, after a node registered, and from time to time.
    Members {
        /// There are none: this node founds the ring.
        found: bool,
        /// Some members, chosen at random.
        members: Vec<Id>,
    },
    /// The link end has a description for the other end.
    Describe {
        /// The link being set up.
        link: LinkId,
        /// An offer, an answer, or a candidate.
        description: String,
    },
    /// The link is open and its other end has proved who it is.
    LinkUp {
        /// The link.
        link: LinkId,
        /// What the peer is to the ring.
        role: Role,
    },
    /// The link failed or was closed.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// Find the owner of a key. The answer comes as [`Output::Answer`].
    Lookup {
        /// Given back with the answer.
        token: Token,
        /// The key.
        key: Id,
    },
    /// Record the hops to a peer. The answer comes as [`Output::Answer`].
    Trace {
        /// Given back with the answer.
        token: Token,
        /// The peer.
        peer: Id,
    },
    /// Refresh a row of the finger table with a random member of `[self + 2^row, self + 2^(row + 1))`. The answer comes as
    /// [`Output::Answer`].
    UpdateFinger {
        /// Given back with the answer.
        token: Token,
        /// 0 to 47.
        row: u32,
    },
    /// Store a record. The answer comes as [`Output::Answer`].
    Put {
        /// Given back with the answer.
        token: Token,
        /// The record.
        record: Box<Record>,
    },
    /// Find the record under a key. The answer comes as [`Output::Answer`].
    Get {
        /// Given back with the answer.
        token: Token,
        /// The key.
        key: Box<Key>,
    },
    /// All changes of the store up to [`Output::Save`] with this number are on the disk.
    Saved {
        /// The number.
        number: u64,
    },
    /// The disk takes no more changes of the store.
    DiskFailed,
    /// Join a channel. The answer comes as [`Output::Answer`], and what others publish as [`Output::Channel`].
    JoinChannel {
        /// Given back with the answer.
        token: Token,
        /// Which channel, and what to show for it.
        membership: Box<Membership>,
    },
    /// Publish on a channel that the node has joined. Each message is answered by [`Output::Answer`] when the neighbours have room for it.
    Publish {
        /// The channel.
        channel: ChannelId,
        /// The messages in their order, each with the token of its answer. Those that come together travel together.
        messages: Vec<(Token, Published)>,
    },
    /// Leave a channel. The answer comes as [`Output::Answer`], when what was published is on its way.
    LeaveChannel {
        /// Given back with the answer.
        token: Token,
        /// The channel.
        channel: ChannelId,
    },
    /// A session with this peer is busy: hold a direct link, when the budget allows.
    WantDirect(Id),
    /// The session is idle again: the direct link may go.
    ReleaseDirect(Id),
    /// The machine has slept, or its network has changed: links that were good may be no more. Each peer gets a second to show a sign of
    /// life.
    NetworkChanged,
    /// Leave the ring properly: tell the neighbours, close the links.
    Leave,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a frame over an open link.
    Send {
        /// The link.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// Have the signalling server relay a step of a dial.
    Signal {
        /// The registered node that it is for.
        to: Id,
        /// The step.
        dial: Dial,
    },
    /// Ask the signalling server for members to join through.
    FindMembers,
    /// Both sides have agreed: set a link up.
    Connect {
        /// The new link.
        link: LinkId,
        /// The node that must prove to be at the other end.
        peer: Id,
        /// Whether this side makes the offer.
        offers: bool,
    },
    /// The other end of a link being set up sent this description.
    Described {
        /// The link.
        link: LinkId,
        /// An offer, an answer, or a candidate. Untrusted.
        description: String,
    },
    /// Close a link, or stop setting it up. What was sent before may still go out. The link is not heard of again.
    Close {
        /// The link.
        link: LinkId,
    },
    /// A packet for this node's sessions.
    Datagram {
        /// Who claims to have sent it.
        from: Id,
        /// The neighbour to answer through, when the sender is not a member.
        via: Option<Id>,
        /// The packet.
        packet: bytes::Bytes,
    },
    /// A frame to this peer that asked for a report came to nothing.
    Unreachable {
        /// The peer.
        peer: Id,
        /// The owner of its arc says that nobody holds the id; otherwise no way was found.
        nobody: bool,
    },
    /// The answer to a request of the application.
    Answer {
        /// The token of the request.
        token: Token,
        /// The answer.
        answer: Answer,
    },
    /// Write a record to the disk, in place of one under the same key, and say so with [`Input::Saved`]: only where
    /// [`Proto::load_records`](super::Proto::load_records) was called. Meanwhile others are not told that it is kept.
    Save {
        /// One more than the number before.
        number: u64,
        /// The record.
        record: Box<Record>,
    },
    /// Remove the record in this place from the disk. Nobody waits for it.
    Forget {
        /// Where it stands.
        place: Place,
    },
    /// Something for the application on a channel that it has joined.
    Channel {
        /// The channel.
        channel: ChannelId,
        /// What it is.
        event: ChannelEvent,
    },
    /// Something that the application may want to know.
    Event(Event),
}

/// What happens to a node's place on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node is a member of the ring, or as a leaf attached to it.
    Joined,
    /// All links are gone: the node joins anew.
    Isolated,
    /// A link to this peer opened.
    PeerConnected(Id),
    /// The link to this peer is gone.
    PeerDisconnected(Id),
    /// The nearest neighbours changed.
    RingChanged {
        /// The node before this one.
        predecessor: Option<Id>,
        /// The node after this one.
        successor: Option<Id>,
    },
    /// The node has left.
    Left,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every frame is moved as an output: a large variant would slow them all.
    #[test]
    fn an_output_is_little_larger_than_the_frame_in_it() {
        assert!(size_of::<Output>() <= size_of::<Frame>() + 16, "{} bytes", size_of::<Output>());
    }
}

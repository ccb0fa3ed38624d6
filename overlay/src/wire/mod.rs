//! What travels on a link: frames of a fixed header and a body.
//!
//! A hop that forwards a frame reads and changes its [`Header`] alone ([`Header::decode`], [`Header::patch`]); only the node
//! that a frame is for, or the neighbour that it came from, decodes the [`Message`] behind it. Every size is bounded and
//! checked before anything is allocated. `docs/protocol.md` shows the layout byte by byte.

mod channel;
mod codec;
mod envelope;
mod header;
mod message;
mod store;

pub use channel::{ChannelId, Head, Join, JoinRefusal, MAX_HEADS, MAX_LOST, MAX_PATH, MAX_RANGES, Proof, Terms, Tree};
pub use codec::{DecodeError, Frame};
pub use envelope::{Envelope, Label, MAX_BATCH, MAX_PAYLOAD, MAX_SCOPE, Message as Published, pass_bytes};
pub use header::{Flags, Header, MAX_TRAIL, TTL, VERSION, Via};
pub use message::{Dial, Found, Message, Neighbours, Purpose, Refusal, RingView, Role, Step, Trace, Unreachable, kind};
pub use store::{
    Ask, Listed, MAX_LISTED, MAX_PARCEL_PARTS, MAX_PARTS, Outcome, PART_BYTES, Parcel, Part, Replicate, Store,
    StoreRefusal, Stored, record_bytes,
};

/// Bytes in a frame, header included, at most: what every browser takes as one message of a data channel.
pub const MAX_FRAME: usize = 16 * 1024;

/// Bytes of payload that a datagram frame carries at most, whatever optional parts its header has.
pub const MAX_DATAGRAM: usize = MAX_FRAME - header::MAX_HEADER;

/// Ids in a list of neighbours at most: one for each link of the best-connected nodes.
pub const MAX_NEIGHBOURS: usize = 128;

/// Ids in a list of predecessors at most.
pub const MAX_PREDECESSORS: usize = 2;

/// Ids in a successor list at most.
pub const MAX_SUCCESSORS: usize = 32;

/// Hops that a trace records at most.
pub const MAX_TRACE: usize = TTL as usize + 1;

/// Bytes in the description of a link being set up (an SDP offer or answer, a candidate) at most.
pub const MAX_DESCRIPTION: usize = 12 * 1024;

/// Ids that a refusal names to try instead at most.
pub const MAX_ALTERNATIVES: usize = 8;

//! How a node finds its first neighbour: the messages between a node and a signalling server.
//!
//! They are JSON texts on a WebSocket (RFC 6455), one object a message, `{"type": "…", …}`. Node and server share these types,
//! so neither can drift from the other:
//!
//! 1. The server sends [`Challenge`]. The node answers with [`Register`], signed by the key of its id.
//! 2. The server sends [`Welcome`]: the ICE servers, and some members of the ring to join through, or `found: true`.
//! 3. The two nodes set up their link by messages ([`Dial`](crate::wire::Dial)) that the server relays without looking inside: [`RelayTo`]
//!    from the node, [`RelayFrom`] to the other.
//! 4. The node tells its [`Status`] when it changes, and asks now and then for other members (`find-members`), so that two
//!    rings that split find each other again.
//!
//! What arrives is parsed by [`NodeMessage::parse`] and [`ServerMessage::parse`] only. They check the size and the nesting
//! before anything is built, then every length, and never panic. Fields that are not known are ignored: a later version may add some.

mod message;
mod text;

pub use message::{
    Challenge, ErrorCode, Limits, Member, MemberList, NodeMessage, ParseError, Register, RelayFrom, RelayTo,
    ServerError, ServerMessage, Status, Undelivered, UndeliveredReason, Welcome, is_network_name,
};
pub use text::{Hex, Payload};

pub use crate::wire::Role;

/// The version of the signalling protocol that this library speaks.
pub const VERSION: u16 = 1;
/// The largest message, in bytes of UTF-8. A server may be configured to take less, and says so in its welcome.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// What a relayed payload may take of [`MAX_MESSAGE_BYTES`]: the rest is for the envelope.
pub const MAX_PAYLOAD_BYTES: usize = MAX_MESSAGE_BYTES - 256;
/// How deep arrays and objects may nest in a message, payload included.
pub const MAX_DEPTH: usize = 16;
/// Characters in the name of a network: 1 to this many of `a-z A-Z 0-9 . _ -`.
pub const MAX_NETWORK_CHARS: usize = 64;
/// Bytes in the host name that a registration is signed for (RFC 1035: 255, and a port).
pub const MAX_HOST_BYTES: usize = 262;
/// Members named in one answer: enough to survive a few dead ones, few enough to say nothing about the size of the ring.
pub const MAX_MEMBERS: usize = 8;
/// Random bytes in a challenge.
pub const NONCE_BYTES: usize = 32;
/// Versions a server may list.
pub const MAX_VERSIONS: usize = 16;
/// Bytes of text for humans: in an error, a server's name.
pub const MAX_TEXT_BYTES: usize = 512;
/// Links a node may report in its status.
pub const MAX_LINKS: usize = 512;
/// ICE servers in a welcome.
pub const MAX_ICE_SERVERS: usize = 16;
/// URLs of one ICE server.
pub const MAX_ICE_URLS: usize = 8;

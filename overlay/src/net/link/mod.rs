//! A link joins two nodes directly: one WebRTC connection with two channels, over which frames travel both ways.
//!
//! Opening one takes an offer, an answer and candidates, which somebody else carries: the signalling server, or the ring.
//!
//! 1. The dialling node calls [`Transport::offer`] and sends the text to its peer, which calls [`Transport::answer`] and sends
//!    back what that gives, for [`Opening::accept`].
//! 2. Meanwhile both pass on what [`Opening::next_candidate`] gives, for [`Opening::accept`] at the other end.
//! 3. [`Opening::open`] gives the [`Link`] on either side. [`hello::greet`] then tells who is at the other end.
//! 4. [`Link::forward`] lets the frames of all links flow into the one queue that the node's driver reads.
//!
//! [`Transport`], [`Opening`] and the queues behind [`Link`] are the same for every kind of link. `native` fills them from the crate
//! `webrtc`, `web` from a browser's `RTCPeerConnection`; [`memory`] joins two nodes of one process for tests.

mod count;
mod description;
pub mod hello;
pub mod memory;
#[cfg(not(target_family = "wasm"))]
pub mod native;
mod pipe;
mod progress;
#[cfg(target_family = "wasm")]
pub mod web;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

pub use self::count::{Connections, connections};
pub use self::description::{Fingerprint, MAX_CANDIDATE, MAX_CANDIDATES};
pub use self::pipe::{Link, LinkSender, SendError, Side};
use crate::ice::{IceServer, IceServerError};
use crate::wire::MAX_FRAME;

/// Bytes that a link takes as one message at most; longer ones are refused both ways.
pub const MAX_MESSAGE: usize = MAX_FRAME;

/// Bytes that may wait on the ring channel at most, those that the peer has not acknowledged included.
pub const RING_QUEUE_BYTES: usize = 128 * 1024;

/// Bytes that may wait on the data channel at most. In a process those that the peer has not acknowledged are among them: more would
/// overrun the receive buffer of the peer's UDP socket, and the throughput would collapse. A browser sees to that by itself, and
/// counts only what it has not sent; while its page has other things to do, it goes on sending what waits.
pub const DATA_QUEUE_BYTES: usize = if cfg!(target_family = "wasm") { 256 * 1024 } else { 64 * 1024 };

/// Frames that wait at most for [`Link::recv`].
pub const INBOX_FRAMES: usize = 256;

/// How long a frame of the data channel waits for a node that does not read before it, and those behind it, are dropped.
pub const DATA_PATIENCE: Duration = Duration::from_millis(20);

/// Bytes of a message that cross a link in one UDP datagram; longer ones are split, and lost when any part is.
pub const DATAGRAM_BYTES: usize = SCTP_MTU as usize - 28;

/// Bytes of an SCTP packet at most. It holds a QUIC packet of 1200 bytes and a frame's header, and with DTLS, UDP, IPv6 and
/// TURN around it the datagram has 1369 bytes, which almost every path takes, tunnels included.
const SCTP_MTU: u32 = 1280;

/// The two channels of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Ordered and reliable, for the ring's own messages.
    Ring = 0,
    /// Unordered and never sent twice, for the packets of sessions: QUIC above sees to what is lost.
    Data = 1,
}

impl Channel {
    /// Both, in the order of their ids.
    pub const ALL: [Channel; 2] = [Channel::Ring, Channel::Data];

    /// The id of the data channel (RFC 8832), known to both ends in advance, so that none has to be announced.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Bytes that may wait to be sent, or to be acknowledged, at most.
    pub const fn queue_bytes(self) -> usize {
        match self {
            Channel::Ring => RING_QUEUE_BYTES,
            Channel::Data => DATA_QUEUE_BYTES,
        }
    }

    /// The label that debuggers show.
    pub const fn label(self) -> &'static str {
        match self {
            Channel::Ring => "ring",
            Channel::Data => "data",
        }
    }
}

/// The name that a node's driver gives to a link of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey(pub u64);

/// What happens on the links whose frames flow into a queue ([`Link::forward`]).
#[derive(Debug)]
pub enum LinkEvent {
    /// A frame came.
    Frame {
        /// Over which link.
        link: LinkKey,
        /// Over which of its channels.
        channel: Channel,
        /// At most [`MAX_MESSAGE`] bytes, not looked at.
        bytes: BytesMut,
    },
    /// A channel that was full has room again for a frame of any length.
    Writable {
        /// The link.
        link: LinkKey,
        /// The channel.
        channel: Channel,
    },
    /// The link is closed: the last that is heard of it.
    Closed {
        /// The link.
        link: LinkKey,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a link closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end closed it, or dropped it.
    #[error("closed by this node")]
    Local,
    /// The other end closed it.
    #[error("closed by the peer")]
    Peer,
    /// The network between the two no longer carries anything.
    #[error("connection lost")]
    Lost,
    /// The peer sent what no link carries.
    #[error("the peer sent what a link does not carry: {0}")]
    Protocol(Breach),
}

/// What a peer sent that no link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// A message that is text, where frames are bytes.
    #[error("a text")]
    Text,
    /// A message of more than [`MAX_MESSAGE`] bytes, or bytes without end that never become one.
    #[error("a message over the limit of {MAX_MESSAGE} bytes")]
    TooLong,
    /// A channel besides the two of a link.
    #[error("a third channel")]
    Channel,
    /// More than this node reads, from a peer that does not wait for it to.
    #[error("more than can be read")]
    Flood,
}

impl Breach {
    /// One word for logs and counters.
    pub fn label(self) -> &'static str {
        match self {
            Breach::Text => "text",
            Breach::TooLong => "too_long",
            Breach::Channel => "channel",
            Breach::Flood => "flood",
        }
    }
}

/// How links are opened.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// STUN and TURN servers, tried for every link; at most [`MAX_ICE_SERVERS`](crate::ice::MAX_ICE_SERVERS).
    pub ice_servers: Vec<IceServer>,
    /// The addresses of this machine to offer to peers. None: those of all interfaces but loopback.
    pub bind: Vec<IpAddr>,
    /// Whether to use TURN servers alone, which hides this node's address from its peers.
    pub relay_only: bool,
    /// How long opening may take, from the offer or the answer on: 15 s.
    pub open_timeout: Duration,
    /// How long an offer or an answer waits for the answers of STUN and TURN servers before it goes out without them: 50 ms.
    /// What comes later follows as candidates.
    pub gather_wait: Duration,
    /// How long nothing may be heard from the peer's side of the connection before the link counts as lost: 10 s. The ring
    /// looks for dead peers sooner, with pings of its own.
    pub silence: Duration,
}

impl Default for LinkSettings {
    fn default() -> Self {
        LinkSettings {
            ice_servers: Vec::new(),
            bind: Vec::new(),
            relay_only: false,
            open_timeout: Duration::from_secs(15),
            gather_wait: Duration::from_millis(50),
            silence: Duration::from_secs(10),
        }
    }
}

/// A link cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The offer or the answer that came is not one.
    #[error("not the description of a link: {0}")]
    Description(&'static str),
    /// A candidate that came is not one, or is not of a kind that is used.
    #[error("not a usable candidate")]
    Candidate,
    /// An answer came where none was asked for, or a second one.
    #[error("an answer nobody asked for")]
    Unexpected,
    /// No connection within [`LinkSettings::open_timeout`].
    #[error("no connection to the peer within {} s; a firewall may stand between, a TURN server would help", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The connection failed or was closed before it was open.
    #[error("the connection failed while it was being opened")]
    Failed,
    /// An ICE server of the settings cannot be used.
    #[error(transparent)]
    IceServer(#[from] IceServerError),
    /// The machine refused: no socket, an address that is not its own.
    #[error("cannot set up a connection: {0}")]
    System(String),
}

/// A way to open links. Cheap to clone.
#[derive(Clone)]
pub struct Transport(Arc<dyn Wire>);

impl Transport {
    /// Begins to open a link: the text of the offer is for the peer's [`answer`](Self::answer).
    pub async fn offer(&self) -> Result<(Opening, String), LinkError> {
        let (opening, offer) = Arc::clone(&self.0).offer().await?;
        Ok((Opening(opening), offer))
    }

    /// Joins in opening a link that a peer offered: the text of the answer is for its [`Opening::accept`].
    pub async fn answer(&self, offer: &str) -> Result<(Opening, String), LinkError> {
        let (opening, answer) = Arc::clone(&self.0).answer(offer.to_owned()).await?;
        Ok((Opening(opening), answer))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

/// A link that is being opened. When the last clone is dropped before it is open, the attempt ends and leaves nothing behind.
#[derive(Clone)]
pub struct Opening(Arc<dyn OpeningWire>);

impl Opening {
    /// Takes what the peer sent: its answer, or one of its candidates.
    ///
    /// Candidates may come before the answer. Of a text that is refused nothing is kept, and the opening goes on without it.
    pub async fn accept(&self, text: &str) -> Result<(), LinkError> {
        match is_candidate(text) {
            true => self.0.add_candidate(text.to_owned()).await,
            false => self.0.accept_answer(text.to_owned()).await,
        }
    }

    /// The next candidate to send to the peer, for its [`accept`](Self::accept); `None` when there will be no more.
    pub async fn next_candidate(&self) -> Option<String> {
        self.0.next_candidate().await
    }

    /// Waits until both channels are open, at most for what is left of the time limit. To be called once.
    pub async fn open(&self) -> Result<Link, LinkError> {
        self.0.open().await
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening")
    }
}

/// Whether what a peer sent is a candidate, and not its offer or answer.
pub(crate) fn is_candidate(text: &str) -> bool {
    text.starts_with("candidate:")
}

/// A future behind a trait object.
type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A link that is being opened, and its offer or answer.
type Begun = Result<(Arc<dyn OpeningWire>, String), LinkError>;

/// What a kind of link must offer to be opened.
trait Wire: Send + Sync {
    fn offer(self: Arc<Self>) -> Wait<'static, Begun>;
    fn answer(self: Arc<Self>, offer: String) -> Wait<'static, Begun>;
}

/// What a kind of link must offer while it is being opened.
trait OpeningWire: Send + Sync {
    fn accept_answer(&self, answer: String) -> Wait<'_, Result<(), LinkError>>;
    fn add_candidate(&self, candidate: String) -> Wait<'_, Result<(), LinkError>>;
    fn next_candidate(&self) -> Wait<'_, Option<String>>;
    fn open(&self) -> Wait<'_, Result<Link, LinkError>>;
}

/// What the tests of all kinds of links share.
#[cfg(test)]
mod testing;

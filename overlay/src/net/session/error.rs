//! What can go wrong with a session or a socket, and the numbers by which nodes tell each other.

use std::io;

use quinn::{ConnectionError, ReadError, StoppedError, TransportErrorCode, VarInt, WriteError};

use super::tls::WRONG_KEY_ALERT;

/// Why the ring could not bring packets to a peer, as the driver tells it ([`super::Port::fail`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The owner of the id's arc answered that nobody holds the id.
    #[error("no node on the ring holds this id; check the id, or whether the peer is running")]
    NoSuchPeer,
    /// No hop is left that could bring a packet nearer, or this node has no neighbour yet.
    #[error("no way leads there now; try again in a few seconds")]
    NoRoute,
}

/// Why there is no session with a peer, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The id is this node's own.
    #[error("this is the node's own id; dial another")]
    Myself,
    /// The ring says that the peer cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The handshake was not answered in time.
    #[error("the peer did not answer in time; it may be gone or out of reach")]
    NoAnswer,
    /// The peer has been silent for longer than the time-out.
    #[error("the peer fell silent; dial again when it is back")]
    Silent,
    /// Who answers for the id does not hold its key.
    #[error("whoever answers for this id does not hold its key; somebody may be posing as the peer")]
    WrongKey,
    /// The peer does not take this node's key for the id that the packets come from.
    #[error("the peer does not take our key for our id; somebody on the way may be altering packets")]
    KeyRefused,
    /// The peer takes no more sessions now.
    #[error("the peer takes no more sessions now; try again later")]
    Busy,
    /// This node has as many sessions as its settings allow.
    #[error("this node has as many sessions as it may; close some, or raise max_sessions")]
    TooManySessions,
    /// The peer has as many sockets open from this node as it allows, and none was closed in time.
    #[error("the peer allows no more sockets now; close some, or try again later")]
    TooManySockets,
    /// The peer was restarted and knows nothing of the session.
    #[error("the peer was restarted; dial again")]
    Restarted,
    /// The session was closed because it carried no socket for a while.
    #[error("the session was closed because nothing used it; dial again")]
    Idle,
    /// The peer closed the session, because it shuts down.
    #[error("the peer closed the session")]
    PeerClosed,
    /// This node closed the session.
    #[error("this node closed the session")]
    Closed,
    /// A name is 1 to 255 bytes.
    #[error("the name of a service is 1 to 255 bytes long; this has {0}")]
    Name(usize),
    /// A setting is out of bounds.
    #[error("the setting {0} is out of bounds")]
    Settings(&'static str),
    /// The peer, or somebody on the way who could, did what the protocol forbids.
    #[error("the session failed: {0}")]
    Protocol(String),
}

impl From<ConnectionError> for SessionError {
    fn from(error: ConnectionError) -> Self {
        let wrong_key = TransportErrorCode::crypto(WRONG_KEY_ALERT);
        match error {
            ConnectionError::TransportError(e) if e.code == wrong_key => SessionError::WrongKey,
            ConnectionError::ConnectionClosed(e) if e.error_code == wrong_key => SessionError::KeyRefused,
            ConnectionError::ConnectionClosed(e) if e.error_code == TransportErrorCode::CONNECTION_REFUSED => {
                SessionError::Busy
            }
            // What becomes of a close with one of the codes below while the handshake still runs.
            ConnectionError::ConnectionClosed(e) if e.error_code == TransportErrorCode::APPLICATION_ERROR => {
                SessionError::PeerClosed
            }
            ConnectionError::ApplicationClosed(e) if e.error_code == close::IDLE => SessionError::Idle,
            ConnectionError::ApplicationClosed(_) => SessionError::PeerClosed,
            ConnectionError::Reset => SessionError::Restarted,
            ConnectionError::TimedOut => SessionError::Silent,
            ConnectionError::LocallyClosed => SessionError::Closed,
            other => SessionError::Protocol(other.to_string()),
        }
    }
}

/// Why a socket ended before its time. Reading and writing give it inside an [`io::Error`]: [`SocketError::of`] finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The peer offers nothing under this name.
    #[error("the peer does not offer what the socket asked for")]
    NotOffered,
    /// The peer offers it, but too many sockets wait there already.
    #[error("the peer is too busy to take the socket; try again later")]
    Busy,
    /// The other side dropped the socket without shutting it down.
    #[error("the other side dropped the socket")]
    Cancelled,
    /// The other side gave it up with a number of its own.
    #[error("the other side reset the socket with code {0}")]
    Reset(u32),
    /// This side has already shut it down or given it up.
    #[error("the socket is closed for this")]
    Closed,
    /// The whole session ended.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl SocketError {
    /// The socket's error inside an error of reading or writing.
    pub fn of(error: &io::Error) -> Option<&SocketError> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn from_code(code: VarInt) -> Self {
        match code {
            reset::NOT_OFFERED => SocketError::NotOffered,
            reset::BUSY => SocketError::Busy,
            code => match code.into_inner().checked_sub(reset::OWN.into()).map(u32::try_from) {
                Some(Ok(own)) => SocketError::Reset(own),
                _ => SocketError::Cancelled,
            },
        }
    }
}

impl From<ReadError> for SocketError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => SocketError::from_code(code),
            ReadError::ConnectionLost(e) => SocketError::Session(e.into()),
            _ => SocketError::Closed,
        }
    }
}

impl From<WriteError> for SocketError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => SocketError::from_code(code),
            WriteError::ConnectionLost(e) => SocketError::Session(e.into()),
            _ => SocketError::Closed,
        }
    }
}

impl From<StoppedError> for SocketError {
    fn from(error: StoppedError) -> Self {
        match error {
            StoppedError::ConnectionLost(e) => SocketError::Session(e.into()),
            _ => SocketError::Closed,
        }
    }
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        let kind = match &error {
            SocketError::NotOffered | SocketError::Busy => io::ErrorKind::ConnectionRefused,
            SocketError::Cancelled | SocketError::Reset(_) => io::ErrorKind::ConnectionReset,
            SocketError::Closed => io::ErrorKind::NotConnected,
            SocketError::Session(SessionError::Silent) => io::ErrorKind::TimedOut,
            SocketError::Session(_) => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}

/// Why a name cannot be listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// There is a listener with this name.
    #[error("this node listens under this name already; drop the other listener first")]
    Taken,
    /// A name is 1 to 255 bytes.
    #[error("the name of a service is 1 to 255 bytes long; this has {0}")]
    Name(usize),
}

/// Codes with which one side gives a stream up (RESET_STREAM and STOP_SENDING).
pub(super) mod reset {
    use quinn::VarInt;

    /// The socket was dropped.
    pub(in super::super) const CANCELLED: VarInt = VarInt::from_u32(1);
    /// Nothing is offered under the name.
    pub(in super::super) const NOT_OFFERED: VarInt = VarInt::from_u32(2);
    /// The backlog is full.
    pub(in super::super) const BUSY: VarInt = VarInt::from_u32(3);
    /// The stream does not begin with a name, or not in time.
    pub(in super::super) const NO_NAME: VarInt = VarInt::from_u32(4);
    /// The application's own codes begin here.
    pub(in super::super) const OWN: u32 = 0x100;
}

/// Codes with which one side closes a session (CONNECTION_CLOSE).
pub(super) mod close {
    use quinn::VarInt;

    /// It carried no socket for a while.
    pub(in super::super) const IDLE: VarInt = VarInt::from_u32(1);
    /// The node shuts down.
    pub(in super::super) const SHUT_DOWN: VarInt = VarInt::from_u32(2);
    /// The application has done with the peer.
    pub(in super::super) const DONE: VarInt = VarInt::from_u32(3);
}

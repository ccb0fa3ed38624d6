//! Sessions: between any two nodes, however many hops apart, an encrypted connection that carries any number of sockets.
//!
//! A session is a QUIC connection (RFC 9000, crate `quinn`) whose packets travel as datagrams over the ring, which may lose,
//! reorder and delay them. QUIC gives reliable ordered streams, flow control, congestion control, close and cancel; TLS 1.3 with
//! the nodes' identity keys proves who is at the other end, and hops see only ciphertext.
//!
//! - [`Sessions`] is one node's end of all its sessions, [`Session`] one of them, [`Socket`] one stream in it.
//! - A stream begins with the name of what it carries: one byte of length, then 1 to 255 bytes of UTF-8. Who listens under
//!   that name ([`Sessions::listen`]) gets the socket; otherwise it is refused, with STOP_SENDING and RESET_STREAM and a
//!   code that says why. Nothing answers a name that is taken: the opener sends at once and waits for nobody.
//! - [`Carrier`] is what the driver of the ring gives, [`Port`] what it gets.
//! - [`memory`] is a ring without hops, for tests and measurements.
//!
//! **One session a peer.** Dials at the same time share one attempt, and an accepted session serves own dials too. When both
//! ends dial at once, both connections come about and stay: each end gives new sockets to the one that the smaller id
//! dialled, and the other goes when its last socket is closed. So nothing is torn down, and neither end waits for the other.
//! Apart from that the newer session is preferred: a peer that was restarted dials anew.

mod address;
mod carrier;
mod congestion;
mod error;
mod listener;
mod live;
pub mod memory;
mod port;
mod sessions;
mod signing;
mod stream;
mod table;
mod tls;
mod transport;

pub use address::{address_of, id_of};
pub use carrier::{Carrier, INCOMING_BYTES, INCOMING_PACKETS, MAX_BATCH, Packets};
pub use congestion::Congestion;
pub use error::{ListenError, SessionError, SocketError, Unreachable};
pub use listener::Listener;
pub use live::{Session, SessionStats};
pub use port::Port;
pub use sessions::{Sessions, WeakSessions};
pub use stream::{FINISH_TIMEOUT, MAX_NAME, Socket, SocketReader, SocketWriter};
pub use tls::ALPN;
pub use transport::{
    HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_PEER, MAX_PACKET,
    MAX_SESSIONS_PER_PEER, MIN_PACKET, SILENCE_TIMEOUT, Settings,
};

#[cfg(test)]
mod tests;

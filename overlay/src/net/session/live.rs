//! One session: a QUIC connection with one peer, its sockets, and the task that looks after it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::Notify;

use super::carrier::lock;
use super::congestion;
use super::error::{SessionError, close, reset};
use super::listener::Listeners;
use super::stream::{Socket, header, read_header};
use super::transport::Settings;
use crate::id::Id;
use crate::key::PeerKey;
use crate::net::platform::{self, Instant, sleep_until, timeout};

/// A session with a peer. Clones are the same session; it goes on without any, until nothing uses it for a while.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

struct Shared {
    connection: quinn::Connection,
    peer: PeerKey,
    /// Whether this node dialled it.
    dialled: bool,
    since: Instant,
    handshake_timeout: Duration,
    idle_timeout: Duration,
    usage: Mutex<Usage>,
    /// The idle deadline may have moved nearer.
    nearer: Notify,
}

struct Usage {
    sockets: usize,
    /// When the last socket was closed.
    unused_since: Instant,
    /// New sockets go to another session with the same peer.
    superseded: bool,
    /// No socket may be opened any more.
    closing: bool,
}

impl Session {
    pub(super) fn new(connection: quinn::Connection, peer: PeerKey, dialled: bool, settings: &Settings) -> Self {
        let now = Instant::now();
        // Only the dialling side closes an idle session, unless it is long overdue: so the accepting side seldom opens a socket
        // into a session that is just being closed.
        let idle_timeout = if dialled { settings.idle_timeout } else { settings.idle_timeout.saturating_mul(2) };
        Session(Arc::new(Shared {
            connection,
            peer,
            dialled,
            since: now,
            handshake_timeout: settings.handshake_timeout,
            idle_timeout,
            usage: Mutex::new(Usage { sockets: 0, unused_since: now, superseded: false, closing: false }),
            nearer: Notify::new(),
        }))
    }

    /// The peer's id.
    pub fn peer(&self) -> Id {
        self.0.peer.id()
    }

    /// The peer's key: proved, not claimed.
    pub fn peer_key(&self) -> PeerKey {
        self.0.peer
    }

    /// Whether this node dialled the session.
    pub fn dialled(&self) -> bool {
        self.0.dialled
    }

    /// Opens a socket that carries what `name` says (1 to 255 bytes). Bytes may be written at once: if the peer refuses the
    /// name, reading and writing say so ([`super::SocketError::NotOffered`], [`super::SocketError::Busy`]).
    ///
    /// Waits only while the peer allows no more sockets, and not longer than a handshake may take.
    pub async fn open(&self, name: &str) -> Result<Socket, SessionError> {
        self.open_with(name, &[]).await
    }

    /// The same, with the first bytes: they go out together with the name, in one packet if they fit. A peer that does not want all of them
    /// is no error here: reading tells.
    pub async fn open_with(&self, name: &str, first: &[u8]) -> Result<Socket, SessionError> {
        let mut header = header(name)?;
        header.extend_from_slice(first);
        let lease = self.lease().ok_or_else(|| self.closed_reason())?;
        let opening = async {
            let (send, recv) = self.0.connection.open_bi().await?;
            let mut socket = Socket::new(name.into(), send, recv, lease);
            match tokio::io::AsyncWriteExt::write_all(&mut socket, &header).await {
                Err(_) if !self.is_open() => Err(self.closed_reason()),
                _ => Ok(socket),
            }
        };
        timeout(self.0.handshake_timeout, opening).await.unwrap_or(Err(SessionError::TooManySockets))
    }

    /// Waits until the session ends, and says why.
    pub async fn closed(&self) -> SessionError {
        self.0.connection.closed().await.into()
    }

    /// Whether it can still carry new sockets.
    pub fn is_open(&self) -> bool {
        self.0.connection.close_reason().is_none() && !lock(&self.0.usage).closing
    }

    /// Ends the session and every socket in it, at once. Bytes not yet acknowledged are lost.
    pub fn close(&self) {
        self.close_with(close::DONE);
    }

    /// The same, with this code for the peer.
    pub(super) fn close_with(&self, code: VarInt) {
        lock(&self.0.usage).closing = true;
        congestion::close(&self.0.connection, code);
    }

    /// What the session has done so far.
    pub fn stats(&self) -> SessionStats {
        let stats = self.0.connection.stats();
        SessionStats {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_packets: stats.udp_tx.datagrams,
            received_packets: stats.udp_rx.datagrams,
            lost_packets: stats.path.lost_packets,
            lost_bytes: stats.path.lost_bytes,
            round_trip: stats.path.rtt,
            packet_size: stats.path.current_mtu,
            window: stats.path.cwnd,
            sockets: lock(&self.0.usage).sockets,
            age: self.0.since.elapsed(),
        }
    }

    /// Whether both are one and the same.
    pub fn is_same(&self, other: &Session) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &quinn::Connection {
        &self.0.connection
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        self.0.since.elapsed()
    }

    /// New sockets go elsewhere: with the last of the present ones this session may go.
    pub(super) fn supersede(&self) {
        lock(&self.0.usage).superseded = true;
        self.0.nearer.notify_one();
    }

    /// Looks after the session until it ends: takes the peer's sockets, and closes it when nothing uses it.
    pub(super) async fn serve(&self, listeners: &Arc<Listeners>) {
        loop {
            tokio::select! {
                stream = self.0.connection.accept_bi() => match stream {
                    Ok((send, recv)) => self.take(send, recv, listeners),
                    Err(_) => return,
                },
                () = sleep_until(self.idle_deadline()) => {
                    if self.retire_if_idle() {
                        congestion::close(&self.0.connection, close::IDLE);
                        return;
                    }
                }
                () = self.0.nearer.notified() => {}
            }
        }
    }

    /// Finds out what a stream wants to carry. Mostly the name came in the same packet: then it is handed over here and
    /// now, without a task of its own. Streams without a name yet are as many as the peer may open, at most.
    fn take(&self, send: SendStream, recv: RecvStream, listeners: &Arc<Listeners>) {
        let Some(lease) = self.lease() else { return };
        let listeners = listeners.clone();
        let patience = self.0.handshake_timeout;
        let mut naming = Box::pin(async move {
            let (mut send, mut recv) = (send, recv);
            let Ok(Some(name)) = timeout(patience, read_header(&mut recv)).await else {
                let _ = (recv.stop(reset::NO_NAME), send.reset(reset::NO_NAME));
                return;
            };
            let name = listeners.offered(&name).unwrap_or_else(|| name.into());
            listeners.hand_over(Socket::new(name, send, recv, lease));
        });
        if naming.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            platform::spawn(naming);
        }
    }

    /// Counts one more socket, unless the session is about to close.
    fn lease(&self) -> Option<Arc<Lease>> {
        let mut usage = lock(&self.0.usage);
        if usage.closing {
            return None;
        }
        usage.sockets += 1;
        Some(Arc::new(Lease { session: self.clone() }))
    }

    fn idle_deadline(&self) -> Instant {
        let usage = lock(&self.0.usage);
        let from = if usage.sockets > 0 { Instant::now() } else { usage.unused_since };
        from + self.linger(&usage)
    }

    fn retire_if_idle(&self) -> bool {
        let mut usage = lock(&self.0.usage);
        if usage.sockets == 0 && usage.unused_since.elapsed() >= self.linger(&usage) {
            usage.closing = true;
        }
        usage.closing
    }

    /// How long to stay without sockets. A superseded session waits for what the peer, who may not know yet, has sent.
    fn linger(&self, usage: &Usage) -> Duration {
        if usage.superseded { self.0.handshake_timeout.min(self.0.idle_timeout) } else { self.0.idle_timeout }
    }

    fn closed_reason(&self) -> SessionError {
        self.0.connection.close_reason().map_or(SessionError::Idle, SessionError::from)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.0.dialled { "dialled" } else { "accepted" };
        write!(f, "Session({side}, peer {}, {:?})", self.peer(), self.0.connection.close_reason())
    }
}

/// One socket's share in its session.
pub(super) struct Lease {
    session: Session,
}

impl Lease {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = lock(&self.session.0.usage);
        usage.sockets -= 1;
        usage.unused_since = Instant::now();
        let nearer = usage.sockets == 0;
        drop(usage);
        if nearer {
            self.session.0.nearer.notify_one();
        }
    }
}

/// What a session has done so far. A session is busy whose `sent_bytes` or `received_bytes` grow fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Bytes of packets sent, everything included but the ring's frames.
    pub sent_bytes: u64,
    /// Bytes of packets received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Packets sent that got lost; their content was sent again. Probes for longer packets do not count.
    pub lost_packets: u64,
    /// The bytes of these.
    pub lost_bytes: u64,
    /// The smoothed round trip.
    pub round_trip: Duration,
    /// The longest packet that is known to pass, in bytes.
    pub packet_size: u16,
    /// Bytes that may be on their way now: the congestion window.
    pub window: u64,
    /// Open sockets.
    pub sockets: usize,
    /// Since the handshake.
    pub age: Duration,
}

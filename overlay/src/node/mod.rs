//! The public face: a node on the ring.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let node = atoll::Node::builder().signalling("ws://127.0.0.1:9000").start().await?;
//! let peer = "00f3a1b2c4d5".parse()?;
//! let mut socket = node.dial(peer).await?;
//! socket.write_all(b"hello").await?;
//! node.close().await;
//! # Ok(()) }
//! ```

mod builder;
mod channels;
mod direct;
mod file;
mod keep;
mod names;
mod objects;
mod status;
mod store;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

#[cfg(not(target_family = "wasm"))]
pub use crate::net::platform::DiskError;
pub use builder::{NodeBuilder, REFUSED_FOR, StartError};
pub use file::{FileError, FilePut, FileReader};
pub use names::{CLAIM_TTL, Claim, ClaimError, MAX_CLAIMS, ResolveError};
pub use status::{Counters, NodeEvent, NodeStatus, PeerInfo};
pub use store::{Kept, Put};

use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::driver::Command;
use crate::net::session::{ListenError, Listener, SessionError, Sessions, Socket};
use crate::object::Objects;
use crate::proto::{Answer, Finger, LookupError, Owner};

/// The name of the streams that [`Node::dial`] opens and [`Node::listen`] accepts.
pub const SOCKET: &str = "atoll/socket/1";

/// Events that a slow reader of [`Node::events`] may be behind before it loses the oldest.
pub const EVENT_BACKLOG: usize = 256;

/// A node on the ring. Clones are the same node; when the last is dropped it vanishes without a farewell, which the others
/// notice within seconds. [`Node::close`] leaves properly.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    key: PeerKey,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<NodeEvent>,
    sessions: Sessions,
    objects: Objects,
    identity: Identity,
    book: names::Book,
    joined: channels::Joined,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.book.let_go();
    }
}

impl Node {
    /// How a node is made.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Where it stands on the ring.
    pub fn id(&self) -> Id {
        self.inner.key.id()
    }

    /// Who it is.
    pub fn key(&self) -> PeerKey {
        self.inner.key
    }

    /// Opens a socket to a peer, over as many hops as it takes: encrypted end to end, reliable, ordered.
    ///
    /// To an id that nobody holds the answer is an error within one round trip to the owner of its arc.
    pub async fn dial(&self, peer: Id) -> Result<Socket, SessionError> {
        self.open(peer, SOCKET).await
    }

    /// Opens a stream of another kind than [`SOCKET`]: `name` is 1 to 255 bytes, and the peer must [`accept`](Self::accept) it.
    pub async fn open(&self, peer: Id, name: &str) -> Result<Socket, SessionError> {
        self.inner.sessions.open(peer, name).await
    }

    /// Takes the sockets that peers dial. One listener at a time.
    pub fn listen(&self) -> Result<Listener, ListenError> {
        self.accept(SOCKET)
    }

    /// Takes the streams that peers open under `name`.
    pub fn accept(&self, name: &str) -> Result<Listener, ListenError> {
        self.inner.sessions.listen(name)
    }

    /// The sessions with other nodes.
    pub fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    /// Who owns a key: the first member at or after it.
    pub async fn lookup(&self, key: Id) -> Result<Owner, LookupError> {
        match self.ask(|reply| Command::Lookup { key, reply }).await {
            Some(Answer::Lookup(answer)) => answer,
            _ => Err(LookupError::NotJoined),
        }
    }

    /// The nodes on the way to a peer in their order, the peer last.
    pub async fn trace(&self, peer: Id) -> Result<Vec<Id>, LookupError> {
        match self.ask(|reply| Command::Trace { peer, reply }).await {
            Some(Answer::Trace(answer)) => answer,
            _ => Err(LookupError::NotJoined),
        }
    }

    /// The peers with an open link.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.status().await.map_or_else(Vec::new, |status| status.peers)
    }

    /// The finger table: the members with an open link, by the row of the table that they stand in.
    pub async fn fingers(&self) -> Vec<Finger> {
        self.status().await.map_or_else(Vec::new, |status| status.fingers)
    }

    /// Refreshes one row of the finger table, 0 to 47, with a random member of `[id + 2^row, id + 2^(row + 1))`. Gives the member.
    pub async fn update_finger(&self, row: u32) -> Result<Id, LookupError> {
        match self.ask(|reply| Command::UpdateFinger { row, reply }).await {
            Some(Answer::Finger(answer)) => answer,
            _ => Err(LookupError::NotJoined),
        }
    }

    /// Refreshes every row of the finger table in whose arc a member stands. Gives the members by their rows.
    pub async fn update_finger_table(&self) -> Vec<(u32, Id)> {
        let mut members = Vec::new();
        for row in (0..Id::BITS).rev() {
            if let Ok(member) = self.update_finger(row).await {
                members.push((row, member));
            }
        }
        members
    }

    /// What the node knows of itself and its neighbours; `None` once it is closed.
    pub async fn status(&self) -> Option<NodeStatus> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Status { reply }).await.ok()?;
        answer.await.ok()
    }

    /// What happens from now on. A reader that falls more than [`EVENT_BACKLOG`] events behind loses the oldest and is told so.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.events.subscribe()
    }

    /// Leaves the ring: withdraws its services, releases its names, ends the sessions, tells the neighbours, closes the links. Takes up to three seconds.
    pub async fn close(&self) {
        self.inner.objects.close();
        self.inner.book.close().await;
        self.inner.sessions.close().await;
        let (reply, done) = oneshot::channel();
        if self.inner.commands.send(Command::Close { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Leaves the ring as far as that can be done without waiting: neighbours and peers are told, and nobody waits until they know.
    /// For a page that the browser is about to discard.
    pub fn leave(&self) {
        self.inner.objects.close();
        self.inner.sessions.shut_down();
        let _ = self.inner.commands.try_send(Command::Close { reply: oneshot::channel().0 });
    }

    /// Tells the node that the machine's network has changed, or is back: it tries its signalling servers at once, and gives up those of
    /// its links that show no sign of life within a second. That the machine has slept it notices by itself.
    pub fn network_changed(&self) {
        // One that is too busy for this has a network.
        let _ = self.inner.commands.try_send(Command::NetworkChanged);
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Answer>) -> Command) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", &self.id()).finish_non_exhaustive()
    }
}

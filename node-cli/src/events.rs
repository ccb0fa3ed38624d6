//! What happens to the nodes of this process, told to people in a line and to programs as an object.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use atoll::node::NodeEvent;
use atoll::proto::Event;
use atoll::{Id, Node};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// Happenings that wait to be printed, at most. More are not printed.
pub(crate) const BACKLOG: usize = 256;

/// How long the same peer may be refused before it is told again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// Refused peers that are told of within [`REFUSED_AGAIN`], at most.
const MAX_REFUSED: usize = 16;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Happening {
    /// The node is on the ring.
    Joined { id: Id },
    /// It lost all its links and joins anew.
    Isolated { id: Id },
    /// A link to somebody who does not prove what a member must was refused.
    PeerRefused { id: Id, peer: Id, reason: String },
    /// A peer opened a socket.
    Socket { id: Id, peer: Id },
    /// A socket broke, or could not be connected further.
    SocketFailed { id: Id, peer: Id, reason: String },
    /// A program came to the daemon's door.
    ProgramAttached { name: String, init: bool },
    /// A program went, or was cut off.
    ProgramGone { name: String, reason: Option<String> },
    /// Another node holds the name now.
    NameLost { id: Id, name: String },
    /// The disk takes no more records.
    StoreFailed { id: Id, reason: String },
    /// Registered with a signalling server.
    SignallingConnected { id: Id, url: String },
    /// The signalling server is out of reach.
    SignallingLost { id: Id, url: String, reason: String, retry_seconds: f64 },
    /// The signalling server refuses the node.
    SignallingRefused { id: Id, url: String, reason: String, retry_seconds: f64 },
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Joined { id } => write!(f, "{id} joined the ring"),
            Happening::Isolated { id } => write!(f, "{id} lost all its links and joins anew"),
            Happening::PeerRefused { id, peer, reason } => write!(f, "{id} refused a link to {peer}: {reason}"),
            Happening::Socket { id, peer } => write!(f, "{peer} opened a socket to {id}"),
            Happening::SocketFailed { id, peer, reason } => write!(f, "a socket from {peer} to {id} failed: {reason}"),
            Happening::ProgramAttached { name, init: true } => write!(f, "the program {name} attached"),
            Happening::ProgramAttached { name, init: false } => write!(f, "the program {name} came back"),
            Happening::ProgramGone { name, reason: None } => write!(f, "the program {name} went"),
            Happening::ProgramGone { name, reason: Some(reason) } => {
                write!(f, "the program {name} was cut off: {reason}")
            }
            Happening::NameLost { name, .. } => write!(f, "the name @{name} is lost: another node holds it"),
            Happening::StoreFailed { reason, .. } => {
                write!(f, "the store cannot be written any more: {reason}; the node keeps no new records")
            }
            Happening::SignallingConnected { url, .. } => write!(f, "connected to the signalling server {url}"),
            Happening::SignallingLost { url, reason, retry_seconds, .. } => {
                write!(f, "lost the signalling server {url}: {reason}; the ring goes on, next try in {retry_seconds} s")
            }
            Happening::SignallingRefused { url, reason, retry_seconds, .. } => {
                write!(f, "the signalling server {url} refuses {reason}; next try in {retry_seconds} s")
            }
        }
    }
}

/// Where happenings go: to whoever prints them. Nobody waits for the printer.
#[derive(Debug, Clone)]
pub(crate) struct Teller(mpsc::Sender<Happening>);

impl Teller {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Happening>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Teller(sender), receiver)
    }

    pub(crate) fn tell(&self, happening: Happening) {
        let _ = self.0.try_send(happening);
    }

    /// Tells what happens to this node from now on, until it is closed.
    pub(crate) fn follow(&self, node: &Node) {
        let (id, mut events, teller) = (node.id(), node.events(), self.clone());
        tokio::spawn(async move {
            let mut refused = Refused::default();
            loop {
                match events.recv().await {
                    Ok(NodeEvent::PeerRefused { peer, .. }) if !refused.is_news(peer) => {}
                    Ok(event) => {
                        if let Some(happening) = happening(id, event) {
                            teller.tell(happening);
                        }
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }
}

/// Whose refusals have been told of late: a peer that is refused tries again several times a second.
#[derive(Default)]
struct Refused(BTreeMap<Id, Instant>);

impl Refused {
    fn is_news(&mut self, peer: Id) -> bool {
        self.0.retain(|_, told| told.elapsed() < REFUSED_AGAIN);
        if self.0.len() >= MAX_REFUSED || self.0.contains_key(&peer) {
            return false;
        }
        self.0.insert(peer, Instant::now());
        true
    }
}

/// What of a node's events people want to know.
fn happening(id: Id, event: NodeEvent) -> Option<Happening> {
    Some(match event {
        NodeEvent::Ring(Event::Joined) => Happening::Joined { id },
        NodeEvent::Ring(Event::Isolated) => Happening::Isolated { id },
        NodeEvent::PeerRefused { peer, reason } => Happening::PeerRefused { id, peer, reason },
        NodeEvent::NameLost { name } => Happening::NameLost { id, name },
        NodeEvent::StoreFailed { reason } => Happening::StoreFailed { id, reason },
        NodeEvent::SignallingConnected { url } => Happening::SignallingConnected { id, url },
        NodeEvent::SignallingLost { url, reason, retry_in } => {
            Happening::SignallingLost { id, url, reason, retry_seconds: tenths(retry_in) }
        }
        NodeEvent::SignallingRefused { url, reason, retry_in } => {
            Happening::SignallingRefused { id, url, reason, retry_seconds: tenths(retry_in) }
        }
        _ => return None,
    })
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

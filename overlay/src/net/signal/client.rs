//! A node's standing connection to its signalling servers: it comes back for ever, and says so.
//!
//! Of several servers the first that answers serves, in the order given: nodes with the same list meet on the same server. A
//! node that had to take a later one looks now and then whether an earlier one is back, and moves.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};

use crate::ice::IceServer;
use crate::id::Id;
use crate::key::Identity;
use crate::net::platform::{self, JoinHandle};
use crate::net::signal::connection::address;
use crate::net::signal::task::Task;
use crate::signalling::{ErrorCode, Role, Status, UndeliveredReason, is_network_name};
use crate::wire::Dial;

/// Events that may wait for the node. A node that does not take them is a slow reader for the server, in the end.
pub const EVENTS: usize = 64;
/// Commands that may wait for the connection.
pub const COMMANDS: usize = 256;
/// Whom to register as, and where.
#[derive(Debug, Clone)]
pub struct SignallingConfig {
    /// The servers, `ws://…` or `wss://…`, the preferred one first.
    pub urls: Vec<String>,
    /// The ring on that server.
    pub network: String,
    /// Who the node is.
    pub identity: Identity,
    /// What it is in the ring.
    pub role: Role,
    /// TLS for `wss://`; `None`: trust the roots that browsers trust. A browser uses its own.
    pub tls: Option<Arc<ClientConfig>>,
    /// When to ask what of a server.
    pub timing: SignallingTiming,
}

/// When a client asks what of its server. The defaults suit the internet; tests take shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignallingTiming {
    /// How often a member asks for other members, before jitter: so do two rings that split find each other. Default: 30 s.
    pub find_every: Duration,
    /// How often a silent server is asked whether it still lives. Default: 15 s.
    pub ping_every: Duration,
    /// A server not heard of for so long is gone. Default: 40 s.
    pub silence: Duration,
    /// How often a node on a later server of its list tries the earlier ones, before jitter. Default: 60 s.
    pub prefer_every: Duration,
}

impl Default for SignallingTiming {
    fn default() -> Self {
        SignallingTiming {
            find_every: Duration::from_secs(30),
            ping_every: Duration::from_secs(15),
            silence: Duration::from_secs(40),
            prefer_every: Duration::from_secs(60),
        }
    }
}

/// What happens on the way to other nodes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SignallingEvent {
    /// Registered with a server. Also when the node moved to a server that it prefers.
    Connected {
        /// The server.
        url: String,
        /// The STUN and TURN servers to use.
        ice_servers: Vec<IceServer>,
        /// There is no ring yet and this node is the one to found it.
        found: bool,
        /// Members to join through.
        members: Vec<Id>,
    },
    /// Other members, as asked for.
    Members {
        /// There is no ring yet and this node is the one to found it.
        found: bool,
        /// Members to join through.
        members: Vec<Id>,
    },
    /// Another node sent this.
    Relay {
        /// Who, as the server says.
        from: Id,
        /// What, within its limits.
        dial: Dial,
    },
    /// What was sent to another node did not reach it.
    Undeliverable {
        /// For whom it was.
        to: Id,
        /// Why.
        reason: NotDelivered,
    },
    /// The connection broke, or could not be opened.
    Disconnected {
        /// The server.
        url: String,
        /// What happened.
        reason: String,
        /// When the next attempt comes, with the same server or another.
        retry_in: Duration,
    },
    /// A server refuses this node, and will until somebody changes something. It is tried again all the same, slowly.
    Refused {
        /// The server.
        url: String,
        /// Why.
        code: ErrorCode,
        /// Why, for humans.
        message: String,
        /// When the next attempt comes, with the same server or another.
        retry_in: Duration,
    },
}

/// Why a set-up message did not reach the other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDelivered {
    /// No node with this id is registered in the network.
    NotHere,
    /// The node reads too slowly.
    Busy,
    /// There is no connection to a server now.
    Disconnected,
    /// The message is larger than the server takes.
    TooLarge,
    /// Something that only a later version of the server knows.
    Other,
}

impl From<UndeliveredReason> for NotDelivered {
    fn from(reason: UndeliveredReason) -> Self {
        match reason {
            UndeliveredReason::NotHere => NotDelivered::NotHere,
            UndeliveredReason::Busy => NotDelivered::Busy,
            UndeliveredReason::Other => NotDelivered::Other,
        }
    }
}

/// A configuration that no server can be reached with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No server is named.
    #[error("no signalling server is named: give at least one URL")]
    NoServer,
    /// Not the URL of a signalling server.
    #[error("\"{}\" is not a URL of a signalling server, such as ws://127.0.0.1:9000", .0.escape_debug())]
    Url(String),
    /// Not the name of a network.
    #[error("\"{}\" is not a name of a network: 1 to 64 of a-z A-Z 0-9 . _ -", .0.escape_debug())]
    Network(String),
}

/// A command that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// [`COMMANDS`] are waiting already. Nothing was sent; try again later.
    #[error("too many signalling messages wait already; try again later")]
    Busy,
    /// The client is closed.
    #[error("the signalling client is closed")]
    Closed,
}

/// The standing connection. Dropping it closes it.
#[derive(Debug)]
pub struct SignallingClient {
    handle: SignallingHandle,
    events: mpsc::Receiver<SignallingEvent>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Gives commands to a [`SignallingClient`]. None of them waits.
#[derive(Debug, Clone)]
pub struct SignallingHandle {
    commands: mpsc::Sender<Command>,
}

/// What a [`SignallingHandle`] asks of the task.
#[derive(Debug)]
pub(super) enum Command {
    Relay { to: Id, dial: Dial },
    FindMembers,
    Status(Status),
    NetworkChanged,
}

impl SignallingClient {
    /// Starts to connect, in a task of its own. To be called within a tokio runtime.
    pub fn start(config: SignallingConfig) -> Result<Self, ConfigError> {
        if config.urls.is_empty() {
            return Err(ConfigError::NoServer);
        }
        if let Some(bad) = config.urls.iter().find(|url| address(url).is_none()) {
            return Err(ConfigError::Url(bad.clone()));
        }
        if !is_network_name(&config.network) {
            return Err(ConfigError::Network(config.network));
        }
        let (events_in, events) = mpsc::channel(EVENTS);
        let (commands, commands_out) = mpsc::channel(COMMANDS);
        let (stop, mut stopped) = watch::channel(false);
        let mut task = Task::new(config, events_in, commands_out);
        let task = platform::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => {} // An error: the client was dropped.
                _ = task.run() => {}
            }
            task.leave().await;
        });
        Ok(SignallingClient { handle: SignallingHandle { commands }, events, stop, task })
    }

    /// What gives commands to this client.
    pub fn handle(&self) -> SignallingHandle {
        self.handle.clone()
    }

    /// The next event; `None` once closed. Cancel safe.
    pub async fn next(&mut self) -> Option<SignallingEvent> {
        self.events.recv().await
    }

    /// Says goodbye to the server, and returns when that is done: within a second.
    pub async fn close(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

impl SignallingHandle {
    /// Sends a step of setting up a link to another node. If it cannot be delivered, [`SignallingEvent::Undeliverable`] tells.
    pub fn relay(&self, to: Id, dial: Dial) -> Result<(), SendError> {
        self.command(Command::Relay { to, dial })
    }

    /// Asks for other members. Answered by [`SignallingEvent::Members`], or by `Connected` if there is no connection now.
    pub fn find_members(&self) -> Result<(), SendError> {
        self.command(Command::FindMembers)
    }

    /// Tells how the node sees the ring, now and after every reconnect.
    pub fn status(&self, status: Status) -> Result<(), SendError> {
        self.command(Command::Status(status))
    }

    /// Says that the machine's network has changed: a server that is waited for is tried at once, and one that is connected must give
    /// a sign of life.
    pub fn network_changed(&self) -> Result<(), SendError> {
        self.command(Command::NetworkChanged)
    }

    fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }
}

//! A node's standing connection to its signalling servers: it comes back for ever, and says so.
//!
//! Of several servers the first that answers serves, in the order given: nodes with the same list meet on the same server. A
//! node that had to take a later one looks now and then whether an earlier one is back, and moves.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::ice::IceServer;
use crate::id::Id;
use crate::key::Identity;
use crate::net::signal::backoff::{BACKOFF_LONGEST, Backoff, STEADY, jitter};
use crate::net::signal::connection::{Broken, Connection, default_tls, request};
use crate::net::signal::pace::Pace;
use crate::signalling::{
    ErrorCode, MemberList, NodeMessage, RelayTo, Role, ServerMessage, Status, UndeliveredReason, is_network_name,
};
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
    /// TLS for `wss://`; `None`: trust the roots that browsers trust.
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
    #[error("{0:?} is not a URL of a signalling server, such as ws://127.0.0.1:9000")]
    Url(String),
    /// Not the name of a network.
    #[error("{0:?} is not a name of a network: 1 to 64 of a-z A-Z 0-9 . _ -")]
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

#[derive(Debug)]
enum Command {
    Relay { to: Id, dial: Dial },
    FindMembers,
    Status(Status),
}

impl SignallingClient {
    /// Starts to connect, in a task of its own. To be called within a tokio runtime.
    pub fn start(mut config: SignallingConfig) -> Result<Self, ConfigError> {
        if config.urls.is_empty() {
            return Err(ConfigError::NoServer);
        }
        if let Some(bad) = config.urls.iter().find(|url| request(url).is_none()) {
            return Err(ConfigError::Url(bad.clone()));
        }
        if !is_network_name(&config.network) {
            return Err(ConfigError::Network(config.network));
        }
        if config.tls.is_none() && config.urls.iter().any(|url| url.starts_with("wss")) {
            config.tls = Some(default_tls());
        }
        let (events_in, events) = mpsc::channel(EVENTS);
        let (commands, commands_out) = mpsc::channel(COMMANDS);
        let (stop, mut stopped) = watch::channel(false);
        let mut task = Task {
            config: Arc::new(config),
            events: events_in,
            commands: commands_out,
            status: None,
            current: None,
            backoff: Backoff::default(),
        };
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = stopped.changed() => {} // An error: the client was dropped.
                _ = task.run() => {}
            }
            if let Some(current) = task.current.take() {
                current.connection.close().await;
            }
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

    fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Closed,
        })
    }
}

/// Nobody takes the events any more.
struct Closed;

/// The task that owns the connection.
struct Task {
    config: Arc<SignallingConfig>,
    events: mpsc::Sender<SignallingEvent>,
    commands: mpsc::Receiver<Command>,
    /// The latest status that the node told, for every registration.
    status: Option<Status>,
    current: Option<Current>,
    backoff: Backoff,
}

struct Current {
    connection: Connection,
    /// Its server's place in the list.
    server: usize,
    since: Instant,
    pace: Pace,
}

impl Task {
    async fn run(&mut self) -> Result<(), Closed> {
        loop {
            self.connect().await?;
            let (server, broken) = self.serve().await?;
            let lasted = self.current.take().map_or(Duration::ZERO, |current| current.since.elapsed());
            if lasted >= STEADY {
                self.backoff.reset();
            }
            // Its clients come back to a server one by one, not all at once.
            let wait = self.wait_after(&broken);
            self.tell_broken(server, broken, wait).await?;
            self.rest(wait).await?;
        }
    }

    /// Tries the servers, in their order, until one takes us.
    async fn connect(&mut self) -> Result<(), Closed> {
        let mut server = 0;
        loop {
            let told = self.status.clone();
            let mut opening = open(Arc::clone(&self.config), server, told.clone());
            let opened = loop {
                tokio::select! {
                    opened = &mut opening => break opened,
                    command = self.commands.recv() => self.obey_offline(command).await?,
                }
            };
            let is_last = server + 1 == self.config.urls.len();
            match opened {
                Ok(connection) => {
                    return self.use_connection(server, connection, told).await;
                }
                Err(broken) => {
                    let wait = if is_last { self.wait_after(&broken) } else { Duration::ZERO };
                    self.tell_broken(server, broken, wait).await?;
                    self.rest(wait).await?;
                }
            }
            server = if is_last { 0 } else { server + 1 };
        }
    }

    /// `told`: the status that it was registered with. The node may have told another one meanwhile.
    async fn use_connection(
        &mut self,
        server: usize,
        connection: Connection,
        told: Option<Status>,
    ) -> Result<(), Closed> {
        let now = Instant::now();
        let welcome = &connection.welcome;
        let (found, members) = plain(&welcome.list);
        let event = SignallingEvent::Connected {
            url: self.config.urls[server].clone(),
            ice_servers: welcome.ice_servers.clone(),
            found,
            members,
        };
        let pace = Pace::new(welcome.limits, now);
        self.current = Some(Current { connection, server, since: now, pace });
        self.tell(event).await?;
        if self.status != told {
            // A failure shows on the next read.
            let _ = self.send(NodeMessage::Status(self.status.clone().unwrap_or_default())).await;
        }
        Ok(())
    }

    /// Reads and writes until the connection breaks.
    async fn serve(&mut self) -> Result<(usize, Broken), Closed> {
        let timing = self.config.timing;
        let mut heard = Instant::now();
        let mut ping_at = heard + timing.ping_every;
        let mut find_at = heard + jittered(timing.find_every);
        let mut prefer_at = heard + jittered(timing.prefer_every);
        let mut preferred: Option<BoxFuture<'static, Option<Better>>> = None;
        loop {
            let Some(current) = &mut self.current else { return Ok((0, Broken::Lost("no connection".into()))) };
            let server = current.server;
            let may_send_at = current.pace.ready_at();
            let may_send = may_send_at <= Instant::now();
            let step = tokio::select! {
                message = current.connection.next() => match message {
                    Ok(message) => {
                        heard = Instant::now();
                        match message {
                            Some(message) => self.take(message).await?,
                            None => Ok(()),
                        }
                    }
                    Err(broken) => Err(broken),
                },
                command = self.commands.recv(), if may_send => match command {
                    Some(command) => self.obey(command).await?,
                    None => return Err(Closed),
                },
                () = sleep_until(may_send_at), if !may_send => Ok(()),
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + timing.ping_every;
                    if heard.elapsed() >= timing.silence {
                        Err(Broken::Lost(format!("the server was silent for {} s", timing.silence.as_secs_f32())))
                    } else {
                        current.connection.ping().await
                    }
                }
                () = sleep_until(find_at), if self.config.role == Role::Member => {
                    find_at = Instant::now() + jittered(timing.find_every);
                    self.send(NodeMessage::FindMembers).await
                }
                () = sleep_until(prefer_at), if server > 0 && preferred.is_none() => {
                    preferred = Some(find_better(Arc::clone(&self.config), server, self.status.clone()));
                    Ok(())
                }
                Some(better) = OptionFuture::from(preferred.as_mut()) => {
                    preferred = None;
                    prefer_at = Instant::now() + jittered(timing.prefer_every);
                    if let Some((server, connection, told)) = better {
                        if let Some(old) = self.current.take() {
                            old.connection.close().await;
                        }
                        heard = Instant::now();
                        self.use_connection(server, connection, told).await?;
                    }
                    Ok(())
                }
            };
            if let Err(broken) = step {
                return Ok((server, broken));
            }
        }
    }

    /// Takes a message from the server.
    async fn take(&mut self, message: ServerMessage) -> Result<Result<(), Broken>, Closed> {
        let event = match message {
            ServerMessage::Members(list) => {
                let (found, members) = plain(&list);
                SignallingEvent::Members { found, members }
            }
            ServerMessage::Relay(relay) => match relay.dial() {
                Some(dial) => SignallingEvent::Relay { from: relay.from, dial },
                // The other node's fault, or its later version: no reason to leave the server.
                None => {
                    tracing::debug!(from = %relay.from, "a relayed message that is no step of dialling");
                    return Ok(Ok(()));
                }
            },
            ServerMessage::Undeliverable(failed) => {
                SignallingEvent::Undeliverable { to: failed.to, reason: failed.reason.into() }
            }
            ServerMessage::Error(refusal) => return Ok(Err(Broken::Refused(refusal))),
            ServerMessage::Challenge(_) | ServerMessage::Welcome(_) => {
                return Ok(Err(Broken::Lost("the server began a second registration".into())));
            }
        };
        self.tell(event).await.map(Ok)
    }

    async fn obey(&mut self, command: Command) -> Result<Result<(), Broken>, Closed> {
        let message = match command {
            Command::FindMembers => NodeMessage::FindMembers,
            Command::Status(status) => {
                self.status = Some(status.clone());
                NodeMessage::Status(status)
            }
            Command::Relay { to, dial } => NodeMessage::Relay(RelayTo::dial(to, &dial)),
        };
        let limit = self.current.as_ref().map_or(0, |current| current.connection.welcome.limits.message_bytes);
        if let NodeMessage::Relay(relay) = &message
            && message.to_json().len() > limit
        {
            let event = SignallingEvent::Undeliverable { to: relay.to, reason: NotDelivered::TooLarge };
            return self.tell(event).await.map(Ok);
        }
        Ok(self.send(message).await)
    }

    async fn obey_offline(&mut self, command: Option<Command>) -> Result<(), Closed> {
        match command.ok_or(Closed)? {
            Command::Status(status) => self.status = Some(status),
            Command::FindMembers => {} // The welcome brings some.
            Command::Relay { to, .. } => {
                self.tell(SignallingEvent::Undeliverable { to, reason: NotDelivered::Disconnected }).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, message: NodeMessage) -> Result<(), Broken> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.pace.sent(Instant::now());
        current.connection.send(&message).await
    }

    /// Waits, and obeys meanwhile as one can without a server.
    async fn rest(&mut self, wait: Duration) -> Result<(), Closed> {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                command = self.commands.recv() => self.obey_offline(command).await?,
            }
        }
    }

    fn wait_after(&mut self, broken: &Broken) -> Duration {
        match broken {
            Broken::Refused(refusal) if refusal.code.is_lasting() => jittered(BACKOFF_LONGEST),
            _ => self.backoff.wait(&mut rand::rng()),
        }
    }

    async fn tell_broken(&mut self, server: usize, broken: Broken, retry_in: Duration) -> Result<(), Closed> {
        let url = self.config.urls[server].clone();
        self.tell(match broken {
            Broken::Lost(reason) => SignallingEvent::Disconnected { url, reason, retry_in },
            Broken::Refused(refusal) if refusal.code.is_lasting() => {
                SignallingEvent::Refused { url, code: refusal.code, message: refusal.message, retry_in }
            }
            Broken::Refused(refusal) => {
                let reason = format!("{}: {}", refusal.code.as_str(), refusal.message);
                SignallingEvent::Disconnected { url, reason, retry_in }
            }
        })
        .await
    }

    async fn tell(&mut self, event: SignallingEvent) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }
}

/// A connection to a server that stands earlier in the list, and the status that it was registered with.
type Better = (usize, Connection, Option<Status>);

fn find_better(
    config: Arc<SignallingConfig>,
    than: usize,
    status: Option<Status>,
) -> BoxFuture<'static, Option<Better>> {
    Box::pin(async move {
        for server in 0..than {
            if let Ok(connection) = open(Arc::clone(&config), server, status.clone()).await {
                return Some((server, connection, status));
            }
        }
        None
    })
}

fn open(
    config: Arc<SignallingConfig>,
    server: usize,
    status: Option<Status>,
) -> BoxFuture<'static, Result<Connection, Broken>> {
    Box::pin(async move { Connection::open(&config.urls[server], &config, status).await })
}

fn plain(list: &MemberList) -> (bool, Vec<Id>) {
    (list.found, list.members.iter().map(|member| member.id).collect())
}

fn jittered(wait: Duration) -> Duration {
    jitter(wait, &mut rand::rng())
}

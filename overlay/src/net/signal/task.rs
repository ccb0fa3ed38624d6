//! The task behind a signalling client: it owns the connection, and nobody else touches it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::mpsc;

use crate::id::Id;
use crate::net::platform::{Instant, sleep_until};
use crate::net::signal::backoff::{BACKOFF_LONGEST, Backoff, STEADY, jitter};
use crate::net::signal::client::{Command, NotDelivered, SignallingConfig, SignallingEvent};
use crate::net::signal::connection::{Broken, Connection};
use crate::net::signal::pace::Pace;
use crate::signalling::{MemberList, NodeMessage, RelayTo, Role, ServerMessage, Status};

/// How long a server has for a sign of life after the network changed.
const DOUBT: Duration = Duration::from_secs(3);

/// Nobody takes the events any more.
pub(super) struct Closed;

/// The task that owns the connection.
pub(super) struct Task {
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
    pub(super) fn new(
        config: SignallingConfig,
        events: mpsc::Sender<SignallingEvent>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let (config, backoff) = (Arc::new(config), Backoff::default());
        Task { config, events, commands, status: None, current: None, backoff }
    }

    /// Says goodbye to the server, if there is one.
    pub(super) async fn leave(&mut self) {
        if let Some(current) = self.current.take() {
            current.connection.close().await;
        }
    }

    /// Connects, serves, and comes back, for ever.
    pub(super) async fn run(&mut self) -> Result<(), Closed> {
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
        // When it became doubtful whether the server can still be heard.
        let mut doubted: Option<Instant> = None;
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
                    Some(Command::NetworkChanged) => {
                        doubted = Some(Instant::now());
                        ping_at = Instant::now() + DOUBT;
                        current.connection.ping().await
                    }
                    Some(command) => self.obey(command).await?,
                    None => return Err(Closed),
                },
                () = sleep_until(may_send_at), if !may_send => Ok(()),
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + timing.ping_every;
                    let is_deaf = doubted.take().is_some_and(|since| heard < since);
                    if is_deaf || heard.elapsed() >= timing.silence {
                        Err(Broken::Lost(format!("the server was silent for {:.1} s", heard.elapsed().as_secs_f32())))
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
            // Seen to where the connection is served.
            Command::NetworkChanged => return Ok(Ok(())),
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
            Command::FindMembers => {}    // The welcome brings some.
            Command::NetworkChanged => {} // It is being tried.
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
                command = self.commands.recv() => match command {
                    Some(Command::NetworkChanged) => return Ok(()),
                    command => self.obey_offline(command).await?,
                },
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

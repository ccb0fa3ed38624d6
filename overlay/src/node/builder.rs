//! How a node is made.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

use super::names::{self, Book, ClaimError};
use super::{EVENT_BACKLOG, Inner, Node, NodeEvent, direct, objects};
use crate::ice::IceServer;
use crate::id::Id;
use crate::key::Identity;
use crate::net::driver::{COMMANDS, Driver, Parts};
use crate::net::link::hello::{HelloSettings, Versions};
use crate::net::link::{LinkError, LinkSettings};
#[cfg(not(target_family = "wasm"))]
use crate::net::platform::DiskError;
use crate::net::platform::{self, Instant};
use crate::net::session::{SessionError, Sessions, Settings};
use crate::net::signal::{ConfigError, SignallingClient, SignallingConfig, SignallingTiming};
use crate::object::{Limits, Objects};
use crate::proto::{Config, Event, Proto, Quotas, Time};
use crate::wire::Role;

/// How long [`NodeBuilder::start`] goes on once a member was met that does not prove what it should, or is not content with
/// what this node proves. One such member may be a liar; after this long all of them are.
pub const REFUSED_FOR: Duration = Duration::from_secs(2);

/// Makes a [`Node`]. Only [`signalling`](Self::signalling) must be set.
#[derive(Debug, Clone)]
#[must_use]
pub struct NodeBuilder {
    signalling: Vec<String>,
    identity: Option<Identity>,
    config: Config,
    hello: HelloSettings,
    links: LinkSettings,
    sessions: Settings,
    objects: Limits,
    direct_links: bool,
    name: Option<String>,
    #[cfg(not(target_family = "wasm"))]
    store: Option<std::path::PathBuf>,
    start_timeout: Duration,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        NodeBuilder {
            signalling: Vec::new(),
            identity: None,
            config: Config::default(),
            hello: HelloSettings::new("atoll"),
            links: LinkSettings::default(),
            sessions: Settings::default(),
            objects: Limits::default(),
            direct_links: true,
            name: None,
            #[cfg(not(target_family = "wasm"))]
            store: None,
            start_timeout: Duration::from_secs(30),
        }
    }
}

/// A node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No signalling server answered.
    #[error("no signalling server answers: {url}: {reason}")]
    NoSignalling {
        /// The one that was tried last.
        url: String,
        /// What happened.
        reason: String,
    },
    /// A signalling server refuses this node.
    #[error("the signalling server {url} refuses this node: {reason}")]
    Refused {
        /// The server.
        url: String,
        /// Why.
        reason: String,
    },
    /// Members were met, and none of the links to them held: usually the network's secret is another.
    #[error("{peer} and this node do not take each other: {reason}; check the network and its secret")]
    PeersRefused {
        /// The one that was met last.
        peer: Id,
        /// What was wrong with it.
        reason: String,
    },
    /// No place on the ring was found in time.
    #[error("no place on the ring within {} s; there may be no members yet, or they may be out of reach", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The signalling servers or the network are not named properly.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Links cannot be set up with these settings.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Sessions cannot be set up with these settings.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The records on the disk cannot be used.
    #[cfg(not(target_family = "wasm"))]
    #[error(transparent)]
    Store(#[from] DiskError),
    /// The name is not to be had.
    #[error("the name @{name} is not to be had: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: ClaimError,
    },
}

impl NodeBuilder {
    /// A signalling server, `ws://…` or `wss://…`. Several may be named; any one that answers will do.
    pub fn signalling(mut self, url: impl Into<String>) -> Self {
        self.signalling.push(url.into());
        self
    }

    /// The ring to join on that server. Default: `atoll`.
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.hello.network = name.into();
        self
    }

    /// What all nodes of the network share: a link opens only between nodes that prove it. Default: none, everyone may join.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.hello.secret = Some(secret.into());
        self
    }

    /// The key pair of the node. Default: a new one, so that the node is somebody else each time.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Whether the node is a member of the ring, the default, or only visits.
    pub fn role(mut self, role: Role) -> Self {
        self.config.role = role;
        self.hello.role = role;
        self
    }

    /// Links at most, in both directions together. Default: 64; at least [`Config::MIN_LINKS`].
    pub fn max_links(mut self, links: usize) -> Self {
        let (role, quotas) = (self.config.role, self.config.quotas);
        self.config = Config { role, quotas, ..Config::with_links(links) };
        self
    }

    /// Everything about the node's part in the ring.
    pub fn config(mut self, config: Config) -> Self {
        self.hello.role = config.role;
        self.config = config;
        self
    }

    /// A STUN or TURN server, besides those that the signalling server names. Several may be given.
    pub fn ice_server(mut self, server: IceServer) -> Self {
        self.links.ice_servers.push(server);
        self
    }

    /// An address of this machine to offer to peers. Several may be given; default: those of all interfaces but loopback.
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.links.bind.push(address);
        self
    }

    /// Uses TURN servers alone, which hides this node's addresses from its peers.
    pub fn relay_only(mut self, relay_only: bool) -> Self {
        self.links.relay_only = relay_only;
        self
    }

    /// The limits of the node's sessions.
    pub fn sessions(mut self, settings: Settings) -> Self {
        self.sessions = settings;
        self
    }

    /// What peers may ask of the node's objects at once.
    pub fn objects(mut self, limits: Limits) -> Self {
        self.objects = limits;
        self
    }

    /// A name that [`start`](Self::start) claims and the node keeps until it is closed, without the `@`: see [`Node::claim`]. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The directory in which the node keeps its records of the ring's store, so that they outlive the process; made where it is missing. One that
    /// uses it already, or a file that is damaged, is a [`StartError::Store`]. Default: none, records are kept in memory alone.
    ///
    /// A write that is acknowledged is then on the disks of all the nodes that it counts, as far as they have one. Records are loaded into memory when the node
    /// starts, each verified, within the quotas.
    #[cfg(not(target_family = "wasm"))]
    pub fn store(mut self, directory: impl Into<std::path::PathBuf>) -> Self {
        self.store = Some(directory.into());
        self
    }

    /// What the node stores for others at most. Default: [`Quotas::default`].
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.config.quotas = quotas;
        self
    }

    /// Whether a busy session gets a link of its own, within the budget. Default: yes.
    pub fn direct_links(mut self, direct: bool) -> Self {
        self.direct_links = direct;
        self
    }

    /// The versions and capabilities that the node tells its peers. For tests of nodes of other versions.
    pub fn speaks(mut self, versions: Versions, capabilities: u64) -> Self {
        self.hello.versions = versions;
        self.hello.capabilities = capabilities;
        self
    }

    /// How long [`start`](Self::start) waits for a place on the ring. Default: 30 s.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Starts the node and waits until it has its place on the ring. To be called inside a tokio runtime.
    ///
    /// Fails as soon as every signalling server that was named has been tried once without an answer, and when members were met
    /// but none opened a link for [`REFUSED_FOR`]. Later on a node tries again for ever.
    pub async fn start(self) -> Result<Node, StartError> {
        let servers = self.signalling.len();
        let first = self.signalling.first().cloned().unwrap_or_default();
        let mut connected = false;
        let timeout = self.start_timeout;
        let name = self.name.clone();
        let (node, mut events) = self.launch()?;
        let joined = async {
            let mut failures = 0;
            let mut refused: Option<(Id, String, Instant)> = None;
            loop {
                let patience = refused.as_ref().map(|(.., since)| *since + REFUSED_FOR);
                let event = tokio::select! {
                    event = events.recv() => event,
                    () = async { platform::sleep_until(patience.expect("only polled when there is one")).await },
                        if patience.is_some() =>
                    {
                        let (peer, reason, _) = refused.expect("the wait is over because somebody refused");
                        return Err(StartError::PeersRefused { peer, reason });
                    }
                };
                match event {
                    Ok(NodeEvent::Ring(Event::Joined)) | Err(_) => return Ok(()),
                    Ok(NodeEvent::SignallingRefused { url, reason, .. }) => {
                        return Err(StartError::Refused { url, reason });
                    }
                    Ok(NodeEvent::SignallingLost { url, reason, .. }) => {
                        failures += 1;
                        if failures >= servers {
                            return Err(StartError::NoSignalling { url, reason });
                        }
                    }
                    Ok(NodeEvent::SignallingConnected { .. }) => connected = true,
                    Ok(NodeEvent::PeerRefused { peer, reason }) => {
                        let since = refused.map_or_else(Instant::now, |(.., since)| since);
                        refused = Some((peer, reason, since));
                    }
                    Ok(NodeEvent::Ring(Event::PeerConnected(_))) => refused = None,
                    Ok(_) => {}
                }
            }
        };
        match platform::timeout(timeout, joined).await {
            Ok(joined) => {
                joined?;
                if let Some(name) = name
                    && let Err(reason) = node.keep_name(&name).await
                {
                    node.close().await;
                    return Err(StartError::Name { name, reason });
                }
                Ok(node)
            }
            Err(_) if connected => Err(StartError::TimedOut(timeout)),
            Err(_) => {
                let reason = format!("no answer within {} s", timeout.as_secs_f32());
                Err(StartError::NoSignalling { url: first, reason })
            }
        }
    }

    /// Starts the node without waiting for anything: [`Node::events`] tell how it fares. It claims no name.
    pub fn spawn(self) -> Result<Node, StartError> {
        self.launch().map(|(node, _)| node)
    }

    fn launch(self) -> Result<(Node, broadcast::Receiver<NodeEvent>), StartError> {
        let identity = self.identity.unwrap_or_else(Identity::generate);
        // Ends of records are moments that all nodes agree on.
        let started = Time(names::since_1970().as_micros() as u64);
        let epoch = Instant::now();
        #[allow(unused_mut, reason = "a page has no disk")]
        let mut proto = Proto::new(identity.id(), self.config.clone(), rand::random(), started);
        #[cfg(not(target_family = "wasm"))]
        let disk = match &self.store {
            Some(directory) => {
                let (disk, records) = platform::Disk::open(directory)?;
                proto.load_records(records, started);
                Some(disk)
            }
            None => None,
        };
        #[cfg(target_family = "wasm")]
        let disk = None;
        let signalling = SignallingClient::start(SignallingConfig {
            urls: self.signalling,
            network: self.hello.network.clone(),
            identity: identity.clone(),
            role: self.config.role,
            tls: None,
            timing: SignallingTiming::default(),
        })?;
        let (events, first_events) = broadcast::channel(EVENT_BACKLOG);
        let (commands, commands_out) = mpsc::channel(COMMANDS);
        let mut driver = Driver::new(Parts {
            identity: Arc::new(identity.clone()),
            proto,
            hello: self.hello,
            link_settings: self.links,
            signalling,
            commands: commands_out,
            events: events.clone(),
            epoch,
            started,
            disk,
        })?;
        let (sessions, port) = Sessions::new(&identity, driver.carrier(), self.sessions)?;
        driver.set_port(port);
        platform::spawn(driver.run());
        if self.direct_links {
            platform::spawn(direct::keep(sessions.clone(), commands.downgrade()));
        }
        let ring = objects::Lookups(commands.downgrade());
        let objects = Objects::start(identity.public(), &sessions, self.objects, ring)
            .expect("nobody can listen on sessions that were just made");
        let book = Book::new(identity.clone(), commands.downgrade(), events.clone());
        objects.set_names(Arc::new(book.clone()));
        let joined = super::channels::Joined::default();
        let inner =
            Arc::new(Inner { key: identity.public(), commands, events, sessions, objects, identity, book, joined });
        Ok((Node { inner }, first_events))
    }
}

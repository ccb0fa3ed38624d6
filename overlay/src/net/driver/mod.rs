//! The one task that owns a node's [`Proto`] and moves bytes between it, the links, the sessions and the signalling server.
//!
//! A frame that is only passing through costs a look at its header and a hand-over to another link (`frames.rs`): no
//! allocation, no copy. Nothing here waits for anybody: every queue out of this task is bounded, and what does not fit is dropped
//! as an IP router would, or ends the link that does not keep up.

mod carrier;
mod frames;
mod outputs;
mod setup;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use self::carrier::{RingCarrier, Routes, UNROUTED_PACKETS, Unrouted};
use self::setup::SetupError;
use crate::channel::Hub;
use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::link::hello::{HelloSettings, Peer};
use crate::net::link::{Link, LinkEvent, LinkSender, LinkSettings, Transport};
use crate::net::platform::{self, AbortHandle, Disk, Instant};
use crate::net::session::Port;
use crate::net::signal::{SignallingClient, SignallingEvent, SignallingHandle};
use crate::node::{Counters, NodeEvent, NodeStatus, PeerInfo};
use crate::proto::{Answer, Finger, Input, LinkId, Membership, Proto, Time, Token};
use crate::record::{Key, Record};
use crate::signalling::Status;
use crate::small_map::SmallMap;
use crate::wire::{ChannelId, Published};

/// Frames of all links that wait for the driver, at most.
const INBOX: usize = 1024;

/// Commands of the application that wait for the driver, at most.
pub(crate) const COMMANDS: usize = 256;

/// Answers that links being set up may owe the driver, at most.
const SETUP_EVENTS: usize = 256;

/// How long [`Command::Close`] waits for the farewells to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// A timer that comes so late says that the machine has slept, or that the browser had frozen the page. Nobody could be heard meanwhile, so
/// silence proves nothing.
const OVERSLEPT: Duration = Duration::from_secs(4);

/// What a node asks of its driver.
pub(crate) enum Command {
    Lookup { key: Id, reply: oneshot::Sender<Answer> },
    Trace { peer: Id, reply: oneshot::Sender<Answer> },
    UpdateFinger { row: u32, reply: oneshot::Sender<Answer> },
    Put { record: Box<Record>, reply: oneshot::Sender<Answer> },
    Get { key: Box<Key>, reply: oneshot::Sender<Answer> },
    JoinChannel { membership: Box<Membership>, hub: Arc<Hub>, reply: oneshot::Sender<Answer> },
    Publish { channel: ChannelId, message: Published, reply: oneshot::Sender<Answer> },
    LeaveChannel { channel: ChannelId, hub: Arc<Hub>, reply: oneshot::Sender<Answer> },
    Status { reply: oneshot::Sender<NodeStatus> },
    WantDirect(Id),
    ReleaseDirect(Id),
    NetworkChanged,
    Close { reply: oneshot::Sender<()> },
}

/// What the helpers of the driver tell it.
enum Event {
    Describe { link: LinkId, description: String },
    SetUp { link: LinkId, result: Result<(Link, Peer), SetupError> },
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) identity: Arc<Identity>,
    pub(crate) proto: Proto,
    pub(crate) hello: HelloSettings,
    pub(crate) link_settings: LinkSettings,
    pub(crate) signalling: SignallingClient,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: broadcast::Sender<NodeEvent>,
    pub(crate) epoch: Instant,
    /// What the clock of the protocol showed then.
    pub(crate) started: Time,
    /// Where records outlive the process; the protocol has loaded them.
    pub(crate) disk: Option<Disk>,
}

/// A link that is being set up.
struct Attempt {
    peer: Id,
    begun: Instant,
    descriptions: mpsc::Sender<String>,
    task: AbortHandle,
}

/// The neighbour to answer a node through, and when that node last spoke by it.
struct KnownVia {
    via: Option<Id>,
    heard: Instant,
}

/// An open link.
struct OpenLink {
    peer: Peer,
    sender: LinkSender,
}

pub(crate) struct Driver {
    identity: Arc<Identity>,
    proto: Proto,
    hello: Arc<HelloSettings>,
    link_settings: LinkSettings,
    transport: Transport,
    signalling: SignallingClient,
    server: SignallingHandle,
    commands: mpsc::Receiver<Command>,
    events: broadcast::Sender<NodeEvent>,
    epoch: Instant,
    started: Time,
    port: Option<Port>,
    routes: Routes,
    unrouted_in: mpsc::Sender<Unrouted>,
    unrouted: mpsc::Receiver<Unrouted>,
    inbox_in: mpsc::Sender<LinkEvent>,
    inbox: mpsc::Receiver<LinkEvent>,
    setup_in: mpsc::Sender<Event>,
    setup: mpsc::Receiver<Event>,
    attempts: SmallMap<LinkId, Attempt>,
    links: SmallMap<LinkId, OpenLink>,
    vias: SmallMap<Id, KnownVia>,
    /// Whoever reads what comes on a channel.
    hubs: SmallMap<ChannelId, Arc<Hub>>,
    replies: SmallMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    counters: Counters,
    status_due: Option<Instant>,
    disk: Option<Disk>,
    closed: Option<oneshot::Sender<()>>,
    /// Links that still have a farewell to bring.
    leaving: Vec<LinkSender>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Result<Self, crate::net::link::LinkError> {
        let transport = platform::transport(parts.link_settings.clone())?;
        let (unrouted_in, unrouted) = mpsc::channel(UNROUTED_PACKETS);
        let (inbox_in, inbox) = mpsc::channel(INBOX);
        let (setup_in, setup) = mpsc::channel(SETUP_EVENTS);
        Ok(Driver {
            identity: parts.identity,
            proto: parts.proto,
            hello: Arc::new(parts.hello),
            link_settings: parts.link_settings,
            transport,
            server: parts.signalling.handle(),
            signalling: parts.signalling,
            commands: parts.commands,
            events: parts.events,
            epoch: parts.epoch,
            started: parts.started,
            port: None,
            routes: Routes::default(),
            unrouted_in,
            unrouted,
            inbox_in,
            inbox,
            setup_in,
            setup,
            attempts: SmallMap::new(),
            links: SmallMap::new(),
            vias: SmallMap::new(),
            hubs: SmallMap::new(),
            replies: SmallMap::new(),
            next_token: 0,
            counters: Counters::default(),
            status_due: None,
            disk: parts.disk,
            closed: None,
            leaving: Vec::new(),
        })
    }

    /// What the node's sessions send by.
    pub(crate) fn carrier(&self) -> impl crate::net::session::Carrier + use<> {
        RingCarrier { routes: self.routes.clone(), unrouted: self.unrouted_in.clone() }
    }

    /// Where packets for the node's sessions go.
    pub(crate) fn set_port(&mut self, port: Port) {
        self.port = Some(port);
    }

    /// Runs until the node is closed, or dropped.
    pub(crate) async fn run(mut self) {
        self.drain();
        while self.closed.is_none() {
            let timeout = self.proto.poll_timeout().map(|at| self.epoch + at.since(self.started));
            let timeout = timeout.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            let status_due = self.status_due.unwrap_or(timeout);
            tokio::select! {
                Some(event) = self.inbox.recv() => self.on_link_events(event),
                Some(packet) = self.unrouted.recv() => self.on_unrouted(packet),
                event = self.setup.recv() => if let Some(event) = event { self.on_setup(event) },
                command = self.commands.recv() => match command {
                    Some(command) => self.on_commands(command),
                    None => break,
                },
                saved = saved(&mut self.disk) => self.on_saved(saved),
                event = self.signalling.next() => if let Some(event) = event { self.on_signalling(event) },
                () = platform::sleep_until(timeout) => {
                    if timeout.elapsed() > OVERSLEPT {
                        self.network_changed();
                    }
                    let now = self.now();
                    self.proto.handle_timeout(now);
                }
                () = platform::sleep_until(status_due), if self.status_due.is_some() => self.tell_status(),
            }
            self.drain();
        }
        self.shut_down().await;
    }

    fn now(&self) -> Time {
        self.started.after(self.epoch.elapsed())
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.proto.handle(input, now);
    }

    /// Carries commands out. Messages for one channel that wait together are published together.
    fn on_commands(&mut self, first: Command) {
        let (mut next, mut batch, mut of) = (Some(first), Vec::new(), None);
        while let Some(command) = next.take() {
            match command {
                Command::Publish { channel, message, reply } if of.is_none_or(|of| of == channel) => {
                    of = Some(channel);
                    batch.push((message, reply));
                    if batch.len() < COMMANDS {
                        next = self.commands.try_recv().ok();
                    }
                }
                other => {
                    if let Some(channel) = of.take() {
                        self.publish(channel, std::mem::take(&mut batch));
                    }
                    self.on_command(other);
                }
            }
        }
        if let Some(channel) = of {
            self.publish(channel, batch);
        }
    }

    fn publish(&mut self, channel: ChannelId, batch: Vec<(Published, oneshot::Sender<Answer>)>) {
        let messages = batch.into_iter().map(|(message, reply)| (self.await_answer(reply), message)).collect();
        self.input(Input::Publish { channel, messages });
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Lookup { key, reply } => {
                let token = self.await_answer(reply);
                self.input(Input::Lookup { token, key });
            }
            Command::Trace { peer, reply } => {
                let token = self.await_answer(reply);
                self.input(Input::Trace { token, peer });
            }
            Command::UpdateFinger { row, reply } => {
                let token = self.await_answer(reply);
                self.input(Input::UpdateFinger { token, row });
            }
            Command::Put { record, reply } => {
                let token = self.await_answer(reply);
                self.input(Input::Put { token, record });
            }
            Command::Get { key, reply } => {
                let token = self.await_answer(reply);
                self.input(Input::Get { token, key });
            }
            Command::JoinChannel { membership, hub, reply } => {
                let channel = membership.terms.id();
                if let Some(held) = self.hubs.get(&channel).filter(|held| held.is_closed()) {
                    // Those who had joined it have let it go, and their word of that is on its way.
                    let (hub, (reply, _)) = (Arc::clone(held), oneshot::channel());
                    self.leave_channel(channel, &hub, reply);
                }
                let token = self.await_answer(reply);
                self.hubs.insert(channel, hub);
                self.input(Input::JoinChannel { token, membership });
            }
            Command::Publish { channel, message, reply } => self.publish(channel, vec![(message, reply)]),
            Command::LeaveChannel { channel, hub, reply } => self.leave_channel(channel, &hub, reply),
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::WantDirect(peer) => self.input(Input::WantDirect(peer)),
            Command::ReleaseDirect(peer) => self.input(Input::ReleaseDirect(peer)),
            Command::NetworkChanged => self.network_changed(),
            Command::Close { reply } => {
                self.input(Input::Leave);
                self.closed = Some(reply);
            }
        }
    }

    /// Leaves a channel, unless it has been left and joined again meanwhile.
    fn leave_channel(&mut self, channel: ChannelId, hub: &Arc<Hub>, reply: oneshot::Sender<Answer>) {
        if self.hubs.get(&channel).is_some_and(|held| !Arc::ptr_eq(held, hub)) {
            let _ = reply.send(Answer::LeftChannel);
            return;
        }
        self.hubs.remove(&channel);
        let token = self.await_answer(reply);
        self.input(Input::LeaveChannel { token, channel });
    }

    fn network_changed(&mut self) {
        let _ = self.server.network_changed();
        self.input(Input::NetworkChanged);
    }

    /// The protocol answers every request, within the limits of its lookups.
    fn await_answer(&mut self, reply: oneshot::Sender<Answer>) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.replies.insert(token, reply);
        token
    }

    /// The disk has written, or fails: then the node goes on without it, and keeps nothing new.
    fn on_saved(&mut self, saved: Result<u64, String>) {
        match saved {
            Ok(number) => self.input(Input::Saved { number }),
            Err(reason) => {
                tracing::warn!(%reason, "the store cannot be written any more");
                self.disk = None;
                let _ = self.events.send(NodeEvent::StoreFailed { reason });
                self.input(Input::DiskFailed);
            }
        }
    }

    fn on_signalling(&mut self, event: SignallingEvent) {
        match event {
            SignallingEvent::Connected { url, ice_servers, found, members } => {
                self.use_ice_servers(ice_servers);
                let _ = self.events.send(NodeEvent::SignallingConnected { url });
                self.input(Input::Members { found, members });
                self.tell_status();
            }
            SignallingEvent::Members { found, members } => self.input(Input::Members { found, members }),
            SignallingEvent::Relay { from, dial } => self.input(Input::Signal { from, dial }),
            SignallingEvent::Undeliverable { to, .. } => self.input(Input::NotDelivered { to }),
            SignallingEvent::Disconnected { url, reason, retry_in } => {
                let _ = self.events.send(NodeEvent::SignallingLost { url, reason, retry_in });
            }
            SignallingEvent::Refused { url, message, retry_in, .. } => {
                let _ = self.events.send(NodeEvent::SignallingRefused { url, reason: message, retry_in });
            }
        }
    }

    /// New links gather candidates from the node's own servers and from those that the signalling server names.
    fn use_ice_servers(&mut self, named: Vec<crate::ice::IceServer>) {
        let mut settings = self.link_settings.clone();
        settings.ice_servers = crate::ice::with_named(settings.ice_servers, named);
        match platform::transport(settings) {
            Ok(transport) => self.transport = transport,
            Err(error) => tracing::warn!(%error, "the signalling server names ICE servers that cannot be used"),
        }
    }

    /// Tells the signalling server how this node sees the ring: whom it may introduce newcomers to.
    fn tell_status(&mut self) {
        self.status_due = None;
        let status = Status {
            member: self.proto.phase() == crate::proto::Phase::Member,
            predecessor: self.proto.predecessors().first().copied(),
            successors: self.proto.successors().to_vec(),
            links: self.links.values().map(|open| open.peer.id).collect(),
        };
        let _ = self.server.status(status);
    }

    fn status(&self) -> NodeStatus {
        let info = |peer: crate::proto::Peer| {
            let key: Option<PeerKey> = self.links.get(&peer.link).map(|open| open.peer.key);
            let version = self.links.get(&peer.link).map_or(0, |open| open.peer.version);
            PeerInfo {
                id: peer.id,
                role: peer.role,
                member: peer.member,
                purpose: peer.purpose,
                key,
                version,
                suspect: peer.suspect,
            }
        };
        let fingers: Vec<Finger> = self.proto.fingers();
        NodeStatus {
            id: self.proto.id(),
            phase: self.proto.phase(),
            predecessors: self.proto.predecessors().to_vec(),
            successors: self.proto.successors().to_vec(),
            peers: self.proto.peers().map(info).collect(),
            fingers,
            links_in_use: self.proto.links_in_use(),
            max_links: self.proto.config().max_links,
            estimated_size: self.proto.estimated_size(),
            counters: Counters {
                protocol: self.proto.stats(),
                channels: self.proto.channel_stats(),
                store: self.proto.store_stats(),
                ..self.counters.clone()
            },
        }
    }

    /// The farewells have been handed to the links: let them leave, then go.
    async fn shut_down(mut self) {
        for hub in self.hubs.values() {
            hub.close();
        }
        for (_, attempt) in std::mem::take(&mut self.attempts) {
            attempt.task.abort();
        }
        for (_, open) in std::mem::take(&mut self.links) {
            open.sender.close();
            self.leaving.push(open.sender);
        }
        let all_closed = async {
            for sender in &self.leaving {
                sender.closed().await;
            }
        };
        let _ = platform::timeout(FAREWELL, all_closed).await;
        self.signalling.close().await;
        if let Some(disk) = self.disk.take() {
            disk.close().await;
        }
        if let Some(reply) = self.closed.take() {
            let _ = reply.send(());
        }
    }
}

/// What the disk says next; nothing where there is none.
async fn saved(disk: &mut Option<Disk>) -> Result<u64, String> {
    match disk {
        Some(disk) => disk.saved().await,
        None => std::future::pending().await,
    }
}

//! The one task that owns a node's [`Proto`] and moves bytes between it, the links, the sessions and the signalling server.
//!
//! A frame that is only passing through costs a look at its header and a hand-over to another link ([`Driver::on_bytes`]): no
//! allocation, no copy. Nothing here waits for anybody: every queue out of this task is bounded, and what does not fit is dropped
//! as an IP router would, or ends the link that does not keep up.

mod carrier;
mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;

use self::carrier::{RingCarrier, Routes, UNROUTED_PACKETS, Unrouted};
use self::setup::{MAX_DESCRIPTIONS, Setup, SetupError};
use crate::id::Id;
use crate::key::{Identity, PeerKey};
use crate::net::link::hello::{HelloSettings, Peer};
use crate::net::link::{
    Channel, CloseReason, Link, LinkEvent, LinkKey, LinkSender, LinkSettings, SendError, Transport, native,
};
use crate::net::session::{Port, Unreachable};
use crate::net::signal::{SignallingClient, SignallingEvent, SignallingHandle};
use crate::node::{Counters, NodeEvent, NodeStatus, PeerInfo};
use crate::proto::{Answer, Event as RingEvent, Finger, Hop, Input, LinkId, Output, Proto, Time, Token};
use crate::signalling::Status;
use crate::wire::{Frame, Header, kind};

/// Frames of all links that wait for the driver, at most.
const INBOX: usize = 1024;

/// Commands of the application that wait for the driver, at most.
pub(crate) const COMMANDS: usize = 256;

/// Answers that links being set up may owe the driver, at most.
const SETUP_EVENTS: usize = 256;

/// Leaves whose neighbour is remembered, to answer their session packets, at most.
const MAX_VIAS: usize = 1024;

/// A node that spoke through one neighbour is not answered through another for so long.
const VIA_STEADY: Duration = Duration::from_secs(5);

/// How long changes of the ring are gathered before the signalling server is told.
const STATUS_DELAY: Duration = Duration::from_millis(200);

/// How long [`Command::Close`] waits for the farewells to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// Frames taken from the links before anything else gets a turn.
const BATCH: usize = 64;

/// What a node asks of its driver.
pub(crate) enum Command {
    Lookup { key: Id, reply: oneshot::Sender<Answer> },
    Trace { peer: Id, reply: oneshot::Sender<Answer> },
    UpdateFinger { row: u32, reply: oneshot::Sender<Answer> },
    Status { reply: oneshot::Sender<NodeStatus> },
    WantDirect(Id),
    ReleaseDirect(Id),
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
}

/// A link that is being set up.
struct Attempt {
    peer: Id,
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
    port: Option<Port>,
    routes: Routes,
    unrouted_in: mpsc::Sender<Unrouted>,
    unrouted: mpsc::Receiver<Unrouted>,
    inbox_in: mpsc::Sender<LinkEvent>,
    inbox: mpsc::Receiver<LinkEvent>,
    setup_in: mpsc::Sender<Event>,
    setup: mpsc::Receiver<Event>,
    attempts: BTreeMap<LinkId, Attempt>,
    links: BTreeMap<LinkId, OpenLink>,
    vias: BTreeMap<Id, KnownVia>,
    replies: BTreeMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    counters: Counters,
    status_due: Option<tokio::time::Instant>,
    closed: Option<oneshot::Sender<()>>,
    /// Links that still have a farewell to bring.
    leaving: Vec<LinkSender>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Result<Self, crate::net::link::LinkError> {
        let transport = native::transport(parts.link_settings.clone())?;
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
            port: None,
            routes: Routes::default(),
            unrouted_in,
            unrouted,
            inbox_in,
            inbox,
            setup_in,
            setup,
            attempts: BTreeMap::new(),
            links: BTreeMap::new(),
            vias: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_token: 0,
            counters: Counters::default(),
            status_due: None,
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
            let timeout = self.proto.poll_timeout().map(|at| self.epoch + Duration::from_micros(at.0));
            let timeout =
                tokio::time::Instant::from_std(timeout.unwrap_or_else(|| Instant::now() + Duration::from_secs(60)));
            let status_due = self.status_due.unwrap_or(timeout);
            tokio::select! {
                Some(event) = self.inbox.recv() => self.on_link_events(event),
                Some(packet) = self.unrouted.recv() => self.on_unrouted(packet),
                event = self.setup.recv() => if let Some(event) = event { self.on_setup(event) },
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                event = self.signalling.next() => if let Some(event) = event { self.on_signalling(event) },
                () = tokio::time::sleep_until(timeout) => {
                    let now = self.now();
                    self.proto.handle_timeout(now);
                }
                () = tokio::time::sleep_until(status_due), if self.status_due.is_some() => self.tell_status(),
            }
            self.drain();
        }
        self.shut_down().await;
    }

    fn now(&self) -> Time {
        Time(self.epoch.elapsed().as_micros() as u64)
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.proto.handle(input, now);
    }

    /// Handles a run of events without going back to the scheduler for each.
    fn on_link_events(&mut self, first: LinkEvent) {
        self.on_link_event(first);
        for _ in 1..BATCH {
            match self.inbox.try_recv() {
                Ok(event) => self.on_link_event(event),
                Err(_) => break,
            }
        }
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Frame { link, channel, bytes } => self.on_bytes(link_id(link), channel, bytes),
            LinkEvent::Writable { .. } => {
                if let Some(port) = &self.port {
                    port.writable();
                }
            }
            LinkEvent::Closed { link, reason } => self.on_link_closed(link_id(link), reason),
        }
    }

    /// A frame came: passes it on by its header alone, or takes it apart when it is for this node.
    fn on_bytes(&mut self, link: LinkId, channel: Channel, mut bytes: BytesMut) {
        // What was on its way when the link was closed counts for nothing.
        if !self.links.contains_key(&link) {
            return;
        }
        let (mut header, length) = match Header::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(error) => return self.close_for_cause(link, error.label()),
        };
        self.counters.frames_in += 1;
        let is_datagram = header.kind >= kind::FIRST_DATAGRAM;
        if is_datagram != (channel == Channel::Data) {
            return self.close_for_cause(link, "channel");
        }
        if header.kind < kind::FIRST_ROUTED || header.kind == kind::TRACE {
            return self.on_control(link, bytes.freeze());
        }
        let now = self.now();
        match self.proto.route(&mut header, Some(link), now) {
            Hop::Forward(next) => {
                self.counters.frames_forwarded += 1;
                if !header.patch(&mut bytes) {
                    bytes = rewritten(&header, &bytes[length..]);
                }
                self.send(next, channel, bytes);
            }
            Hop::Deliver if header.kind == kind::DATAGRAM => {
                self.learn_via(&header);
                let packet = bytes.split_off(length).freeze();
                if let Some(port) = &self.port {
                    port.deliver(header.src, packet);
                }
            }
            Hop::Deliver => self.on_control(link, bytes.freeze()),
            Hop::Drop(reason) => {
                self.proto.report(&header, reason, now);
                self.drain();
            }
        }
    }

    fn on_control(&mut self, link: LinkId, bytes: Bytes) {
        let kind = kind_of(&bytes);
        match Frame::decode(bytes) {
            Ok(frame) => {
                // Whom a neighbour can reach decides about routes.
                if frame.header.kind == kind::NEIGHBOURS {
                    self.routes.clear();
                }
                self.input(Input::Frame { link, frame });
                self.drain();
            }
            // Hops pass bodies on unread: whoever made this one, it need not be the neighbour that it came from.
            Err(_) if is_passed_on_unread(kind) => self.counters.malformed += 1,
            Err(error) => self.close_for_cause(link, error.label()),
        }
    }

    /// How to answer the session packets of a node: through a neighbour of its own, when it is not a member. Anybody can claim
    /// to be the source of a packet, so the way that has just worked is not given up for another.
    fn learn_via(&mut self, header: &Header) {
        let via = header.answer_through();
        let now = Instant::now();
        match self.vias.get_mut(&header.src) {
            Some(known) if known.via == via => known.heard = now,
            Some(known) if now.duration_since(known.heard) < VIA_STEADY => {}
            None if via.is_none() => {}
            _ => {
                if self.vias.len() >= MAX_VIAS {
                    self.vias.pop_first();
                }
                self.vias.insert(header.src, KnownVia { via, heard: now });
                self.routes.forget(header.src);
            }
        }
    }

    /// A packet of this node's sessions without a known route: route it, and remember the way.
    fn on_unrouted(&mut self, first: Unrouted) {
        let more = std::iter::from_fn(|| self.unrouted.try_recv().ok()).take(UNROUTED_PACKETS).collect::<Vec<_>>();
        for Unrouted { to, packet } in std::iter::once(first).chain(more) {
            let now = self.now();
            let via = self.vias.get(&to).and_then(|known| known.via);
            let mut header = self.proto.datagram_header(to, via, true);
            match self.proto.route(&mut header, None, now) {
                Hop::Forward(link) => {
                    if let Some(packet) = packet {
                        self.send(link, Channel::Data, rewritten(&header, &packet));
                    }
                    if let Some(open) = self.links.get(&link).filter(|_| header.trail.is_empty()) {
                        self.routes.learn(to, open.sender.clone(), rewritten(&header, &[]).freeze());
                    }
                }
                Hop::Deliver => {}
                Hop::Drop(reason) => {
                    self.proto.report(&header, reason, now);
                    self.drain();
                }
            }
        }
        if let Some(port) = &self.port {
            port.writable();
        }
    }

    /// Hands a frame to a link. When it is full, a routed frame is dropped, for others fill it too; a peer that does not read
    /// what this node itself tells it, pings among them, loses the link.
    fn send(&mut self, link: LinkId, channel: Channel, bytes: BytesMut) {
        let Some(open) = self.links.get(&link) else { return };
        let is_routed = kind_of(&bytes) >= kind::FIRST_ROUTED;
        match open.sender.try_send(channel, bytes) {
            Ok(()) => self.counters.frames_out += 1,
            Err(SendError::Full) if !is_routed => self.close_for_cause(link, "slow"),
            Err(_) => self.counters.frames_dropped += 1,
        }
    }

    /// The peer broke the rules: the link ends, everybody else goes on.
    fn close_for_cause(&mut self, link: LinkId, cause: &'static str) {
        let Some(open) = self.links.remove(&link) else { return };
        tracing::warn!(peer = %open.peer.id, cause, "closing a link");
        *self.counters.closed_for_cause.entry(cause).or_default() += 1;
        open.sender.close();
        self.routes.clear();
        self.input(Input::LinkDown { link });
    }

    fn on_link_closed(&mut self, link: LinkId, reason: CloseReason) {
        let Some(open) = self.links.remove(&link) else { return };
        tracing::debug!(peer = %open.peer.id, %reason, "link closed");
        self.routes.clear();
        self.input(Input::LinkDown { link });
        self.drain();
    }

    fn on_setup(&mut self, event: Event) {
        match event {
            Event::Describe { link, description } => self.input(Input::Describe { link, description }),
            Event::SetUp { link, result } => {
                let Some(attempt) = self.attempts.remove(&link) else { return };
                match result {
                    Ok((opened, peer)) => self.on_open(link, opened, peer),
                    Err(error) => {
                        tracing::debug!(peer = %attempt.peer, %error, "a link did not open");
                        if let SetupError::Hello(error) = &error {
                            let _ = self
                                .events
                                .send(NodeEvent::PeerRefused { peer: attempt.peer, reason: error.to_string() });
                        }
                        self.input(Input::LinkDown { link });
                    }
                }
            }
        }
    }

    fn on_open(&mut self, link: LinkId, opened: Link, peer: Peer) {
        let sender = opened.forward(LinkKey(u64::from(link.0)), self.inbox_in.clone());
        self.links.insert(link, OpenLink { peer, sender });
        self.routes.clear();
        self.input(Input::LinkUp { link, role: peer.role });
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
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::WantDirect(peer) => self.input(Input::WantDirect(peer)),
            Command::ReleaseDirect(peer) => self.input(Input::ReleaseDirect(peer)),
            Command::Close { reply } => {
                self.input(Input::Leave);
                self.closed = Some(reply);
            }
        }
    }

    /// The protocol answers every request, within the limits of its lookups.
    fn await_answer(&mut self, reply: oneshot::Sender<Answer>) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.replies.insert(token, reply);
        token
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
        match native::transport(settings) {
            Ok(transport) => self.transport = transport,
            Err(error) => tracing::warn!(%error, "the signalling server names ICE servers that cannot be used"),
        }
    }

    /// Carries out what the protocol wants.
    fn drain(&mut self) {
        while let Some(output) = self.proto.poll_output() {
            match output {
                Output::Send { link, frame } => {
                    let channel = if frame.header.kind >= kind::FIRST_DATAGRAM { Channel::Data } else { Channel::Ring };
                    self.send(link, channel, frame.encode());
                }
                Output::Signal { to, dial } => {
                    if self.server.relay(to, dial).is_err() {
                        tracing::debug!(%to, "the signalling client is busy; a step of a dial is lost");
                    }
                }
                Output::FindMembers => {
                    let _ = self.server.find_members();
                }
                Output::Connect { link, peer, offers } => self.connect(link, peer, offers),
                Output::Described { link, description } => {
                    if let Some(attempt) = self.attempts.get(&link) {
                        let _ = attempt.descriptions.try_send(description);
                    }
                }
                Output::Close { link } => self.close(link),
                Output::Datagram { from, packet, .. } => {
                    if let Some(port) = &self.port {
                        port.deliver(from, packet);
                    }
                }
                Output::Unreachable { peer, nobody } => self.on_unreachable(peer, nobody),
                Output::Answer { token, answer } => {
                    if let Some(reply) = self.replies.remove(&token) {
                        let _ = reply.send(answer);
                    }
                }
                Output::Event(event) => self.on_ring_event(event),
            }
        }
    }

    fn connect(&mut self, link: LinkId, peer: Id, offers: bool) {
        let (descriptions_in, descriptions) = mpsc::channel(MAX_DESCRIPTIONS);
        let setup = Setup {
            link,
            peer,
            offers,
            transport: self.transport.clone(),
            identity: self.identity.clone(),
            hello: self.hello.clone(),
            descriptions,
            events: self.setup_in.clone(),
        };
        let task = tokio::spawn(setup.run()).abort_handle();
        self.attempts.insert(link, Attempt { peer, descriptions: descriptions_in, task });
    }

    fn close(&mut self, link: LinkId) {
        if let Some(attempt) = self.attempts.remove(&link) {
            attempt.task.abort();
        }
        if let Some(open) = self.links.remove(&link) {
            open.sender.close();
            self.routes.clear();
            if self.closed.is_some() {
                self.leaving.push(open.sender);
            }
        }
    }

    fn on_unreachable(&mut self, peer: Id, nobody: bool) {
        self.routes.forget(peer);
        if let Some(port) = &self.port {
            port.fail(peer, if nobody { Unreachable::NoSuchPeer } else { Unreachable::NoRoute });
        }
    }

    fn on_ring_event(&mut self, event: RingEvent) {
        let due = tokio::time::Instant::now() + STATUS_DELAY;
        self.status_due.get_or_insert(due);
        if event == RingEvent::Joined {
            self.tell_status();
        }
        let _ = self.events.send(NodeEvent::Ring(event));
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
            counters: Counters { protocol: self.proto.stats(), ..self.counters.clone() },
        }
    }

    /// The farewells have been handed to the links: let them leave, then go.
    async fn shut_down(mut self) {
        for attempt in std::mem::take(&mut self.attempts).into_values() {
            attempt.task.abort();
        }
        for open in std::mem::take(&mut self.links).into_values() {
            open.sender.close();
            self.leaving.push(open.sender);
        }
        let all_closed = async {
            for sender in &self.leaving {
                sender.closed().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all_closed).await;
        self.signalling.close().await;
        if let Some(reply) = self.closed.take() {
            let _ = reply.send(());
        }
    }
}

/// A frame with another header than it came with.
fn rewritten(header: &Header, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(64 + header.trail.len() * Id::BYTES + body.len());
    header.encode(&mut frame);
    frame.extend_from_slice(body);
    frame
}

/// The kind of a frame, by its place in the header.
fn kind_of(frame: &[u8]) -> u8 {
    frame.get(1).copied().unwrap_or(0)
}

/// Whether hops forward frames of this kind by their header alone.
fn is_passed_on_unread(kind: u8) -> bool {
    kind >= kind::FIRST_ROUTED && kind != kind::TRACE
}

fn link_id(key: LinkKey) -> LinkId {
    LinkId(key.0 as u32)
}

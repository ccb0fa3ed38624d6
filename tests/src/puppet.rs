//! A member of the ring whose protocol is the real one, and whose bytes a test holds in its hand: it can look at every frame that
//! leaves, change it, drop it, and add frames of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atoll::net::link::hello::{HelloSettings, Peer, greet};
use atoll::net::link::{Channel, Link, LinkEvent, LinkKey, LinkSender, Transport};
use atoll::net::signal::{SignallingClient, SignallingEvent};
use atoll::proto::{Config, Hop, Input, LinkId, Output, Phase, Proto, Time};
use atoll::signalling::Status;
use atoll::wire::{Frame, Header, kind};
use atoll::{Id, Identity};
use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::attacker::{loopback_transport, register};

/// Where a frame that leaves a puppet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The puppet's own protocol.
    Own,
    /// Another node: the puppet is a hop.
    Passing,
}

/// Looks at each frame before it leaves. An emptied frame is dropped.
pub type Hand = Box<dyn FnMut(Origin, &mut BytesMut) + Send>;

/// A running puppet. It vanishes when dropped.
pub struct Puppet {
    id: Id,
    orders: mpsc::Sender<Order>,
}

enum Order {
    Send { to: Id, channel: Channel, bytes: BytesMut },
    View { reply: oneshot::Sender<View> },
}

/// What a puppet's protocol sees.
#[derive(Debug, Clone)]
pub struct View {
    /// How far it has come.
    pub phase: Phase,
    /// The neighbours with an open link, and the version that both speak.
    pub links: BTreeMap<Id, u16>,
}

impl Puppet {
    /// Starts to join the ring.
    pub fn start(url: &str, identity: Identity, config: Config, hello: HelloSettings, hand: Hand) -> Self {
        let (orders, orders_out) = mpsc::channel(64);
        let id = identity.id();
        let strings = Strings::new(url, identity, config, hello, hand);
        tokio::spawn(strings.run(orders_out));
        Puppet { id, orders }
    }

    /// Where it stands on the ring.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Sends bytes to a neighbour as they are.
    pub async fn send(&self, to: Id, channel: Channel, bytes: BytesMut) {
        self.orders.send(Order::Send { to, channel, bytes }).await.expect("the puppet lives");
    }

    /// How it fares.
    pub async fn view(&self) -> View {
        let (reply, view) = oneshot::channel();
        self.orders.send(Order::View { reply }).await.expect("the puppet lives");
        view.await.expect("the puppet lives")
    }
}

enum Event {
    Describe(LinkId, String),
    SetUp(LinkId, Option<(Link, Peer)>),
}

struct Strings {
    identity: Identity,
    proto: Proto,
    hello: HelloSettings,
    hand: Hand,
    transport: Transport,
    client: SignallingClient,
    epoch: Instant,
    inbox: (mpsc::Sender<LinkEvent>, mpsc::Receiver<LinkEvent>),
    setup: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    attempts: BTreeMap<LinkId, (mpsc::Sender<String>, AbortHandle)>,
    links: BTreeMap<LinkId, (Peer, LinkSender)>,
}

impl Strings {
    fn new(url: &str, identity: Identity, config: Config, hello: HelloSettings, hand: Hand) -> Self {
        Strings {
            proto: Proto::new(identity.id(), config, rand::random(), Time(0)),
            client: register(url, &identity, &hello),
            identity,
            hello,
            hand,
            transport: loopback_transport(),
            epoch: Instant::now(),
            inbox: mpsc::channel(1024),
            setup: mpsc::channel(64),
            attempts: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        self.drain();
        loop {
            let due = self.proto.poll_timeout().map_or(Duration::from_secs(60), |at| Duration::from_micros(at.0));
            tokio::select! {
                Some(event) = self.inbox.1.recv() => self.on_link_event(event),
                Some(event) = self.setup.1.recv() => self.on_setup(event),
                Some(event) = self.client.next() => self.on_signalling(event),
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => return,
                },
                () = tokio::time::sleep_until((self.epoch + due).into()) => {
                    let now = self.now();
                    self.proto.handle_timeout(now);
                }
            }
            self.drain();
        }
    }

    fn now(&self) -> Time {
        Time(self.epoch.elapsed().as_micros() as u64)
    }

    fn input(&mut self, input: Input) {
        let now = self.now();
        self.proto.handle(input, now);
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Frame { link, channel, bytes } => self.on_bytes(LinkId(link.0 as u32), channel, bytes),
            LinkEvent::Closed { link, .. } => {
                let link = LinkId(link.0 as u32);
                self.links.remove(&link);
                self.input(Input::LinkDown { link });
            }
            LinkEvent::Writable { .. } => {}
        }
    }

    fn on_bytes(&mut self, link: LinkId, channel: Channel, bytes: BytesMut) {
        let Ok((mut header, length)) = Header::decode(&bytes) else { return };
        if header.kind < kind::FIRST_ROUTED || header.kind == kind::TRACE {
            return self.on_control(link, bytes);
        }
        let now = self.now();
        match self.proto.route(&mut header, Some(link), now) {
            Hop::Forward(next) => {
                let mut onward = BytesMut::new();
                header.encode(&mut onward);
                onward.extend_from_slice(&bytes[length..]);
                self.send(Origin::Passing, next, channel, onward);
            }
            Hop::Deliver => self.on_control(link, bytes),
            Hop::Drop(reason) => self.proto.report(&header, reason, now),
        }
    }

    fn on_control(&mut self, link: LinkId, bytes: BytesMut) {
        if let Ok(frame) = Frame::decode(bytes.freeze()) {
            self.input(Input::Frame { link, frame });
        }
    }

    fn on_setup(&mut self, event: Event) {
        match event {
            Event::Describe(link, description) => self.input(Input::Describe { link, description }),
            Event::SetUp(link, result) => {
                if self.attempts.remove(&link).is_none() {
                    return;
                }
                let Some((opened, peer)) = result else { return self.input(Input::LinkDown { link }) };
                let sender = opened.forward(LinkKey(u64::from(link.0)), self.inbox.0.clone());
                self.links.insert(link, (peer, sender));
                self.input(Input::LinkUp { link, role: peer.role });
            }
        }
    }

    fn on_signalling(&mut self, event: SignallingEvent) {
        match event {
            SignallingEvent::Connected { found, members, .. } | SignallingEvent::Members { found, members } => {
                self.input(Input::Members { found, members });
            }
            SignallingEvent::Relay { from, dial } => self.input(Input::Signal { from, dial }),
            SignallingEvent::Undeliverable { to, .. } => self.input(Input::NotDelivered { to }),
            _ => {}
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Send { to, channel, bytes } => {
                if let Some((_, sender)) = self.links.values().find(|(peer, _)| peer.id == to) {
                    let _ = sender.try_send(channel, bytes);
                }
            }
            Order::View { reply } => {
                let links = self.links.values().map(|(peer, _)| (peer.id, peer.version)).collect();
                let _ = reply.send(View { phase: self.proto.phase(), links });
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.proto.poll_output() {
            match output {
                Output::Send { link, frame } => {
                    let channel = if frame.header.kind >= kind::FIRST_DATAGRAM { Channel::Data } else { Channel::Ring };
                    let origin = match frame.header.src == self.identity.id() {
                        true => Origin::Own,
                        false => Origin::Passing,
                    };
                    self.send(origin, link, channel, frame.encode());
                }
                Output::Signal { to, dial } => {
                    let _ = self.client.handle().relay(to, dial);
                }
                Output::FindMembers => {
                    let _ = self.client.handle().find_members();
                }
                Output::Connect { link, peer, offers } => self.connect(link, peer, offers),
                Output::Described { link, description } => {
                    if let Some((descriptions, _)) = self.attempts.get(&link) {
                        let _ = descriptions.try_send(description);
                    }
                }
                Output::Close { link } => {
                    if let Some((_, task)) = self.attempts.remove(&link) {
                        task.abort();
                    }
                    self.links.remove(&link);
                }
                Output::Event(_) => {
                    let status = Status { member: self.proto.phase() == Phase::Member, ..Status::default() };
                    let _ = self.client.handle().status(status);
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, origin: Origin, link: LinkId, channel: Channel, mut bytes: BytesMut) {
        (self.hand)(origin, &mut bytes);
        if let Some((_, sender)) = self.links.get(&link)
            && !bytes.is_empty()
        {
            let _ = sender.try_send(channel, bytes);
        }
    }

    fn connect(&mut self, link: LinkId, peer: Id, offers: bool) {
        let (descriptions_in, mut descriptions) = mpsc::channel::<String>(16);
        let (transport, events) = (self.transport.clone(), self.setup.0.clone());
        let (identity, hello) = (self.identity.clone(), self.hello.clone());
        let task = tokio::spawn(async move {
            let opened = async {
                let (opening, text) = match offers {
                    true => transport.offer().await.ok()?,
                    false => transport.answer(&descriptions.recv().await?).await.ok()?,
                };
                events.send(Event::Describe(link, text)).await.ok()?;
                let open = opening.open();
                tokio::pin!(open);
                let mut opened = loop {
                    tokio::select! {
                        link = &mut open => break link.ok()?,
                        Some(text) = descriptions.recv() => { let _ = opening.accept(&text).await; }
                    }
                };
                let peer = greet(&mut opened, &identity, &hello, Some(peer)).await.ok()?;
                Some((opened, peer))
            };
            let opened = opened.await;
            let _ = events.send(Event::SetUp(link, opened)).await;
        });
        self.attempts.insert(link, (descriptions_in, task.abort_handle()));
    }
}

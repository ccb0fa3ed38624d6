//! Somebody who opens proper links to a node and then sends over them whatever a test wants.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll::net::link::hello::{HelloSettings, Peer, greet};
use atoll::net::link::{Channel, Link, LinkSender, LinkSettings, SendError, Transport, native};
use atoll::net::signal::{SignallingClient, SignallingConfig, SignallingEvent, SignallingTiming};
use atoll::wire::{Dial, Frame, Header, Message, Purpose, Role, Step};
use atoll::{Id, Identity};
use bytes::BytesMut;

use crate::STUCK;

/// A registered stranger with a transport, but without a protocol of its own.
pub struct Attacker {
    /// Who it is.
    pub identity: Identity,
    /// What it says of itself on a link.
    pub hello: HelloSettings,
    transport: Transport,
    client: SignallingClient,
}

impl Attacker {
    /// Registers with the server as somebody new.
    pub async fn new(url: &str) -> Self {
        Self::with(url, Identity::generate(), HelloSettings::new("atoll")).await
    }

    /// Registers with the server as this one.
    pub async fn with(url: &str, identity: Identity, hello: HelloSettings) -> Self {
        let client = register(url, &identity, &hello);
        let mut attacker = Attacker { identity, hello, transport: loopback_transport(), client };
        let connected = async {
            while !matches!(attacker.client.next().await.expect("the client lives"), SignallingEvent::Connected { .. })
            {
            }
        };
        tokio::time::timeout(STUCK, connected).await.expect("the server answers");
        attacker
    }

    /// Where it stands on the ring.
    pub fn id(&self) -> Id {
        self.identity.id()
    }

    /// Opens a link to a node, before anybody has said hello on it.
    pub async fn open(&mut self, peer: Id) -> Link {
        let link = tokio::time::timeout(STUCK, self.try_open(peer)).await;
        link.expect("a link within the limit").unwrap_or_else(|why| panic!("{why}"))
    }

    /// Opens a link to a node and says a true hello.
    pub async fn link(&mut self, peer: Id) -> (Link, Peer) {
        let mut link = self.open(peer).await;
        let greeted = greet(&mut link, &self.identity, &self.hello, Some(peer)).await;
        (link, greeted.expect("a true hello"))
    }

    /// The same; `None` where the node has no place for it.
    pub async fn try_link(&mut self, peer: Id) -> Option<Link> {
        let mut link = tokio::time::timeout(STUCK, self.try_open(peer)).await.ok()?.ok()?;
        greet(&mut link, &self.identity, &self.hello, Some(peer)).await.ok()?;
        Some(link)
    }

    /// Asks a node for a link and hears its offer; the answer, for [`Attacker::describe`], is the caller's.
    pub async fn ask(&mut self, peer: Id) -> (u32, String) {
        let offer = tokio::time::timeout(STUCK, self.try_ask(peer)).await;
        offer.expect("an offer within the limit").unwrap_or_else(|why| panic!("{why}"))
    }

    async fn try_ask(&mut self, peer: Id) -> Result<(u32, String), String> {
        let attempt = rand::random();
        self.tell(peer, attempt, Step::Request { role: Role::Member, purpose: Purpose::Finger });
        Ok((attempt, self.description(peer, attempt).await?))
    }

    /// Sends a node a description of this end.
    pub fn describe(&self, peer: Id, attempt: u32, description: String) {
        self.tell(peer, attempt, Step::Describe(description));
    }

    fn tell(&self, peer: Id, attempt: u32, step: Step) {
        self.client.handle().relay(peer, Dial { attempt, step }).expect("room");
    }

    /// What the peer says of its end, or why it says nothing.
    async fn description(&mut self, peer: Id, attempt: u32) -> Result<String, String> {
        loop {
            match self.client.next().await.expect("the client lives") {
                SignallingEvent::Relay { from, dial } if from == peer && dial.attempt == attempt => match dial.step {
                    Step::Describe(description) => return Ok(description),
                    refusal => return Err(format!("{peer} refuses the link: {refusal:?}")),
                },
                SignallingEvent::Undeliverable { to, reason } => return Err(format!("no way to {to}: {reason:?}")),
                _ => {}
            }
        }
    }

    async fn try_open(&mut self, peer: Id) -> Result<Link, String> {
        let (attempt, offer) = self.try_ask(peer).await?;
        let (opening, answer) = self.transport.answer(&offer).await.map_err(|error| error.to_string())?;
        self.describe(peer, attempt, answer);
        loop {
            tokio::select! {
                link = opening.open() => return link.map_err(|error| error.to_string()),
                candidate = self.description(peer, attempt) => {
                    let _ = opening.accept(&candidate?).await;
                }
            }
        }
    }
}

/// A client of the signalling server for somebody without a node.
pub(crate) fn register(url: &str, identity: &Identity, hello: &HelloSettings) -> SignallingClient {
    let config = SignallingConfig {
        urls: vec![url.to_owned()],
        network: hello.network.clone(),
        identity: identity.clone(),
        role: hello.role,
        tls: None,
        timing: SignallingTiming::default(),
    };
    SignallingClient::start(config).expect("a proper configuration")
}

/// Real links over loopback.
pub fn loopback_transport() -> Transport {
    let settings = LinkSettings { bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], ..LinkSettings::default() };
    native::transport(settings).expect("proper settings")
}

/// A frame as bytes, made as a node makes it.
pub fn frame(header: Header, message: Message) -> BytesMut {
    Frame { header: Header { kind: message.kind(), ..header }, message }.encode()
}

/// Sends when there is room. Gives `false` once the link is closed.
pub async fn send(link: &LinkSender, channel: Channel, bytes: &[u8]) -> bool {
    loop {
        match link.try_send(channel, BytesMut::from(bytes)) {
            Ok(()) => return true,
            Err(SendError::Full) => match tokio::time::timeout(STUCK, link.ready(channel)).await {
                Ok(Ok(())) => {}
                _ => return false,
            },
            Err(_) => return false,
        }
    }
}

/// Reads the link to its end; how long it took, or that it did not end.
pub async fn is_closed(link: &mut Link, limit: Duration) -> bool {
    tokio::time::timeout(limit, async { while link.recv().await.is_some() {} }).await.is_ok()
}

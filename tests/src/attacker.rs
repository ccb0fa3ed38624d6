//! Somebody who opens proper links to a node and then sends over them whatever a test wants.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll::net::link::hello::{HelloSettings, Peer, greet};
use atoll::net::link::{Channel, Link, LinkSender, LinkSettings, Opening, SendError, Transport, native};
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
        tokio::time::timeout(STUCK, self.try_open(peer)).await.expect("a link within the limit")
    }

    /// Opens a link to a node and says a true hello.
    pub async fn link(&mut self, peer: Id) -> (Link, Peer) {
        let mut link = self.open(peer).await;
        let greeted = greet(&mut link, &self.identity, &self.hello, Some(peer)).await;
        (link, greeted.expect("a true hello"))
    }

    /// Asks a node for a link, gives it an offer and hears its answer; what the offer is of is the caller's.
    pub async fn negotiate(&mut self, peer: Id, offer: &str) -> String {
        let attempt = rand::random();
        let step = |step| Dial { attempt, step };
        let handle = self.client.handle();
        let request = Step::Request { role: Role::Member, purpose: Purpose::Finger };
        handle.relay(peer, step(request)).expect("room");
        let answered = async {
            loop {
                match self.client.next().await.expect("the client lives") {
                    SignallingEvent::Relay { from, dial } if from == peer && dial.attempt == attempt => match dial.step
                    {
                        Step::Accept => {
                            handle.relay(peer, step(Step::Describe(offer.to_owned()))).expect("room");
                        }
                        Step::Describe(answer) if !answer.starts_with("candidate:") => return answer,
                        Step::Describe(_) => {}
                        refusal => panic!("{peer} refuses the link: {refusal:?}"),
                    },
                    SignallingEvent::Undeliverable { to, reason } => panic!("no way to {to}: {reason:?}"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(STUCK, answered).await.expect("an answer within the limit")
    }

    async fn try_open(&mut self, peer: Id) -> Link {
        let attempt = rand::random();
        let step = |step| Dial { attempt, step };
        let handle = self.client.handle();
        let request = Step::Request { role: Role::Member, purpose: Purpose::Finger };
        handle.relay(peer, step(request)).expect("room");
        let mut opening: Option<Opening> = None;
        loop {
            let event = match &opening {
                None => self.client.next().await,
                Some(opening) => tokio::select! {
                    link = opening.open() => return link.expect("a link"),
                    event = self.client.next() => event,
                },
            };
            match event.expect("the client lives") {
                SignallingEvent::Relay { from, dial } if from == peer && dial.attempt == attempt => match dial.step {
                    Step::Accept => {
                        let (begun, offer) = self.transport.offer().await.expect("an offer");
                        handle.relay(peer, step(Step::Describe(offer))).expect("room");
                        opening = Some(begun);
                    }
                    Step::Describe(description) => {
                        let opening = opening.as_ref().expect("an answer comes after the offer");
                        let _ = opening.accept(&description).await;
                    }
                    refusal => panic!("{peer} refuses the link: {refusal:?}"),
                },
                SignallingEvent::Undeliverable { to, reason } => panic!("no way to {to}: {reason:?}"),
                _ => {}
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

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;

use super::*;
use crate::net::link::hello::HelloError;
use crate::net::link::memory::MemoryNetwork;
use crate::net::link::{Channel, CloseReason};
use crate::net::session::{Carrier, Packets, Sessions, Settings};
use crate::net::signal::{SignallingConfig, SignallingTiming};
use crate::proto::Config;
use crate::wire::{Header, Role, Via, kind};

/// How long anything may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(20);

/// A driver that nobody runs, and whose server is nowhere.
fn driver(identity: &Identity) -> Driver {
    let signalling = SignallingClient::start(SignallingConfig {
        urls: vec!["ws://127.0.0.1:9".to_owned()],
        network: "test".to_owned(),
        identity: identity.clone(),
        role: Role::Member,
        tls: None,
        timing: SignallingTiming::default(),
    });
    let (_, commands) = mpsc::channel(1);
    Driver::new(Parts {
        identity: Arc::new(identity.clone()),
        proto: Proto::new(identity.id(), Config::default(), 1, Time(0)),
        hello: HelloSettings::new("test"),
        link_settings: LinkSettings::default(),
        signalling: signalling.expect("an address that can be read"),
        commands,
        events: broadcast::channel(8).0,
        epoch: Instant::now(),
        started: Time(0),
        disk: None,
    })
    .expect("a transport")
}

#[tokio::test]
async fn a_session_that_a_full_link_refused_goes_another_way_when_that_link_ends() {
    let (identity, peer) = (Identity::generate(), Identity::generate().public());
    let mut driver = driver(&identity);
    let (near, _far) = MemoryNetwork::new().pair();
    let sender = near.sender().clone();
    let known = Peer { key: peer, id: peer.id(), role: Role::Member, version: 1, capabilities: 0 };
    let link = LinkId(7);
    driver.links.insert(link, OpenLink { peer: known, sender: sender.clone() });
    driver.routes.learn(peer.id(), sender.clone(), bytes::Bytes::from_static(b"a header"));
    let refused = Arc::new(Notify::new());
    let (carrier, tell) = (driver.carrier(), refused.clone());
    let noting = move |to: Id, packets: Packets<'_>| {
        while sender.try_send(Channel::Data, BytesMut::from(&[0; 1000][..])).is_ok() {}
        let taken = carrier.try_send(to, packets);
        if !taken {
            tell.notify_one();
        }
        taken
    };
    let (sessions, port) = Sessions::new(&identity, noting, Settings::default()).expect("sessions");
    driver.set_port(port);
    let dial = tokio::spawn(async move { sessions.connect(peer.id()).await });
    tokio::time::timeout(STUCK, refused.notified()).await.expect("the full link refuses");
    driver.on_link_closed(link, CloseReason::Lost);
    let unrouted = tokio::time::timeout(STUCK, driver.unrouted.recv()).await;
    let unrouted = unrouted.expect("the packet is sent again").expect("the driver has a sender itself");
    assert_eq!(unrouted.to, peer.id());
    assert!(unrouted.packet.is_some());
    dial.abort();
}

#[tokio::test]
async fn who_cannot_be_reached_is_not_sought_through_the_neighbour_that_it_once_had() {
    let identity = Identity::generate();
    let mut driver = driver(&identity);
    let (peer, neighbour) = (Id::new(1), Id::new(2));
    let via = Some(Via { to: identity.id(), answer: neighbour });
    driver.learn_via(&Header { via, ..Header::new(kind::DATAGRAM, peer, identity.id()) });
    assert_eq!(driver.vias.get(&peer).and_then(|known| known.via), Some(neighbour));
    driver.on_unreachable(peer, false);
    assert!(!driver.vias.contains_key(&peer));
}

#[tokio::test]
async fn who_hangs_up_before_its_hello_has_refused_nobody() {
    let mut driver = driver(&Identity::generate());
    let mut events = driver.events.subscribe();
    for (number, (error, refuses)) in
        [(HelloError::Closed, false), (HelloError::TimedOut, false), (HelloError::Network, true)]
            .into_iter()
            .enumerate()
    {
        let (link, peer) = (LinkId(number as u32), Id::new(2));
        driver.connect(link, peer, true);
        driver.on_setup(Event::SetUp { link, result: Err(error.clone().into()) });
        let reason = error.to_string();
        let expected =
            if refuses { NodeEvent::PeerRefused { peer, reason } } else { NodeEvent::LinkFailed { peer, reason } };
        assert_eq!(events.try_recv(), Ok(expected), "{error:?}");
    }
}

//! A node of a later version in the ring: it speaks with the others, and what they do not know of it passes them by.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atoll::net::link::Channel;
use atoll::net::link::hello::{HelloSettings, Versions};
use atoll::proto::{Config, Phase};
use atoll::wire::{Flags, Header, Message, kind};
use atoll::{Id, Identity, Node, NodeEvent};
use atoll_tests::attacker::frame;
use atoll_tests::puppet::{Origin, Puppet};
use atoll_tests::{TestServer, await_one_ring, echo, echoes, eventually};
use bytes::BytesMut;

/// What a later version of this program may say of itself.
const LATER: Versions = Versions { min: 1, max: 2 };

/// A capability that nobody knows yet.
const CAPABILITY: u64 = 1 << 40;

const SOON: Duration = Duration::from_secs(20);

/// A kind of frame that stays on its link, one that is routed, and one that travels on the data channel: all unknown.
const LATER_LOCAL: u8 = 20;
const LATER_ROUTED: u8 = 50;
const LATER_DATAGRAM: u8 = 100;

async fn unknown_frames(node: &Node) -> u64 {
    node.status().await.expect("it runs").counters.protocol.unknown
}

async fn forwarded_frames(nodes: &[Node]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        sum += node.status().await.expect("it runs").counters.frames_forwarded;
    }
    sum
}

async fn links_closed_for_cause(nodes: &[Node]) -> Vec<String> {
    let mut seen = Vec::new();
    for node in nodes {
        let counters = node.status().await.expect("it runs").counters;
        seen.extend(counters.closed_for_cause.iter().map(|(cause, count)| format!("{}: {cause} {count}", node.id())));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_versions_are_one_ring_and_speak_the_older() {
    let server = TestServer::start().await;
    let mut nodes = server.ring(4).await;
    for _ in 0..2 {
        nodes.push(server.node().speaks(LATER, CAPABILITY).start().await.expect("a later version joins"));
    }
    await_one_ring(&nodes, SOON).await.expect("one ring");
    nodes.iter().for_each(echo);
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            echoes(from, to.id(), b"hello").await.expect("an echo");
        }
    }
    let later: Vec<Id> = nodes[4..].iter().map(Node::id).collect();
    for node in &nodes {
        for peer in node.peers().await {
            let both_later = later.contains(&node.id()) && later.contains(&peer.id);
            assert_eq!(peer.version, if both_later { 2 } else { 1 }, "{} and {}", node.id(), peer.id);
        }
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_version_says_beyond_this_one_passes_by() {
    let server = TestServer::start().await;
    let nodes = server.ring(5).await;
    await_one_ring(&nodes, SOON).await.expect("one ring");
    nodes.iter().for_each(echo);

    // Every control frame of its own says version 2, and has fields behind those that version 1 knows.
    let appended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&appended);
    let later = Box::new(move |origin, bytes: &mut BytesMut| {
        if origin == Origin::Own && bytes[1] < kind::FIRST_DATAGRAM {
            bytes[0] = 2;
            bytes.extend_from_slice(b"a field of version 2");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let hello = HelloSettings { versions: LATER, capabilities: CAPABILITY, ..HelloSettings::new("atoll") };
    let puppet = Puppet::start(&server.url, Identity::generate(), Config::default(), hello, later);
    let mut ids: Vec<Id> = nodes.iter().map(Node::id).chain([puppet.id()]).collect();
    ids.sort_unstable();
    eventually(SOON, async || match puppet.view().await {
        view if view.phase == Phase::Member && view.links.len() == nodes.len() => Ok(()),
        view => Err(format!("the later version has not joined: {view:?}")),
    })
    .await;
    for node in &nodes {
        let at = ids.binary_search(&node.id()).expect("one of them");
        let after = ids[(at + 1) % ids.len()];
        eventually(SOON, async || match node.status().await.expect("it runs").successors.first() {
            Some(&successor) if successor == after => Ok(()),
            other => Err(format!("{} has the successor {other:?}, not {after}", node.id())),
        })
        .await;
    }

    // To each neighbour what stays on the link; to each through another what is routed and what is a datagram.
    let forwarded = forwarded_frames(&nodes).await;
    for (at, node) in nodes.iter().enumerate() {
        let before = unknown_frames(node).await;
        let hop = nodes[(at + 1) % nodes.len()].id();
        let header = |kind| Header { version: 2, ..Header::new(kind, puppet.id(), node.id()) };
        let unknown = |kind| Message::Unknown { kind, body: (&b"of version 2"[..]).into() };
        puppet.send(node.id(), Channel::Ring, frame(header(LATER_LOCAL), unknown(LATER_LOCAL))).await;
        puppet.send(hop, Channel::Ring, frame(header(LATER_ROUTED), unknown(LATER_ROUTED))).await;
        puppet.send(hop, Channel::Data, frame(header(LATER_DATAGRAM), unknown(LATER_DATAGRAM))).await;
        // And a flag that nobody knows.
        let flagged = Header { flags: Flags::default(), ..header(LATER_ROUTED) };
        let mut flagged = frame(flagged, unknown(LATER_ROUTED));
        flagged[2] |= 0x80;
        puppet.send(hop, Channel::Ring, flagged).await;
        eventually(SOON, async || match unknown_frames(node).await - before {
            4 => Ok(()),
            seen => Err(format!("{} counted {seen} unknown frames of 4", node.id())),
        })
        .await;
    }
    let forwarded = forwarded_frames(&nodes).await - forwarded;
    assert!(forwarded >= 3 * nodes.len() as u64, "unknown kinds are forwarded: {forwarded}");

    for from in &nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            echoes(from, to.id(), b"still here").await.expect("an echo");
        }
    }
    assert_eq!(links_closed_for_cause(&nodes).await, Vec::<String>::new());
    println!("{} control frames with appended fields, {forwarded} forwarded", appended.load(Ordering::Relaxed));
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_common_version_is_refused_with_a_reason() {
    let server = TestServer::start().await;
    let node = server.node().start().await.expect("a node");
    let mut events = node.events();
    let only_later = server.node().speaks(Versions { min: 2, max: 3 }, 0).spawn().expect("a node");
    let mut its_events = only_later.events();
    for events in [&mut events, &mut its_events] {
        let refused = async {
            loop {
                if let NodeEvent::PeerRefused { reason, .. } = events.recv().await.expect("events") {
                    return reason;
                }
            }
        };
        let reason = tokio::time::timeout(SOON, refused).await.expect("a refusal");
        println!("refused: {reason}");
        assert!(reason.starts_with("no common version"), "{reason}");
    }
    assert_eq!(node.peers().await, []);
    assert_eq!(only_later.status().await.expect("it runs").phase, Phase::Joining);
}

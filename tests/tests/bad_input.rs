//! Hostile input over proper links: the link that misbehaves ends and is counted, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use atoll::net::link::{Channel, Link, LinkEvent, LinkKey, LinkSender};
use atoll::wire::{
    Dial, Flags, Found, Header, MAX_FRAME, MAX_NEIGHBOURS, MAX_SUCCESSORS, Message, Neighbours, Purpose, RingView,
    Role, Step, Trace, Unreachable, Via, kind,
};
use atoll::{Id, Node};
use atoll_tests::attacker::{frame, is_closed, send};
use atoll_tests::scene::Scene;
use atoll_tests::{await_one_ring, eventually};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(10);

/// A frame of every kind, true in form, from `src` to `dst`.
fn proper_frames(src: Id, dst: Id) -> Vec<BytesMut> {
    let ids = |count: usize| (0..count as u64).map(|n| Id::new(n * 0x1_0000_0001)).collect::<Vec<Id>>();
    let view = RingView {
        member: true,
        predecessors: ids(2).into_iter().collect(),
        successors: ids(MAX_SUCCESSORS).into_iter().collect(),
    };
    let view = Arc::new(view);
    let dial = |step| Message::Dial(Dial { attempt: 7, step });
    let messages = [
        Message::Ping,
        Message::Neighbours(Neighbours { member: true, room: 1, ids: ids(MAX_NEIGHBOURS).into() }),
        Message::Ring(view.clone()),
        Message::Find(1),
        Message::Found(Found { request: 1, hops: 1, view }),
        dial(Step::Request { role: Role::Member, purpose: Purpose::Finger }),
        dial(Step::Describe("v=0".repeat(100))),
        Message::Unreachable(Unreachable { peer: dst, nobody: true }),
        Message::Trace(Trace { request: 1, hops: ids(3) }),
        Message::Datagram(vec![7; 1200].into()),
    ];
    let header = |message: &Message| Header::new(message.kind(), src, dst);
    messages.into_iter().map(|message| frame(header(&message), message)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_frame_closes_the_link_with_a_reason() {
    let scene = Scene::start().await;
    let victim = scene.nodes[0].id();
    let ping = |id| frame(Header::new(kind::PING, id, victim), Message::Ping);
    let mut attacker = scene.attacker().await;
    let me = attacker.id();
    let mut no_version = ping(me);
    no_version[0] = 0;
    let too_many = Message::Neighbours(Neighbours { member: true, room: 1, ids: vec![me; MAX_NEIGHBOURS + 1].into() });
    let datagram = frame(Header::new(0, me, victim), Message::Datagram(vec![1; 100].into()));
    let find = frame(Header::new(0, me, victim), Message::Find(1));
    let cut = ping(me).split_to(21);
    let bad: Vec<(&str, Channel, BytesMut)> = vec![
        ("truncated", Channel::Ring, BytesMut::new()),
        ("truncated", Channel::Data, BytesMut::from(&[1][..])),
        ("truncated", Channel::Ring, cut),
        ("version", Channel::Ring, no_version),
        ("body", Channel::Ring, frame(Header::new(0, me, victim), too_many)),
        ("body", Channel::Ring, raw(kind::RING, me, victim, &[0xff; 9])),
        ("channel", Channel::Ring, datagram),
        ("channel", Channel::Data, find),
    ];
    let count = bad.len() as u64;
    for (cause, channel, bytes) in bad {
        let before = scene.closed_for(0, cause).await;
        let (mut link, _) = attacker.link(victim).await;
        send(link.sender(), channel, &bytes).await;
        assert!(is_closed(&mut link, SOON).await, "{cause}: the link is closed");
        eventually(SOON, async || match scene.closed_for(0, cause).await - before {
            1 => Ok(()),
            other => Err(format!("{cause} was counted {other} times")),
        })
        .await;
    }
    assert_eq!(scene.closed_in_all(0).await, count);
    scene.assert_undisturbed().await;
}

/// A frame of any kind with any body.
fn raw(kind: u8, src: Id, dst: Id, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    Header::new(kind, src, dst).encode(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_mutated_and_reordered_frames_disturb_nobody() {
    let scene = Scene::start().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut attacker = scene.attacker().await;
    let (victim, other) = (scene.nodes[0].id(), scene.nodes[1].id());
    let mut links = 0;
    for _ in 0..12 {
        let (link, _) = attacker.link(victim).await;
        links += 1;
        let mut frames = proper_frames(attacker.id(), if rng.random() { victim } else { other });
        for _ in 0..100 {
            let at = rng.random_range(0..frames.len());
            let mut bytes = frames[at].clone();
            match rng.random_range(0..5) {
                0 => bytes.truncate(rng.random_range(0..bytes.len())),
                1 => {
                    bytes.resize(rng.random_range(0..MAX_FRAME), 0);
                    rng.fill_bytes(&mut bytes);
                }
                2 => {
                    let (from, to) = (rng.random_range(0..frames.len()), rng.random_range(0..frames.len()));
                    frames.swap(from, to);
                }
                _ => {
                    for _ in 0..rng.random_range(1..8) {
                        let at = rng.random_range(0..bytes.len());
                        bytes[at] = rng.random();
                    }
                }
            }
            let is_datagram = bytes.get(1).is_some_and(|&kind| kind >= kind::FIRST_DATAGRAM);
            let right = if is_datagram { Channel::Data } else { Channel::Ring };
            let channel = if rng.random_bool(0.05) { Channel::ALL[rng.random_range(0..2)] } else { right };
            if !send(link.sender(), channel, &bytes).await {
                break;
            }
        }
        drop(link);
        // It may have made the victim believe anything of itself; nothing of that outlives the link.
        eventually(SOON, async || match scene.nodes[0].peers().await.iter().any(|peer| peer.id == attacker.id()) {
            false => Ok(()),
            true => Err("the attacker's link is still there".into()),
        })
        .await;
    }
    println!("{links} links, {} closed for a cause", scene.closed_in_all(0).await);
    drop(attacker);
    await_one_ring(&scene.nodes, SOON).await.expect("still one ring");
    scene.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_body_that_a_hop_passed_on_costs_that_hop_nothing() {
    let scene = Scene::start().await;
    let (hop, target) = (scene.nodes[0].id(), scene.nodes[1].id());
    let mut attacker = scene.attacker().await;
    let (link, _) = attacker.link(hop).await;
    let before = scene.nodes[1].status().await.expect("it runs").counters.malformed;
    let kinds = [kind::FIND, kind::FOUND, kind::DIAL, kind::UNREACHABLE, kind::TRACED];
    for kind in kinds {
        // The source may be anybody's: here an innocent third.
        for src in [attacker.id(), hop, scene.nodes[2].id()] {
            assert!(send(link.sender(), Channel::Ring, &raw(kind, src, target, &[0xff; 7])).await);
        }
    }
    eventually(SOON, async || {
        let status = scene.nodes[1].status().await.expect("it runs");
        match status.counters.malformed - before {
            15 => Ok(()),
            seen => Err(format!("{seen} of 15 bad bodies counted; {:?}", status.counters)),
        }
    })
    .await;
    assert_eq!(scene.closed_in_all(0).await, 0);
    scene.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_headers_end_somewhere() {
    let scene = Scene::start().await;
    let mut attacker = scene.attacker().await;
    let me = attacker.id();
    let hop = scene.nodes[0].id();
    let (link, mut pongs) = read_all(attacker.link(hop).await.0);
    let ids: Vec<Id> = scene.nodes.iter().map(Node::id).chain([me, Id::new(0), Id::MAX]).collect();
    for &dst in &ids {
        for &to in &ids {
            for (ttl, bound) in [(0, 0), (1, u64::MAX), (255, 0), (255, Id::MAX.number())] {
                let via = Some(Via { to, answer: dst });
                let header = Header { ttl, bound, via, trail: ids[..3].to_vec(), ..Header::new(0, to, dst) };
                for flags in [Flags::REPORT, Flags::KEY, Flags::KEY.with(Flags::LAST).with(Flags::REPORT)] {
                    let header = Header { flags, ..header.clone() };
                    assert!(send(&link, Channel::Ring, &frame(header.clone(), Message::Find(9))).await);
                    let trace = Message::Trace(Trace { request: 1, hops: vec![to; 65] });
                    assert!(send(&link, Channel::Ring, &frame(header.clone(), trace)).await);
                    let packet = Message::Datagram(vec![0; 16_000].into());
                    let _ = link.try_send(Channel::Data, frame(header, packet));
                }
            }
        }
    }
    // When this is answered, everything before it has been handled.
    assert!(send(&link, Channel::Ring, &frame(Header::new(0, me, hop), Message::Ping)).await);
    let pong = tokio::time::timeout(SOON, pongs.recv()).await.expect("an answer in time");
    let counters = scene.nodes[0].status().await.expect("it runs").counters;
    assert!(pong.is_some(), "the link was closed: {} {counters:?}", link.closed().await);
    scene.assert_undisturbed().await;
    let mut passed = 0;
    for node in &scene.nodes {
        passed += node.status().await.expect("it runs").counters.frames_forwarded;
    }
    println!("{} frames were passed on {passed} times", ids.len() * ids.len() * 4 * 9);
}

/// Reads what comes, as an honest peer would; tells of each pong.
fn read_all(link: Link) -> (LinkSender, mpsc::Receiver<()>) {
    let (sink, mut events) = mpsc::channel(64);
    let (pongs_in, pongs) = mpsc::channel(1);
    let link = link.forward(LinkKey(0), sink);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                LinkEvent::Frame { bytes, .. } if bytes.get(1) == Some(&kind::PONG) => {
                    let _ = pongs_in.try_send(());
                }
                LinkEvent::Closed { .. } => return,
                _ => {}
            }
        }
    });
    (link, pongs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_cost_their_sender_and_no_link_of_others() {
    let scene = Scene::start().await;
    let (hop, target) = (&scene.nodes[0], scene.nodes[1].id());
    let budget = hop.status().await.expect("it runs").max_links;
    // Three at once push more at one link than it carries.
    let mut floods = Vec::new();
    for _ in 0..3 {
        let mut attacker = scene.attacker().await;
        let (link, _) = attacker.link(hop.id()).await;
        // Whoever reads nothing is a slow reader: this one reads.
        let (link, _) = read_all(link);
        let innocent = scene.nodes[2].id();
        floods.push(tokio::spawn(async move {
            let frames: Vec<BytesMut> = (0..4000u32)
                .map(|n| {
                    let src = Id::new(u64::from(n) << 30 | 1);
                    match n % 4 {
                        0 => frame(Header { flags: Flags::KEY, ..Header::new(0, innocent, target) }, Message::Find(n)),
                        1 => frame(
                            Header::new(0, src, target),
                            Message::Unreachable(Unreachable { peer: innocent, nobody: true }),
                        ),
                        2 => {
                            let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
                            frame(Header::new(0, src, target), Message::Dial(Dial { attempt: n, step }))
                        }
                        _ => raw(50, src, target, &[0; 16_000]),
                    }
                })
                .collect();
            let mut sent = 0;
            for bytes in &frames {
                if !send(&link, Channel::Ring, bytes).await {
                    break;
                }
                sent += 1;
            }
            (sent, attacker, link)
        }));
    }
    let mut most = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        for node in &scene.nodes {
            let used = node.status().await.expect("it runs").links_in_use;
            assert!(used <= budget, "{used} links of {budget} at {}", node.id());
            most = most.max(used);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut senders = Vec::new();
    for flood in floods {
        let (sent, attacker, link) = flood.await.expect("no panic");
        println!("{} sent {sent} frames", attacker.id());
        senders.push((attacker, link));
    }
    for node in &scene.nodes {
        let counters = node.status().await.expect("it runs").counters;
        println!("{}: {counters:?}", node.id());
    }
    println!("at most {most} links of {budget}");
    drop(senders);
    await_one_ring(&scene.nodes, Duration::from_secs(20)).await.expect("still one ring");
    assert_eq!(scene.closed_in_all(0).await, 0, "no link of the hop was closed");
    scene.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_hello_opens_no_link() {
    let scene = Scene::start().await;
    let victim = &scene.nodes[0];
    let mut attacker = scene.attacker().await;
    let mut events = victim.events();
    let hellos: [(&str, Channel, Vec<u8>); 4] = [
        ("malformed", Channel::Ring, Vec::new()),
        ("malformed", Channel::Ring, vec![0xff; MAX_FRAME]),
        ("malformed", Channel::Ring, frame(Header::new(0, attacker.id(), victim.id()), Message::Ping).to_vec()),
        ("malformed", Channel::Ring, vec![0; 200]),
    ];
    for (reason, channel, hello) in hellos {
        let mut link = attacker.open(victim.id()).await;
        send(link.sender(), channel, &hello).await;
        assert!(is_closed(&mut link, SOON).await, "the link is closed after {} bytes", hello.len());
        let refused = async {
            loop {
                if let atoll::NodeEvent::PeerRefused { peer, reason } = events.recv().await.expect("events") {
                    return (peer, reason);
                }
            }
        };
        let (peer, said) = tokio::time::timeout(SOON, refused).await.expect("an event");
        assert_eq!(peer, attacker.id());
        assert!(said.contains(reason), "{said}");
    }
    assert!(victim.peers().await.iter().all(|peer| peer.id != attacker.id()));
    scene.assert_undisturbed().await;
}

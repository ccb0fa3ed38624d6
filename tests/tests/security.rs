//! Those who stand between two nodes, at the signalling server or on the ring, get no link and learn nothing.

#![allow(clippy::unwrap_used, reason = "a test stops where it stumbles")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll::net::link::hello::HelloSettings;
use atoll::net::link::{Channel, Link, LinkSender, Opening, Transport};
use atoll::proto::{Config, Phase};
use atoll::signalling::{NodeMessage, RelayFrom, RelayTo, ServerMessage};
use atoll::wire::{Dial, Header, Message, Purpose, Role, Step, kind};
use atoll::{Id, Identity, Node, NodeEvent};
use atoll_tests::attacker::{Attacker, frame, loopback_transport, send};
use atoll_tests::middle::{Mouth, Schemer, hostile_server};
use atoll_tests::puppet::{Origin, Puppet};
use atoll_tests::{TestServer, await_one_ring, echo, echoes, eventually};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast;

const SOON: Duration = Duration::from_secs(20);

/// Long enough for an attempt at a link, which takes some milliseconds.
const ATTEMPTS: Duration = Duration::from_secs(2);

async fn refusal(events: &mut broadcast::Receiver<NodeEvent>) -> (Id, String) {
    let refused = async {
        loop {
            if let NodeEvent::PeerRefused { peer, reason } = events.recv().await.expect("events") {
                return (peer, reason);
            }
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("the node says that it refused a peer")
}

/// No link within the time of an attempt.
async fn assert_no_link(nodes: &[&Node]) {
    let until = tokio::time::Instant::now() + ATTEMPTS;
    while tokio::time::Instant::now() < until {
        for node in nodes {
            assert_eq!(node.peers().await, [], "{} has a link", node.id());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Puts another fingerprint into every description.
struct Swapper(AtomicU64);

impl Schemer for Swapper {
    fn on_node_message(&self, message: NodeMessage, _node: &Mouth) -> Option<NodeMessage> {
        let NodeMessage::Relay(relay) = &message else { return Some(message) };
        let dial: Dial = relay.payload.read()?;
        let Step::Describe(text) = &dial.step else { return Some(message) };
        let lines = text.lines().map(|line| match line.split_once("sha-256 ") {
            Some((start, _)) => {
                self.0.fetch_add(1, Ordering::Relaxed);
                format!("{start}sha-256 {}", vec!["AB"; 32].join(":"))
            }
            None => line.to_owned(),
        });
        let swapped: String = lines.map(|line| line + "\r\n").collect();
        let dial = Dial { attempt: dial.attempt, step: Step::Describe(swapped) };
        Some(NodeMessage::Relay(RelayTo::dial(relay.to, &dial)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_swaps_fingerprints_gets_no_link() {
    let server = TestServer::start().await;
    let swapper = Arc::new(Swapper(AtomicU64::new(0)));
    let hostile = hostile_server(&server.url, Arc::clone(&swapper) as Arc<dyn Schemer>).await;
    let founder = server.node().start().await.expect("a node");
    let joiner = server.builder_at(&hostile).spawn().expect("a node");
    let mut events = joiner.events();
    assert_no_link(&[&founder, &joiner]).await;
    let swapped = swapper.0.load(Ordering::Relaxed);
    println!("{swapped} fingerprints swapped");
    assert!(swapped > 0, "nothing was swapped");
    assert_eq!(joiner.status().await.expect("it runs").phase, Phase::Joining);
    let failed = async {
        loop {
            if let NodeEvent::LinkFailed { peer, reason } = events.recv().await.expect("events") {
                return (peer, reason);
            }
        }
    };
    let (peer, reason) = tokio::time::timeout(SOON, failed).await.expect("the node says that no link opens");
    println!("{peer}: {reason}");
    assert_eq!(peer, founder.id());
    assert!(joiner.peers().await.is_empty());
}

/// Stands in the middle of every link: answers each offer itself, makes one of its own to the true peer, and passes on all frames
/// between the two.
struct Middle {
    transport: Transport,
    mouths: Mutex<BTreeMap<Id, Mouth>>,
    /// The halves towards those who answer: by who answers, and whom they believe to answer.
    answering: Mutex<BTreeMap<(Id, Id), Opening>>,
    joined: AtomicU64,
    this: std::sync::Weak<Middle>,
}

impl Middle {
    fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Middle {
            transport: loopback_transport(),
            mouths: Mutex::default(),
            answering: Mutex::default(),
            joined: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    /// Tells a node a step as if it came from another.
    fn tell(&self, to: Id, from: Id, dial: &Dial) {
        if let Some(mouth) = self.mouths.lock().unwrap().get(&to) {
            mouth.say(ServerMessage::Relay(RelayFrom { from, payload: RelayTo::dial(to, dial).payload }));
        }
    }

    /// The offer of `from` to `to` never arrives: each gets a half of this one's own.
    async fn stand_between(self: Arc<Self>, from: Id, to: Id, attempt: u32, offer: String) -> Option<()> {
        let (near, answer) = self.transport.answer(&offer).await.ok()?;
        let (far, other_offer) = self.transport.offer().await.ok()?;
        self.answering.lock().unwrap().insert((to, from), far.clone());
        self.tell(to, from, &Dial { attempt, step: Step::Describe(other_offer) });
        self.tell(from, to, &Dial { attempt, step: Step::Describe(answer) });
        let (near, far) = tokio::join!(near.open(), far.open());
        let (near, far) = (near.ok()?, far.ok()?);
        self.joined.fetch_add(1, Ordering::Relaxed);
        let (to_near, to_far) = (near.sender().clone(), far.sender().clone());
        tokio::join!(pump(near, to_far), pump(far, to_near));
        Some(())
    }
}

/// Passes on what comes, as it comes.
async fn pump(mut from: Link, to: LinkSender) {
    while let Some((channel, bytes)) = from.recv().await {
        let _ = to.try_send(channel, bytes);
    }
    to.close();
}

impl Schemer for Middle {
    fn on_node_message(&self, message: NodeMessage, node: &Mouth) -> Option<NodeMessage> {
        if let NodeMessage::Register(register) = &message {
            self.mouths.lock().unwrap().insert(register.key.id(), node.clone());
        }
        Some(message)
    }

    /// A description on its way to a node: an offer is answered here, an answer is for this one's own offer.
    fn to_node(&self, message: ServerMessage, node: &Mouth) -> Option<ServerMessage> {
        let ServerMessage::Relay(relay) = &message else { return Some(message) };
        let Some(Dial { attempt, step: Step::Describe(text) }) = relay.payload.read::<Dial>() else {
            return Some(message);
        };
        let from = relay.from;
        let to = self.mouths.lock().unwrap().iter().find(|(_, mouth)| mouth.is(node)).map(|(&id, _)| id)?;
        let this = self.this.upgrade()?;
        let own = self.answering.lock().unwrap().get(&(from, to)).cloned();
        tokio::spawn(async move {
            match own {
                Some(opening) => {
                    let _ = opening.accept(&text).await;
                }
                None if text.starts_with("candidate:") => {}
                None => {
                    this.stand_between(from, to, attempt, text).await;
                }
            }
        });
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_in_the_middle_with_its_own_certificates_gets_no_link() {
    let server = TestServer::start().await;
    let middle = Middle::new();
    let hostile = hostile_server(&server.url, Arc::clone(&middle) as Arc<dyn Schemer>).await;
    let founder = server.builder_at(&hostile).start().await.expect("a node");
    let mut events = founder.events();
    let joiner = server.builder_at(&hostile).spawn().expect("a node");
    let mut its_events = joiner.events();
    let at_founder = refusal(&mut events).await;
    let at_joiner = refusal(&mut its_events).await;
    println!("the founder says {at_founder:?}, the joiner {at_joiner:?}");
    for (said, peer) in [(at_founder, joiner.id()), (at_joiner, founder.id())] {
        assert_eq!(said.0, peer);
        assert!(said.1.contains("signature does not hold"), "{}", said.1);
    }
    assert_no_link(&[&founder, &joiner]).await;
    assert!(middle.joined.load(Ordering::Relaxed) > 0, "DTLS itself was content with the one in the middle");
}

/// Relays everything that is for one node to another, and back.
struct Impostor {
    victim: Id,
    impostor: Id,
}

impl Schemer for Impostor {
    fn on_node_message(&self, message: NodeMessage, _node: &Mouth) -> Option<NodeMessage> {
        match message {
            NodeMessage::Relay(mut relay) if relay.to == self.victim => {
                relay.to = self.impostor;
                Some(NodeMessage::Relay(relay))
            }
            other => Some(other),
        }
    }

    fn to_node(&self, message: ServerMessage, _node: &Mouth) -> Option<ServerMessage> {
        match message {
            ServerMessage::Relay(mut relay) if relay.from == self.impostor => {
                relay.from = self.victim;
                Some(ServerMessage::Relay(relay))
            }
            ServerMessage::Welcome(mut welcome) => {
                welcome.list.members.iter_mut().for_each(|member| member.id = self.victim);
                Some(ServerMessage::Welcome(welcome))
            }
            ServerMessage::Members(mut list) => {
                list.members.iter_mut().for_each(|member| member.id = self.victim);
                Some(ServerMessage::Members(list))
            }
            other => Some(other),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_relays_another_key_gets_no_link() {
    let server = TestServer::start().await;
    let impostor = server.node().start().await.expect("a node");
    let victim = Identity::generate().id();
    let schemer = Arc::new(Impostor { victim, impostor: impostor.id() });
    let hostile = hostile_server(&server.url, schemer).await;
    let dialler = server.builder_at(&hostile).spawn().expect("a node");
    let mut events = dialler.events();
    let (peer, reason) = refusal(&mut events).await;
    println!("{peer}: {reason}");
    assert_eq!(peer, victim);
    assert!(reason.contains(&impostor.id().to_string()), "{reason}");
    assert!(dialler.peers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_the_id_of_a_neighbour_is_refused_and_the_link_stays() {
    let server = TestServer::start().await;
    let nodes = server.ring(3).await;
    await_one_ring(&nodes, SOON).await.expect("one ring");
    nodes.iter().for_each(echo);
    let (victim, held) = (&nodes[0], nodes[1].id());
    let mut attacker = Attacker::new(&server.url).await;
    let (mut link, _) = attacker.link(victim.id()).await;
    for attempt in 0..20 {
        // The answer is to come back here: the attacker says that it is the way to the id that it claims.
        let step = Step::Request { role: Role::Member, purpose: Purpose::Ring };
        let header = Header::new(0, held, victim.id());
        assert!(send(link.sender(), Channel::Ring, &frame(header, Message::Dial(Dial { attempt, step }))).await);
    }
    assert!(
        send(link.sender(), Channel::Ring, &frame(Header::new(0, attacker.id(), victim.id()), Message::Ping)).await
    );
    let pong = async {
        while let Some((_, bytes)) = link.recv().await {
            if bytes.get(1) == Some(&kind::PONG) {
                return;
            }
        }
        panic!("the link was closed");
    };
    tokio::time::timeout(SOON, pong).await.expect("a pong");
    // More than it takes to give up a link whose peer does not answer.
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < until {
        let peers = victim.peers().await;
        let kept = peers.iter().find(|peer| peer.id == held).unwrap_or_else(|| panic!("the link is gone: {peers:?}"));
        assert_eq!(kept.key, Some(nodes[1].key()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(victim.status().await.expect("it runs").counters.protocol.dead, 0);
    echoes(victim, held, b"still there").await.expect("an echo");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_proves_the_secret_gets_a_link() {
    let server = TestServer::start().await;
    let inside = server.node().secret(&b"right"[..]).start().await.expect("a node");
    let friend = server.node().secret(&b"right"[..]).start().await.expect("a node that knows the secret");
    for secret in [None, Some(&b"wrong"[..])] {
        let mut events = inside.events();
        let mut friends_events = friend.events();
        let builder = secret.map_or(server.node(), |secret| server.node().secret(secret));
        let outside = builder.spawn().expect("a node");
        let (peer, reason) = tokio::select! {
            said = refusal(&mut events) => said,
            said = refusal(&mut friends_events) => said,
        };
        println!("{secret:?}: {reason}");
        assert_eq!(peer, outside.id());
        assert!(reason.contains("secret") || reason.contains("closed"), "{reason}");
        for node in [&inside, &friend] {
            assert!(node.peers().await.iter().all(|peer| peer.id != outside.id()), "{} has a link", node.id());
        }
        // Who asks for no proof itself believes for a moment that the link is good.
        eventually(SOON, async || match outside.peers().await {
            peers if peers.is_empty() => Ok(()),
            peers => Err(format!("{peers:?}")),
        })
        .await;
        assert_eq!(outside.status().await.expect("it runs").phase, Phase::Joining);
    }
    await_one_ring(&[inside, friend], SOON).await.expect("one ring of two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_networks_on_one_server_never_meet() {
    let server = TestServer::start().await;
    let one = [server.node().network("one").start().await, server.node().network("one").start().await];
    let two = [server.node().network("two").start().await, server.node().network("two").start().await];
    let [one, two] = [one, two].map(|ring| ring.map(|node| node.expect("a node")));
    await_one_ring(&one, SOON).await.expect("one ring");
    await_one_ring(&two, SOON).await.expect("another ring");
    assert!(one[0].dial(two[0].id()).await.is_err());
    // Somebody who carries the messages from one to the other gains nothing: the hello names the network.
    let hello = HelloSettings::new("one");
    let mut stranger = Attacker::with(&server.url, Identity::generate(), hello).await;
    stranger.hello = HelloSettings::new("two");
    let mut events = one[0].events();
    let link = stranger.open(one[0].id()).await;
    let mut link = link;
    let _ = atoll::net::link::hello::greet(&mut link, &stranger.identity, &stranger.hello, None).await;
    let (peer, reason) = refusal(&mut events).await;
    assert_eq!((peer, reason.contains("another network")), (stranger.id(), true), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hop_that_reads_and_alters_packets_learns_nothing_and_costs_only_time() {
    const SECRET: &[u8] = b"the treasure lies under the old oak";
    let server = TestServer::start().await;
    let nodes = server.ring(2).await;
    await_one_ring(&nodes, SOON).await.expect("one ring");
    // A leaf is attached to members alone; the puppet is the only one that it hears of.
    let seen = Arc::new(Mutex::new((0u64, 0u64, false)));
    let notes = Arc::clone(&seen);
    let hand = Box::new(move |origin, bytes: &mut BytesMut| {
        if origin == Origin::Passing && bytes.get(1) == Some(&kind::DATAGRAM) {
            let mut notes = notes.lock().unwrap();
            notes.0 += 1;
            notes.2 |= bytes.windows(SECRET.len()).any(|window| window == SECRET);
            // One in five is altered somewhere behind the header. At random: a fixed step can hit the same packet for ever.
            if rand::random_bool(0.2) && bytes.len() > 60 {
                notes.1 += 1;
                let at = bytes.len() - 1 - (notes.0 as usize % 16);
                bytes[at] ^= 0x55;
            }
        }
    });
    let puppet = Puppet::start(&server.url, Identity::generate(), Config::default(), HelloSettings::new("atoll"), hand);
    eventually(SOON, async || match puppet.view().await {
        view if view.phase == Phase::Member && view.links.len() == nodes.len() => Ok(()),
        view => Err(format!("{view:?}")),
    })
    .await;
    let only = Arc::new(Impostor { victim: puppet.id(), impostor: puppet.id() });
    let hostile = hostile_server(&server.url, only).await;
    let leaf = server.builder_at(&hostile).role(Role::Leaf).direct_links(false).start().await.expect("a leaf");
    assert_eq!(leaf.peers().await.iter().map(|peer| peer.id).collect::<Vec<_>>(), [puppet.id()]);
    echo(&nodes[0]);
    let mut socket = leaf.dial(nodes[0].id()).await.expect("a socket through the hop");
    for _ in 0..200 {
        socket.write_all(SECRET).await.expect("written");
        let mut back = vec![0; SECRET.len()];
        tokio::time::timeout(SOON, socket.read_exact(&mut back)).await.expect("in time").expect("read");
        assert_eq!(back, SECRET, "what comes back is what was sent");
    }
    let (passed, altered, read) = *seen.lock().unwrap();
    println!("{passed} packets passed through the hop, {altered} were altered");
    assert!(altered > 10, "the hop was on the way");
    assert!(!read, "the hop has read the secret");
}

//! Channels: what a member publishes comes to every other, once, in its order. Every test names its seed when it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll::id::Id;
use atoll::key::Identity;
use atoll::proto::{Answer, ChannelError, ChannelEvent, Config, Input, LinkId, MAX_CHANNELS, Membership, Token};
use atoll::wire::{
    ChannelId, Envelope, Frame, Head, Header, Join, JoinRefusal, Label, Message, Published, Terms, Tree,
};
use sim::engine::{Fate, Happening, Network, World};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A ring, a channel on it, and what its members got.
struct Scene {
    world: World,
    seed: u64,
    terms: Terms,
    gate: Option<Identity>,
    /// By index of the node: what it joins with.
    identities: BTreeMap<usize, Identity>,
    /// By member: publisher and payload of what came, in its order.
    got: BTreeMap<usize, Vec<(Id, String)>>,
    lagged: BTreeMap<usize, u64>,
    answers: BTreeMap<u64, Answer>,
    tokens: u64,
}

/// A key pair that follows from a number.
fn identity(number: u64) -> Identity {
    // RFC 5958: an EC key on P-256, without its public half.
    const HEAD: &[u8] = &[
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    let mut secret = [1; 32];
    secret[24..].copy_from_slice(&number.to_be_bytes());
    Identity::from_pkcs8_der(&[HEAD, &secret].concat()).expect("a key")
}

impl Scene {
    /// Without signatures, which are slow to check in a test.
    fn new(count: usize, seed: u64) -> Self {
        Self::with(count, seed, Terms::new("news", false, None), &Config::with_links(16))
    }

    fn with(count: usize, seed: u64, terms: Terms, config: &Config) -> Self {
        let mut world = World::new(seed, Network::default());
        world.audit = true;
        let (identities, got, lagged, answers) = Default::default();
        let mut scene = Scene { world, seed, terms, gate: None, identities, got, lagged, answers, tokens: 0 };
        for number in 0..count as u64 {
            scene.add(number, config);
        }
        let took = scene.world.run_until(120 * S, count, |world| world.is_ideal());
        assert!(took.is_some(), "seed {seed}: no ideal ring\n{}", scene.world.describe());
        scene.run(5 * S);
        scene
    }

    fn add(&mut self, number: u64, config: &Config) -> usize {
        let identity = identity(self.seed << 32 | number);
        let at = self.world.add(identity.id(), config.clone());
        self.identities.insert(at, identity);
        at
    }

    fn channel(&self) -> ChannelId {
        self.terms.id()
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn take_news(&mut self) {
        for (_, happening) in std::mem::take(&mut self.world.happened) {
            match happening {
                Happening::Channel { node, event: ChannelEvent::Messages(envelope), .. } => {
                    let got = self.got.entry(node).or_default();
                    got.extend(
                        envelope.messages().iter().map(|message| {
                            (envelope.publisher(), String::from_utf8_lossy(&message.payload).into_owned())
                        }),
                    );
                }
                Happening::Channel { node, event: ChannelEvent::Lagged { count, .. }, .. } => {
                    *self.lagged.entry(node).or_default() += count;
                }
                Happening::Answer { token, answer, .. } => {
                    self.answers.insert(token, answer);
                }
                _ => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        self.world.run_for(time);
        self.take_news();
    }

    fn membership(&self, at: usize) -> Box<Membership> {
        let gate = self.gate.clone();
        Box::new(Membership { terms: self.terms.clone(), identity: self.identities[&at].clone(), gate })
    }

    fn begin_join(&mut self, at: usize) -> u64 {
        let (token, membership) = (self.token(), self.membership(at));
        self.world.input(at, Input::JoinChannel { token, membership });
        token.0
    }

    fn answer(&mut self, token: u64) -> Answer {
        for _ in 0..2000 {
            self.take_news();
            if let Some(answer) = self.answers.get(&token) {
                return answer.clone();
            }
            self.world.run_for(10 * MS);
        }
        panic!("seed {}: no answer\n{}", self.seed, self.world.describe());
    }

    fn join(&mut self, at: usize) {
        let token = self.begin_join(at);
        assert_eq!(self.answer(token), Answer::Joined(Ok(())), "seed {}", self.seed);
    }

    fn join_all(&mut self, members: impl IntoIterator<Item = usize>) {
        let tokens: Vec<u64> = members.into_iter().map(|at| self.begin_join(at)).collect();
        for token in tokens {
            assert_eq!(self.answer(token), Answer::Joined(Ok(())), "seed {}", self.seed);
        }
        self.run(S);
    }

    fn publish(&mut self, at: usize, text: &str) -> u64 {
        let (token, channel) = (self.token(), self.channel());
        let message = Published { scope: String::new(), payload: text.to_owned().into() };
        self.world.input(at, Input::Publish { channel, messages: vec![(token, message)] });
        token.0
    }

    fn publish_all(&mut self, at: usize, texts: &[String]) {
        for text in texts {
            self.publish(at, text);
        }
    }

    fn texts(&self, at: usize, from: usize) -> Vec<String> {
        let publisher = self.identities[&from].id();
        let got = self.got.get(&at).map_or(&[][..], Vec::as_slice);
        got.iter().filter(|(from, _)| *from == publisher).map(|(_, text)| text.clone()).collect()
    }

    /// Every one of these got exactly these messages of this publisher, in their order.
    fn assert_all_got(&self, members: impl IntoIterator<Item = usize>, from: usize, texts: &[String]) {
        for at in members {
            let seed = self.seed;
            assert_eq!(self.texts(at, from), texts, "seed {seed}, node {at}, lagged {:?}", self.lagged);
        }
        assert_eq!(self.lagged, BTreeMap::new(), "seed {}", self.seed);
    }

    /// The running node that owns the channel's point.
    fn root(&self) -> usize {
        let point = self.channel().point();
        let distance = |&at: &usize| point.clockwise_to(self.world.nodes[at].proto.id());
        self.world.running().min_by_key(distance).expect("somebody runs")
    }

    fn parent(&self, at: usize) -> Option<Option<Id>> {
        self.world.nodes[at].proto.channel_place(self.channel()).map(|(parent, _)| parent)
    }

    /// Why one of these does not hang on the root, by parents that know their children.
    fn astray(&self, members: impl IntoIterator<Item = usize>) -> Option<String> {
        let root = self.root();
        members.into_iter().find_map(|member| {
            let (mut at, mut steps) = (member, 0);
            while at != root {
                let id = self.world.nodes[at].proto.id();
                let Some(parent) = self.parent(at).flatten() else { return Some(format!("{id} has no parent")) };
                let above = self.world.running().find(|&at| self.world.nodes[at].proto.id() == parent);
                let Some(above) = above else { return Some(format!("{id} hangs on {parent}, who is dead")) };
                let place = self.world.nodes[above].proto.channel_place(self.channel());
                let Some((_, children)) = place else { return Some(format!("{parent} is not attached")) };
                if !children.contains(&id) {
                    return Some(format!("{parent} does not know its child {id}"));
                }
                (at, steps) = (above, steps + 1);
                if steps == 64 {
                    return Some(format!("a circle at {id}"));
                }
            }
            None
        })
    }

    /// Every member hangs on the root.
    fn assert_one_tree(&self, members: &BTreeSet<usize>) {
        assert_eq!(self.astray(members.iter().copied()), None, "seed {}", self.seed);
    }
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("message {number}")).collect()
}

#[test]
fn what_a_member_publishes_comes_to_every_other_once_and_in_its_order() {
    for seed in 1..4 {
        let terms = Terms::new("news", seed == 1, None);
        let mut scene = Scene::with(60, seed, terms, &Config::with_links(16));
        scene.join_all(0..60);
        scene.assert_one_tree(&(0..60).collect());
        for text in texts(0..40) {
            scene.publish(7, &text);
            scene.publish(9, &text);
            scene.run(5 * MS);
        }
        scene.run(2 * S);
        scene.assert_all_got(0..60, 7, &texts(0..40));
        scene.assert_all_got(0..60, 9, &texts(0..40));
        let stats = |world: &World| world.nodes.iter().map(|node| node.proto.channel_stats().duplicates).sum::<u64>();
        // But for those that go again to a neighbour that has just changed its place.
        assert!(stats(&scene.world) < 10, "seed {seed}: each message crosses a link once");
    }
}

#[test]
fn only_members_and_those_between_them_take_part_and_they_leave_when_nobody_needs_them() {
    let mut scene = Scene::new(100, 5);
    scene.join_all([3, 40, 77]);
    let taking_part =
        |scene: &Scene| scene.world.nodes.iter().filter(|node| node.proto.channel_stats().channels > 0).count();
    assert!((3..20).contains(&taking_part(&scene)), "{} nodes", taking_part(&scene));
    for at in [3, 40, 77] {
        let (token, channel) = (scene.token(), scene.channel());
        scene.world.input(at, Input::LeaveChannel { token, channel });
        assert_eq!(scene.answer(token.0), Answer::LeftChannel);
    }
    scene.run(40 * S);
    assert_eq!(taking_part(&scene), 0);
    let token = scene.publish(3, "late");
    assert_eq!(scene.answer(token), Answer::Published(Err(ChannelError::NotJoined)));
}

#[test]
fn a_newcomer_gets_what_is_published_from_then_on_and_nothing_before() {
    let mut scene = Scene::new(40, 6);
    scene.join_all(0..10);
    scene.publish_all(0, &texts(0..20));
    scene.run(S);
    scene.join(20);
    scene.publish_all(0, &texts(20..30));
    scene.run(S);
    scene.assert_all_got(1..10, 0, &texts(0..30));
    scene.assert_all_got([20], 0, &texts(20..30));
}

#[test]
fn nothing_is_lost_when_a_third_dies_and_the_root_with_it_while_messages_flow() {
    for seed in 10..18 {
        let mut scene = Scene::new(48, seed);
        scene.join_all(0..48);
        let root = scene.root();
        let publisher = (0..48).find(|&at| at != root).expect("another");
        let doomed: Vec<usize> = (0..48).filter(|&at| at == root || (at % 3 == 0 && at != publisher)).collect();
        for (number, text) in texts(0..300).iter().enumerate() {
            scene.publish(publisher, text);
            if number == 100 {
                doomed.iter().for_each(|&at| scene.world.kill(at));
            }
            scene.run(20 * MS);
        }
        scene.run(15 * S);
        let alive: BTreeSet<usize> = (0..48).filter(|at| !doomed.contains(at)).collect();
        scene.assert_one_tree(&alive);
        scene.assert_all_got(alive, publisher, &texts(0..300));
    }
}

#[test]
fn members_are_attached_again_within_two_beats_of_the_death_of_the_root() {
    let mut times = Vec::new();
    for seed in 0..40 {
        let mut scene = Scene::new(40, 1000 + seed);
        scene.join_all(0..40);
        // At any moment between two beats.
        scene.run(50 * MS * seed as u32);
        let root = scene.root();
        scene.world.kill(root);
        scene.run(2 * S);
        let mut waited = 2 * S;
        while scene.astray(scene.world.running()).is_some() && waited < 12 * S {
            scene.run(100 * MS);
            waited += 100 * MS;
        }
        times.push(waited);
    }
    times.sort_unstable();
    // A few need another round, where all that a node knows of nearer ones is below it.
    assert!(times[35] <= 4 * S && times[39] <= 5 * S, "{times:?}");
}

#[test]
fn a_new_owner_of_the_point_becomes_the_root_and_nothing_is_lost() {
    for seed in 30..36 {
        let mut scene = Scene::new(30, seed);
        scene.join_all(0..30);
        // It stands right at the channel's point.
        let point = scene.channel().point();
        let newcomer = scene.world.add(point, Config::with_links(16));
        for text in texts(0..200) {
            scene.publish(4, &text);
            scene.run(20 * MS);
        }
        scene.run(10 * S);
        assert_eq!(scene.root(), newcomer);
        assert_eq!(scene.parent(newcomer), Some(None), "seed {seed}: the newcomer is the root");
        scene.assert_all_got(0..30, 4, &texts(0..200));
        scene.assert_one_tree(&(0..30).collect());
    }
}

#[test]
fn a_member_that_restarts_is_a_new_publisher_and_its_old_messages_are_refused() {
    let mut scene = Scene::new(20, 40);
    scene.join_all(0..20);
    scene.publish_all(3, &texts(0..5));
    scene.run(S);
    let (token, channel) = (scene.token(), scene.channel());
    scene.world.input(3, Input::LeaveChannel { token, channel });
    scene.run(S);
    scene.join(3);
    scene.publish_all(3, &texts(5..9));
    scene.run(S);
    scene.assert_all_got(4..20, 3, &texts(0..9));
}

#[test]
fn a_slow_neighbour_is_told_what_it_missed_and_slows_nobody_for_long() {
    let mut scene = Scene::new(12, 50);
    scene.join_all(0..12);
    let root = scene.root();
    let slow = (0..12).find(|&at| {
        at != root && {
            let (_, children) = scene.world.nodes[at].proto.channel_place(scene.channel()).expect("attached");
            children.is_empty()
        }
    });
    let slow = slow.expect("a leaf of the tree");
    let publisher = (0..12).find(|&at| at != slow && at != root).expect("another");
    // It hears everything and says nothing of it: its credits are lost.
    scene.world.sabotage = Some(Box::new(move |at, frame| match &frame.message {
        Message::Tree(tree) if at == slow && matches!(**tree, Tree::Credit { .. }) => Fate::Dropped,
        _ => Fate::Goes,
    }));
    let text = "x".repeat(10_000);
    let mut tokens = Vec::new();
    for _ in 0..500 {
        tokens.push(scene.publish(publisher, &text));
        scene.run(10 * MS);
    }
    scene.run(3 * S);
    for at in (0..12).filter(|&at| at != slow) {
        assert_eq!(scene.texts(at, publisher).len(), 500, "node {at}");
        assert_eq!(scene.lagged.get(&at), None);
    }
    assert!(scene.texts(slow, publisher).len() < 500);
    scene.world.sabotage = None;
    // It is given up, joins anew, and is told how much is gone.
    scene.run(40 * S);
    scene.publish(publisher, "the last");
    scene.run(20 * S);
    let (got, lost) = (scene.texts(slow, publisher).len() as u64, scene.lagged[&slow]);
    assert_eq!(got + lost, 501, "{got} came and {lost} are told to be lost");
}

#[test]
fn a_publisher_waits_while_its_neighbours_take_nothing_and_messages_that_wait_travel_together() {
    let mut scene = Scene::new(2, 60);
    scene.join_all(0..2);
    let channel = scene.channel();
    // Far more than the window: what is not yet answered waits.
    let tokens: Vec<u64> = (0..600).map(|number| scene.publish(0, &format!("{number:0>1000}"))).collect();
    scene.take_news();
    let published = |scene: &Scene| tokens.iter().filter(|token| scene.answers.contains_key(token)).count();
    assert!(published(&scene) < 200, "{} at once", published(&scene));
    scene.run(10 * S);
    assert_eq!(published(&scene), 600);
    assert_eq!(scene.texts(1, 0).len(), 600);
    let sent = scene.world.nodes[0].proto.channel_stats().sent;
    assert!(sent < 300, "{sent} envelopes for 600 messages");
    assert!(scene.world.nodes[0].proto.channel_place(channel).is_some());
}

#[test]
fn a_private_channel_lets_nobody_in_who_has_not_its_key() {
    let gate = identity(1 << 50);
    let terms = Terms::new("ours", true, Some(gate.public()));
    let mut scene = Scene::with(30, 70, terms, &Config::with_links(16));
    scene.gate = Some(gate);
    scene.join_all(0..20);
    scene.publish_all(3, &texts(0..10));
    scene.run(S);
    scene.assert_all_got(0..20, 3, &texts(0..10));
    let root = scene.root();
    let outsider = (20..30).find(|&at| at != root).expect("another");
    for gate in [Some(identity(1 << 51)), None] {
        scene.gate = gate;
        let token = scene.begin_join(outsider);
        let answer = scene.answer(token);
        assert_eq!(answer, Answer::Joined(Err(ChannelError::Refused(JoinRefusal::Proof))));
    }
    // Proofs are shown anew while members stay.
    scene.run(1500 * S);
    scene.publish(3, "much later");
    scene.run(2 * S);
    assert!(scene.texts(7, 3).contains(&"much later".to_owned()));
}

#[test]
fn two_runs_with_one_seed_are_the_same() {
    let run = || {
        let mut scene = Scene::new(20, 80);
        scene.join_all(0..20);
        scene.publish_all(1, &texts(0..20));
        scene.world.kill(5);
        scene.run(10 * S);
        scene.world.trace_hash()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_node_without_channels_keeps_nothing_for_them() {
    let mut scene = Scene::new(8, 90);
    scene.run(20 * S);
    assert!(scene.world.nodes.iter().all(|node| node.proto.channel_stats() == Default::default()));
}

/// A neighbour in the tree: the link to it, and its id.
fn neighbour(scene: &Scene, at: usize) -> (LinkId, Id) {
    let proto = &scene.world.nodes[at].proto;
    let (parent, children) = proto.channel_place(scene.channel()).expect("attached");
    let peer = parent.into_iter().chain(children).next().expect("a neighbour in the tree");
    let link = proto.peers().find(|link| link.id == peer).expect("a link to it").link;
    (link, peer)
}

/// A frame comes to a node from its neighbour in the tree.
fn inject(scene: &mut Scene, at: usize, message: Message) {
    let (link, peer) = neighbour(scene, at);
    let header = Header::new(message.kind(), peer, scene.world.nodes[at].proto.id());
    scene.world.input(at, Input::Frame { link, frame: Frame { header, message } });
}

fn envelope(scene: &Scene, publisher: &Identity, first: u64, sent: u64) -> Envelope {
    let label = Label { channel: scene.channel(), stream: sent - 1000, sent, first, pass: None };
    let message = Published { scope: String::new(), payload: "planted".into() };
    Envelope::seal(publisher, true, label, &[message])
}

#[test]
fn forged_and_old_messages_are_refused_and_the_neighbour_that_insists_is_dropped() {
    let mut scene = Scene::with(12, 100, Terms::new("news", true, None), &Config::with_links(16));
    scene.join_all(0..12);
    let victim = (0..12).find(|&at| at != scene.root()).expect("another");
    let now = scene.world.now().0;
    let stranger = identity(1 << 60);
    let stats = |scene: &Scene| scene.world.nodes[victim].proto.channel_stats();
    // From a clock that is far ahead: nobody is blamed, for clocks differ.
    let early = envelope(&scene, &stranger, 0, now + 61_000_000);
    inject(&mut scene, victim, Message::Envelope(early.into()));
    assert_eq!(stats(&scene).stale, 1);
    // A good one comes, but only once, and not when it is old.
    let good = envelope(&scene, &stranger, 0, now);
    for _ in 0..2 {
        inject(&mut scene, victim, Message::Envelope(good.clone().into()));
    }
    assert_eq!(stats(&scene).duplicates, 1);
    let old = envelope(&scene, &identity(1 << 61), 0, now);
    scene.run(S);
    let planted = |scene: &Scene| scene.got.values().flatten().filter(|(_, text)| text == "planted").count();
    let came = planted(&scene);
    assert!(came >= 1);
    scene.run(130 * S);
    inject(&mut scene, victim, Message::Envelope(old.into()));
    assert_eq!(stats(&scene).stale, 2);
    let now = scene.world.now().0;
    // Numbers that nobody can have reached, and bytes that were changed.
    let jump = envelope(&scene, &stranger, 1 << 50, now);
    let mut changed = envelope(&scene, &stranger, 1, now).bytes().to_vec();
    let last = changed.len() - 70;
    changed[last] ^= 1;
    let changed = Envelope::decode(changed.into()).expect("well-formed");
    let (_, peer) = neighbour(&scene, victim);
    for number in 0..8 {
        let bad = if number % 2 == 0 { jump.clone() } else { changed.clone() };
        inject(&mut scene, victim, Message::Envelope(bad.into()));
    }
    assert_eq!((stats(&scene).forged, stats(&scene).dropped), (8, 1));
    let linked = scene.world.nodes[victim].proto.peers().any(|link| link.id == peer);
    assert!(!linked, "the neighbour has lost its link");
    // The others do not notice.
    let publisher = (0..12).find(|&at| at != victim).expect("another");
    scene.run(10 * S);
    // The one in whose name the good one was planted never had it, and is told so by others, too late to get it.
    scene.lagged.clear();
    scene.publish_all(publisher, &texts(0..5));
    scene.run(2 * S);
    assert_eq!(planted(&scene), came);
    scene.assert_all_got((0..12).filter(|&at| at != victim), publisher, &texts(0..5));
}

#[test]
fn a_flood_of_joins_fills_no_more_than_the_table_and_ends_the_link() {
    let mut scene = Scene::new(12, 110);
    scene.join_all(0..12);
    let victim = scene.root();
    let (link, peer) = neighbour(&scene, victim);
    for number in 0..1100 {
        let terms = Terms::new(&format!("flood {number}"), false, None);
        let message = Message::Tree(Box::new(Tree::Join(Join { terms, attempt: 1, proof: None, lost: Vec::new() })));
        let header = Header::new(message.kind(), peer, scene.world.nodes[victim].proto.id());
        scene.world.input(victim, Input::Frame { link, frame: Frame { header, message } });
        let stats = scene.world.nodes[victim].proto.channel_stats();
        assert!(stats.channels <= MAX_CHANNELS as u64);
    }
    let stats = scene.world.nodes[victim].proto.channel_stats();
    assert!(stats.refused > 500 && stats.dropped == 1, "{stats:?}");
    // And is over when those who asked have gone.
    scene.run(60 * S);
    let left: u64 = scene.world.running().map(|at| scene.world.nodes[at].proto.channel_stats().channels).sum();
    assert_eq!(left, 12);
}

#[test]
fn a_neighbour_that_lies_about_what_there_is_makes_nobody_miss_what_comes() {
    let mut scene = Scene::new(12, 120);
    scene.join_all(0..12);
    let publisher = 3;
    scene.publish_all(publisher, &texts(0..3));
    scene.run(S);
    let victim = (0..12).find(|&at| at != scene.root() && at != publisher).expect("another");
    let stream = scene.world.now().0 - 5_000_000;
    let id = scene.identities[&publisher].id();
    let known = Head { publisher: id, stream, upper: 1 << 40, ranges: vec![(9, 3), (0, 1 << 60)] };
    let message = Tree::Have { channel: scene.channel(), heads: vec![known], more: false, ask: true };
    inject(&mut scene, victim, Message::Tree(Box::new(message)));
    let message = Tree::Credit { channel: scene.channel(), received: u64::MAX, limit: u64::MAX };
    inject(&mut scene, victim, Message::Tree(Box::new(message)));
    scene.publish_all(publisher, &texts(3..9));
    scene.run(20 * S);
    assert_eq!(scene.texts(victim, publisher), texts(0..9));
}

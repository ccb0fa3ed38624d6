//! N nodes in memory on a virtual clock: the network, the links and the signalling server, with faults on demand.
//!
//! For tests and measurements, with the feature `harness`. What goes wrong in it panics.

pub mod invariants;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use crate::id::Id;
use crate::proto::{Answer, Config, Event, Hop, Input, LinkId, Output, Phase, Proto, Time, Token};
use crate::wire::{Dial, Frame, Message, Role};

/// What the network does to the nodes.
#[derive(Clone, Debug)]
pub struct Network {
    /// How long a frame travels; a signalling message travels twice as long.
    pub latency: std::ops::Range<Duration>,
    /// The share of frames and signalling messages that is lost, 0 to 1.
    pub loss: f64,
    /// Frames on one link may overtake each other.
    pub reorder: bool,
    /// How long a link takes to open once both ends have described themselves.
    pub link_setup: Duration,
}

impl Default for Network {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Network { latency: ms(5)..ms(30), loss: 0.0, reorder: false, link_setup: ms(30) }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum What {
    Frame { link: LinkId, at: usize },
    Signal { from: Id, at: usize },
    AskServer,
    Members { found: bool, members: Vec<Id> },
    LinkUp { link: LinkId },
    LinkDown { link: LinkId },
    Timer,
}

/// One node, and what it has handed to its application.
pub struct Node {
    /// The node itself.
    pub proto: Proto,
    /// Its process has not been killed.
    pub alive: bool,
    /// It drops what it should forward for others.
    pub hostile: bool,
    /// Nodes of different groups cannot reach each other; the signalling server is in group 0.
    pub group: usize,
    /// What arrived, and from whom.
    pub datagrams: Vec<(Id, Vec<u8>)>,
    /// Who could not be reached, and whether nobody holds that id.
    pub unreachable: Vec<(Id, bool)>,
    /// Answers by the number of the token.
    pub answers: BTreeMap<u64, Answer>,
    /// Everything that it told.
    pub events: Vec<Event>,
    timer: Option<Time>,
}

/// The nodes, the network between them, and the signalling server.
pub struct World {
    /// All that ever started.
    pub nodes: Vec<Node>,
    /// The virtual clock.
    pub now: Time,
    /// What the network does to them.
    pub network: Network,
    /// Check Zave's invariants after every step that changes the ring. Off where two rings are meant to exist.
    pub check: bool,
    /// The signalling server answers.
    pub server_up: bool,
    /// How many things have happened.
    pub steps: u64,
    /// The most links that any node had in use at any step.
    pub most_links: usize,
    /// Frames that a node sent on, by the forwarding node's view: to find loops.
    pub hops: BTreeMap<Vec<u8>, Vec<Id>>,
    rng: Pcg32,
    seq: u64,
    queue: BinaryHeap<Reverse<(Time, u64, usize, What)>>,
    frames: BTreeMap<usize, Frame>,
    dials: BTreeMap<usize, Dial>,
    /// Open connections, from both ends.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    last_arrival: BTreeMap<(usize, LinkId), Time>,
    founder: Option<usize>,
    seed: u64,
}

impl World {
    /// An empty world. Two with one seed, and the same calls, are the same.
    pub fn new(seed: u64) -> Self {
        World {
            nodes: Vec::new(),
            now: Time(0),
            network: Network::default(),
            check: true,
            server_up: true,
            steps: 0,
            most_links: 0,
            hops: BTreeMap::new(),
            rng: Pcg32::seed_from_u64(seed),
            seq: 0,
            queue: BinaryHeap::new(),
            frames: BTreeMap::new(),
            dials: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            founder: None,
            seed,
        }
    }

    /// `count` nodes that start at once.
    pub fn start(&mut self, count: usize, config: &Config) {
        for _ in 0..count {
            let id = Id::random(&mut self.rng);
            self.add(id, config.clone());
        }
    }

    /// One node more. Gives its index.
    pub fn add(&mut self, id: Id, config: Config) -> usize {
        let seed = self.rng.random();
        let proto = Proto::new(id, config, seed, self.now);
        self.nodes.push(Node {
            proto,
            alive: true,
            hostile: false,
            group: 0,
            datagrams: Vec::new(),
            unreachable: Vec::new(),
            answers: BTreeMap::new(),
            events: Vec::new(),
            timer: None,
        });
        let at = self.nodes.len() - 1;
        self.drain(at);
        at
    }

    /// Gives a node an input.
    pub fn input(&mut self, at: usize, input: Input) {
        self.nodes[at].proto.handle(input, self.now);
        self.drain(at);
    }

    /// The process is killed: nobody is told.
    pub fn crash(&mut self, at: usize) {
        self.nodes[at].alive = false;
        self.wires.retain(|&(node, _), _| node != at);
    }

    /// Sends a packet by the fast path of the driver: header first.
    pub fn send(&mut self, from: usize, to: Id, payload: Vec<u8>) {
        let proto = &mut self.nodes[from].proto;
        let mut header = proto.datagram_header(to, None, true);
        match proto.route(&mut header, None, self.now) {
            Hop::Forward(link) => {
                let message = Message::Datagram(payload.into());
                self.carry(from, link, Frame { header, message });
            }
            Hop::Deliver => self.nodes[from].datagrams.push((to, payload)),
            Hop::Drop(reason) => proto.report(&header, reason, self.now),
        }
        self.drain(from);
    }

    /// Has a node look up the owner of a key.
    pub fn lookup(&mut self, from: usize, token: u64, key: Id) {
        self.input(from, Input::Lookup { token: Token(token), key });
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `done`, and says after how long; fails when it does not come within `limit`.
    pub fn await_that(&mut self, what: &str, limit: Duration, done: impl Fn(&World) -> bool) -> Duration {
        let start = self.now;
        let end = self.now.after(limit);
        let reached = self.run_until(end, &done);
        assert!(reached, "{what}: not within {limit:?} (seed {})\n{}", self.seed, self.describe());
        self.now.since(start)
    }

    /// The nodes that live and have not left.
    pub fn alive(&self) -> impl Iterator<Item = &Node> + Clone {
        self.nodes.iter().filter(|node| node.alive && node.proto.phase() != Phase::Left)
    }

    /// Their indexes.
    pub fn indexes(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].alive && self.nodes[i].proto.phase() != Phase::Left).collect()
    }

    /// The index of one of them.
    pub fn random_node(&mut self) -> usize {
        self.indexes().into_iter().choose(&mut self.rng).expect("some node lives")
    }

    /// The generator that all chance in this world comes from.
    pub fn rng(&mut self) -> &mut Pcg32 {
        &mut self.rng
    }

    /// Every living member's predecessor and successors are exactly right.
    pub fn is_ideal(&self) -> bool {
        let members = self.alive().filter(|node| node.proto.config().role == Role::Member);
        invariants::ideal(&members.map(|node| &node.proto).collect::<Vec<_>>())
    }

    /// Every node in the order of the ring, for the messages of failed tests.
    pub fn describe(&self) -> String {
        let mut nodes: Vec<&Node> = self.alive().collect();
        nodes.sort_by_key(|node| node.proto.id());
        let line = |(at, node): (usize, &&Node)| {
            let p = &node.proto;
            let neighbour = |step: usize| nodes[(at + nodes.len() + step) % nodes.len()].proto.id();
            let right = p.predecessors().first() == Some(&neighbour(nodes.len() - 1))
                && p.successors().first() == Some(&neighbour(1));
            let links: Vec<_> = p.peers().map(|peer| peer.id).collect();
            let events = &node.events[node.events.len().saturating_sub(6)..];
            format!(
                "{} {} {:?} group {} pred {:?} succ {:?} links {} of {} {links:?} {events:?}\n",
                if right { " " } else { "!" },
                p.id(),
                p.phase(),
                node.group,
                p.predecessors(),
                p.successors(),
                links.len(),
                p.links_in_use(),
            )
        };
        format!("at {:?}, {} steps\n{}", self.now, self.steps, nodes.iter().enumerate().map(line).collect::<String>())
    }

    fn run_until(&mut self, end: Time, done: impl Fn(&World) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            // Looking at all nodes costs more than a step: not after each.
            for _ in 0..self.nodes.len() {
                match self.queue.peek() {
                    Some(Reverse((at, ..))) if *at <= end => self.step(),
                    _ => return done(self),
                }
            }
        }
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, node, what))) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        self.steps += 1;
        self.happen(node, what);
    }

    fn happen(&mut self, at: usize, what: What) {
        match what {
            What::AskServer => self.serve(at),
            What::Frame { at: stored, link } => {
                let frame = self.frames.remove(&stored).expect("stored when it was sent");
                if self.nodes[at].alive && self.wires.contains_key(&(at, link)) {
                    self.input(at, Input::Frame { link, frame });
                }
            }
            What::Signal { from, at: stored } => {
                let dial = self.dials.remove(&stored).expect("stored when it was sent");
                if self.nodes[at].alive {
                    self.input(at, Input::Signal { from, dial });
                }
            }
            _ if !self.nodes[at].alive => {}
            What::Members { found, members } => self.input(at, Input::Members { found, members }),
            What::LinkUp { link } => {
                if let Some(&(peer, _)) = self.wires.get(&(at, link)) {
                    let role = self.nodes[peer].proto.config().role;
                    self.input(at, Input::LinkUp { link, role });
                }
            }
            What::LinkDown { link } => self.input(at, Input::LinkDown { link }),
            What::Timer => {
                self.nodes[at].timer = None;
                if self.nodes[at].proto.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.nodes[at].proto.handle_timeout(self.now);
                }
                self.drain(at);
            }
        }
    }

    fn drain(&mut self, at: usize) {
        let mut ring_changed = false;
        while let Some(output) = self.nodes[at].proto.poll_output() {
            match output {
                Output::Send { link, frame } => self.carry(at, link, frame),
                Output::Signal { to, dial } => self.signal(at, to, dial),
                Output::FindMembers => self.later(self.network.latency.start, at, What::AskServer),
                Output::Connect { link, offers, .. } => {
                    if offers {
                        let description = format!("offer {at} {}", link.0);
                        self.nodes[at].proto.handle(Input::Describe { link, description }, self.now);
                    }
                }
                Output::Described { link, description } => self.described(at, link, &description),
                Output::Close { link } => self.close(at, link),
                Output::Datagram { from, packet, .. } => self.nodes[at].datagrams.push((from, packet.to_vec())),
                Output::Unreachable { peer, nobody } => self.nodes[at].unreachable.push((peer, nobody)),
                Output::Answer { token, answer } => {
                    self.nodes[at].answers.insert(token.0, answer);
                }
                Output::Event(event) => {
                    ring_changed |= matches!(event, Event::RingChanged { .. } | Event::Joined | Event::Left);
                    self.nodes[at].events.push(event);
                }
            }
        }
        let proto = &self.nodes[at].proto;
        self.most_links = self.most_links.max(proto.links_in_use());
        assert!(proto.links_in_use() <= proto.config().max_links, "over the budget of links\n{}", self.describe());
        if let Some(due) = proto.poll_timeout()
            && self.nodes[at].timer.is_none_or(|set| due < set)
        {
            self.nodes[at].timer = Some(due);
            let wait = due.since(self.now);
            self.later(wait, at, What::Timer);
        }
        if ring_changed && self.check {
            let members: Vec<&Proto> =
                self.alive().map(|node| &node.proto).filter(|proto| proto.phase() == Phase::Member).collect();
            if let Err(broken) = invariants::safe(&members) {
                panic!("{broken} (seed {})\n{}", self.seed, self.describe());
            }
        }
    }

    fn carry(&mut self, at: usize, link: LinkId, frame: Frame) {
        if let Message::Datagram(payload) = &frame.message {
            self.hops.entry(payload.to_vec()).or_default().push(self.nodes[at].proto.id());
        }
        if self.nodes[at].hostile && frame.header.src != self.nodes[at].proto.id() {
            return;
        }
        let Some(&(peer, peer_link)) = self.wires.get(&(at, link)) else { return };
        if !self.reachable(at, peer) || self.rng.random_bool(self.network.loss) {
            return;
        }
        let mut arrival = self.now.after(self.latency());
        if !self.network.reorder {
            let last = self.last_arrival.entry((peer, peer_link)).or_default();
            arrival = arrival.max(*last);
            *last = arrival;
        }
        self.seq += 1;
        let stored = self.seq as usize;
        self.frames.insert(stored, frame);
        self.queue.push(Reverse((arrival, self.seq, peer, What::Frame { link: peer_link, at: stored })));
    }

    fn signal(&mut self, at: usize, to: Id, dial: Dial) {
        let from = self.nodes[at].proto.id();
        let to = (0..self.nodes.len()).find(|&i| self.nodes[i].proto.id() == to && self.nodes[i].alive);
        let lost = self.rng.random_bool(self.network.loss);
        if let Some(to) = to
            && self.server_up
            && !lost
            && self.nodes[at].group == 0
            && self.nodes[to].group == 0
        {
            self.seq += 1;
            let stored = self.seq as usize;
            self.dials.insert(stored, dial);
            let wait = self.latency() * 2;
            self.later(wait, to, What::Signal { from, at: stored });
        }
    }

    /// The signalling server names members, or appoints the founder.
    fn serve(&mut self, at: usize) {
        if !self.server_up || !self.nodes[at].alive || self.nodes[at].group != 0 {
            return;
        }
        let is_member = |i: &usize| self.nodes[*i].proto.phase() == Phase::Member && self.nodes[*i].group == 0;
        let members: Vec<usize> = self.indexes().into_iter().filter(|i| is_member(i) && *i != at).collect();
        let role = self.nodes[at].proto.config().role;
        let alive = self.founder.is_some_and(|founder| self.nodes[founder].alive);
        let founder = self.founder.filter(|&founder| alive && founder != at && self.nodes[founder].group == 0);
        let (found, members) = if !members.is_empty() {
            (false, members.into_iter().sample(&mut self.rng, 8))
        } else if let Some(founder) = founder {
            (false, vec![founder])
        } else if role == Role::Member && (!alive || self.founder == Some(at)) {
            self.founder = Some(at);
            (true, Vec::new())
        } else {
            (false, Vec::new())
        };
        let members = members.into_iter().map(|i| self.nodes[i].proto.id()).collect();
        let wait = self.latency();
        self.later(wait, at, What::Members { found, members });
    }

    /// An offer or an answer has arrived; with the answer both ends open.
    fn described(&mut self, at: usize, link: LinkId, description: &str) {
        let mut words = description.split(' ');
        let kind = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("as described");
        let (peer, peer_link) = (number(), LinkId(number() as u32));
        if kind == Some("offer") {
            let description = format!("answer {at} {}", link.0);
            self.nodes[at].proto.handle(Input::Describe { link, description }, self.now);
        } else if self.nodes[peer].alive && self.reachable(at, peer) {
            self.wires.insert((at, link), (peer, peer_link));
            self.wires.insert((peer, peer_link), (at, link));
            self.later(self.network.link_setup, at, What::LinkUp { link });
            self.later(self.network.link_setup, peer, What::LinkUp { link: peer_link });
        }
    }

    fn close(&mut self, at: usize, link: LinkId) {
        let Some((peer, peer_link)) = self.wires.remove(&(at, link)) else { return };
        if self.reachable(at, peer) {
            let last = self.last_arrival.get(&(peer, peer_link)).copied().unwrap_or_default();
            let wait = last.since(self.now).max(self.network.latency.end);
            self.later(wait, peer, What::LinkDown { link: peer_link });
        }
    }

    fn reachable(&self, a: usize, b: usize) -> bool {
        self.nodes[a].group == self.nodes[b].group
    }

    fn latency(&mut self) -> Duration {
        self.rng.random_range(self.network.latency.clone())
    }

    fn later(&mut self, wait: Duration, at: usize, what: What) {
        self.seq += 1;
        self.queue.push(Reverse((self.now.after(wait), self.seq, at, what)));
    }

    /// No frame visited the same node more often than backing out of dead ends explains.
    pub fn loops(&self) -> usize {
        let looped = |hops: &&Vec<Id>| hops.iter().collect::<BTreeSet<_>>().len() != hops.len();
        self.hops.values().filter(looped).count()
    }
}

//! The nodes, the network between them, the signalling server, and the loop that lets them run.

mod ahead;
mod setup;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Config, Event as RingEvent, Hop, Input, LinkId, Output, Phase, Proto, Time, Token};
use atoll::wire::{Frame, Message, Role, kind};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use slab::Slab;

use super::event::{Brings, Event, FromServer, SaidAt, What};
use super::frames::Frames;
use super::happening::{Counts, Fate, Happening, Sabotage, Watch};
use super::network::{Network, Place};
use super::server::Server;
use super::trace::Trace;
use super::wheel::Wheel;
use super::wires::Wires;

/// Microseconds in a tick, as a power of two.
const TICK_BITS: u32 = 6;

/// The resolution of the virtual clock: what happens within one tick happens at once, in the order in which it was caused.
pub const TICK: Duration = Duration::from_micros(1 << TICK_BITS);

/// No tick: the node waits for nothing.
const NEVER: u64 = u64::MAX;

/// One node and its surroundings.
#[derive(Debug)]
pub struct Node {
    /// The node itself.
    pub proto: Proto,
    /// Its process has not been killed.
    pub alive: bool,
    /// Nodes of different groups cannot reach each other; the signalling server is in group 0.
    pub group: u8,
    slow: bool,
    place: Place,
    wires: Wires,
    /// The tick at which it is woken next.
    wake: u64,
}

impl Node {
    /// It lives, and has not left.
    pub fn is_running(&self) -> bool {
        self.alive && self.proto.phase() != Phase::Left
    }

    /// It owns an arc of the ring.
    pub fn is_member(&self) -> bool {
        self.alive && self.proto.phase() == Phase::Member
    }
}

/// The nodes, the network between them, and the signalling server.
pub struct World {
    /// All that ever started.
    pub nodes: Vec<Node>,
    /// What the network does to them.
    pub network: Network,
    /// The signalling server answers.
    pub server_up: bool,
    /// What to write down.
    pub watch: Watch,
    /// What was written down, in its order; take it out from time to time.
    pub happened: Vec<(Time, Happening)>,
    /// Look after each step whether a node holds more links than it may, and panic if so.
    pub audit: bool,
    /// Decides about the frames that nodes are about to send. Without it they all go.
    pub sabotage: Option<Sabotage>,
    /// See [`World::stop_timers`].
    timers_stopped: bool,
    some_are_slow: bool,
    counts: Counts,
    index: BTreeMap<Id, u32>,
    server: Server,
    wheel: Wheel<Event>,
    frames: Frames,
    /// What the signalling server says, on its way.
    said: Slab<FromServer>,
    tick: u64,
    /// Events until the caches are told of more.
    until_look_ahead: usize,
    rng: Pcg32,
    trace: Trace,
    seed: u64,
    ring_changed: bool,
    /// Lent to whichever node takes an input.
    outputs: VecDeque<Output>,
    /// The node that took the last input.
    touched: u32,
}

impl World {
    /// An empty world. Two with one seed, and the same calls, are the same.
    pub fn new(seed: u64, network: Network) -> Self {
        World {
            nodes: Vec::new(),
            network,
            server_up: true,
            watch: Watch { answers: true, ..Watch::default() },
            happened: Vec::new(),
            audit: false,
            sabotage: None,
            timers_stopped: false,
            some_are_slow: false,
            counts: Counts::default(),
            index: BTreeMap::new(),
            server: Server::default(),
            wheel: Wheel::default(),
            frames: Frames::default(),
            said: Slab::new(),
            tick: 0,
            until_look_ahead: 0,
            rng: Pcg32::seed_from_u64(seed),
            trace: Trace::default(),
            seed,
            ring_changed: false,
            outputs: VecDeque::new(),
            touched: 0,
        }
    }

    /// Keeps room for so many nodes more.
    pub fn reserve(&mut self, nodes: usize) {
        self.nodes.reserve_exact(nodes);
    }

    /// A node with this id more, which begins to join. Gives its index.
    pub fn add(&mut self, id: Id, config: impl Into<Arc<Config>>) -> usize {
        let seed = self.rng.random();
        let mut proto = Proto::new(id, config, seed, self.now());
        // The node's own queue is given up: a million of them would be half a gigabyte.
        let mut first = VecDeque::new();
        proto.swap_outputs(&mut first);
        self.outputs.append(&mut first);
        let at = self.nodes.len();
        let slow = self.network.slow_nodes > 0.0 && self.rng.random_bool(self.network.slow_nodes);
        self.some_are_slow |= slow;
        let place = Place::of(id);
        self.nodes.push(Node { proto, alive: true, group: 0, slow, place, wires: Wires::default(), wake: NEVER });
        self.index.insert(id, at as u32);
        self.drain(at);
        at
    }

    /// `count` nodes with random ids that start at once.
    pub fn start(&mut self, count: usize, config: &Config) {
        let config = Arc::new(config.clone());
        for _ in 0..count {
            let id = Id::random(&mut self.rng);
            self.add(id, Arc::clone(&config));
        }
    }

    /// The virtual clock.
    pub fn now(&self) -> Time {
        Time(self.tick << TICK_BITS)
    }

    /// The seed that everything follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How much has happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A number that stands for all that has happened: equal in two runs that did the same.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Bytes that the nodes take, and the events that wait.
    pub fn memory(&self) -> (usize, usize) {
        let node = |node: &Node| size_of::<Node>() - size_of::<Proto>() + node.proto.memory() + node.wires.memory();
        (self.nodes.iter().map(node).sum(), self.wheel.memory() + self.frames.memory())
    }

    /// The generator that all chance in this world comes from.
    pub fn rng(&mut self) -> &mut Pcg32 {
        &mut self.rng
    }

    /// The index of the node that holds, or held last, this id.
    pub fn find(&self, id: Id) -> Option<usize> {
        self.index.get(&id).map(|&at| at as usize)
    }

    /// The indexes of the nodes that live and have not left.
    pub fn running(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.nodes.len()).filter(|&at| self.nodes[at].is_running())
    }

    /// The index of one of them, at random. `None` when there is none.
    pub fn random_node(&mut self) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        for _ in 0..64 {
            let at = self.rng.random_range(0..self.nodes.len());
            if self.nodes[at].is_running() {
                return Some(at);
            }
        }
        let running: Vec<usize> = self.running().collect();
        (!running.is_empty()).then(|| running[self.rng.random_range(0..running.len())])
    }

    /// Gives a node an input.
    pub fn input(&mut self, at: usize, input: Input) {
        self.feed(at, input);
        self.drain(at);
    }

    fn feed(&mut self, at: usize, input: Input) {
        self.counts.events += 1;
        let now = self.now();
        self.with_outputs(at, |proto| proto.handle(input, now));
    }

    /// Lets a node do something; what it wants done is added to [`World::outputs`].
    fn with_outputs<T>(&mut self, at: usize, act: impl FnOnce(&mut Proto) -> T) -> T {
        let proto = &mut self.nodes[at].proto;
        proto.swap_outputs(&mut self.outputs);
        let result = act(proto);
        proto.swap_outputs(&mut self.outputs);
        result
    }

    /// Has a node look up the owner of a key.
    pub fn lookup(&mut self, from: usize, token: u64, key: Id) {
        self.input(from, Input::Lookup { token: Token(token), key });
    }

    /// Has a node send a packet as a native node's driver does: header first.
    pub fn send(&mut self, from: usize, to: Id, packet: Bytes) {
        let now = self.now();
        let mut header = self.nodes[from].proto.datagram_header(to, None, true);
        match self.nodes[from].proto.route(&mut header, None, now) {
            Hop::Forward(link) => self.carry(from, link, Frame { header, message: Message::Datagram(packet) }),
            Hop::Deliver => self.note(Happening::Packet { node: from, from: to, packet }),
            Hop::Drop(reason) => self.with_outputs(from, |proto| proto.report(&header, reason, now)),
        }
        self.drain(from);
    }

    /// From now on no node does anything by itself: each only answers to what reaches it.
    pub fn stop_timers(&mut self) {
        self.timers_stopped = true;
    }

    /// Nodes act by themselves again, and make up at once for what has become due.
    pub fn restart_timers(&mut self) {
        self.timers_stopped = false;
        for at in 0..self.nodes.len() {
            if self.nodes[at].alive {
                self.drain(at);
            }
        }
    }

    /// Gives a node other waits from now on, or other tables to keep. What it waits for already stays as it is.
    pub fn reconfigure(&mut self, at: usize, config: impl Into<Arc<Config>>) {
        self.nodes[at].proto.reconfigure(config);
    }

    /// The process is killed: nobody is told, but for what [`Network::links_notice`] says.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at].alive = false;
        self.server.forget(at as u32, self.nodes[at].proto.id());
        for wire in self.nodes[at].wires.take_all() {
            if let Some(notice) = self.network.links_notice {
                self.later(notice, wire.peer(), What::LinkDown { link: wire.peer_link });
            }
        }
    }

    /// The node leaves properly.
    pub fn leave(&mut self, at: usize) {
        self.input(at, Input::Leave);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now().after(duration);
        while self.step_until(end) {}
    }

    /// Lets time pass until `done`, which is asked every `every` events and at the end, for `limit` at most. Gives how long it took,
    /// or `None` when it did not come.
    pub fn run_until(
        &mut self,
        limit: Duration,
        every: usize,
        mut done: impl FnMut(&mut World) -> bool,
    ) -> Option<Duration> {
        let start = self.now();
        let end = start.after(limit);
        loop {
            if done(self) {
                return Some(self.now().since(start));
            }
            let steps = (0..every.max(1)).take_while(|_| self.step_until(end)).count();
            if steps == 0 {
                return done(self).then(|| self.now().since(start));
            }
        }
    }

    /// Lets the next thing happen, unless that is after `end`; then time goes on to `end`, and the answer is `false`.
    pub fn step_until(&mut self, end: Time) -> bool {
        let end = end.0 >> TICK_BITS;
        let Some((tick, event)) = self.wheel.pop_until(end) else {
            self.tick = self.tick.max(end);
            return false;
        };
        self.tick = tick;
        self.look_ahead_in_batches();
        self.happen(event);
        true
    }

    /// Whether any member's neighbours have changed since this was asked last.
    pub fn take_ring_changed(&mut self) -> bool {
        std::mem::take(&mut self.ring_changed)
    }

    /// The index of the node that the last step, or the last call, was about: no other node has changed in it.
    pub fn touched(&self) -> usize {
        self.touched as usize
    }

    /// Makes a node slow, as [`Network::slowness`] says, or as fast as the others.
    pub fn set_slow(&mut self, at: usize, slow: bool) {
        self.nodes[at].slow = slow;
        self.some_are_slow |= slow;
    }

    /// Every living member's predecessor and successors are exactly right, and nobody is still joining.
    pub fn is_ideal(&self) -> bool {
        let mut members: Vec<&Proto> = Vec::with_capacity(self.nodes.len());
        for node in self.nodes.iter().filter(|node| node.is_running() && node.proto.config().role == Role::Member) {
            if node.proto.phase() != Phase::Member {
                return false;
            }
            members.push(&node.proto);
        }
        members.sort_unstable_by_key(|member| member.id());
        let count = members.len();
        members.iter().enumerate().all(|(at, member)| {
            let length = member.config().successors.min(count - 1);
            let after = (1..=length).map(|step| members[(at + step) % count].id());
            let before = members[(at + count - 1) % count].id();
            after.eq(member.successors().iter().copied())
                && (member.predecessors().first() == Some(&before) || count == 1)
        })
    }

    /// Every node in the order of the ring, for messages about what went wrong.
    pub fn describe(&self) -> String {
        let mut nodes: Vec<&Node> = self.nodes.iter().filter(|node| node.is_running()).collect();
        nodes.sort_unstable_by_key(|node| node.proto.id());
        let line = |(at, node): (usize, &&Node)| {
            let proto = &node.proto;
            let neighbour = |step: usize| nodes[(at + nodes.len() + step) % nodes.len()].proto.id();
            let right = proto.predecessors().first() == Some(&neighbour(nodes.len() - 1))
                && proto.successors().first() == Some(&neighbour(1));
            let links: Vec<Id> = proto.peers().map(|peer| peer.id).collect();
            format!(
                "{} {} {:?} group {} predecessors {:?} successors {:?} {} of {} links open {links:?}\n",
                if right { " " } else { "!" },
                proto.id(),
                proto.phase(),
                node.group,
                proto.predecessors(),
                proto.successors(),
                links.len(),
                proto.links_in_use(),
            )
        };
        let lines: String = nodes.iter().enumerate().map(line).collect();
        format!("seed {}, at {:?}, {} events\n{lines}", self.seed, self.now(), self.counts.events)
    }

    fn happen(&mut self, Event { node, what }: Event) {
        let at = node as usize;
        let brings = match &what {
            What::Frame { frame, .. } => Brings::Frame(self.frames.take(*frame)),
            What::FromServer(SaidAt(at)) => Brings::Said(self.said.remove(*at as usize)),
            _ => Brings::Nothing,
        };
        if !self.nodes[at].alive {
            return;
        }
        what.note(self.tick, node, &brings, &mut self.trace);
        match (what, brings) {
            (What::Frame { group, link, .. }, Brings::Frame(frame)) if group == self.nodes[at].group => {
                self.arrive(at, link, frame);
            }
            (What::Frame { .. }, _) => self.counts.lost += 1,
            (_, Brings::Said(said)) => self.input(at, said.into()),
            (What::AskServer, _) => self.introduce(at),
            (What::LinkUp { link }, _) => self.open(at, link),
            (What::LinkDown { link }, _) => {
                self.nodes[at].wires.remove(link);
                self.input(at, Input::LinkDown { link });
            }
            (What::Wake, _) => self.wake(at),
            (What::FromServer(_), _) => unreachable!("what the server says is in its table"),
        }
    }

    /// A frame came over a link. One that goes on is forwarded as the driver of a native node does: by its header alone.
    fn arrive(&mut self, at: usize, link: LinkId, mut frame: Frame) {
        let routed = frame.header.kind >= kind::FIRST_ROUTED && frame.header.kind != kind::TRACE;
        if !routed || self.nodes[at].wires.get_mut(link).is_none() {
            return self.input(at, Input::Frame { link, frame });
        }
        let now = self.now();
        match self.nodes[at].proto.route(&mut frame.header, Some(link), now) {
            Hop::Forward(next) => {
                self.counts.events += 1;
                self.touched = at as u32;
                self.carry(at, next, frame);
            }
            Hop::Deliver => self.input(at, Input::Frame { link, frame }),
            Hop::Drop(reason) => {
                self.counts.events += 1;
                self.with_outputs(at, |proto| proto.report(&frame.header, reason, now));
                self.drain(at);
            }
        }
    }

    fn wake(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        // It has been woken for something sooner since.
        if node.wake != self.tick {
            return;
        }
        node.wake = NEVER;
        if self.timers_stopped {
            return;
        }
        if node.proto.poll_timeout().is_some_and(|due| due <= now) {
            self.counts.events += 1;
            self.with_outputs(at, |proto| proto.handle_timeout(now));
        }
        self.drain(at);
    }

    /// Carries out what a node wants done.
    fn drain(&mut self, at: usize) {
        self.touched = at as u32;
        while let Some(output) = self.outputs.pop_front() {
            match output {
                Output::Send { link, frame } => self.carry(at, link, frame),
                Output::Signal { to, dial } => self.signal(at, to, dial),
                Output::FindMembers => {
                    let wait = self.latency_to_server(at);
                    self.later(wait, at, What::AskServer);
                }
                Output::Connect { link, offers: true, .. } => self.describe_end(at, link, 'o'),
                Output::Connect { .. } => {}
                Output::Described { link, description } => self.described(at, link, &description),
                Output::Close { link } => self.close(at, link),
                Output::Datagram { from, packet, .. } => self.note(Happening::Packet { node: at, from, packet }),
                Output::Unreachable { peer, nobody } => self.note(Happening::Unreachable { node: at, peer, nobody }),
                Output::Answer { token, answer } => {
                    self.note(Happening::Answer { node: at, token: token.0, answer });
                }
                Output::Channel { channel, event } => self.note(Happening::Channel { node: at, channel, event }),
                Output::Event(event) => self.on_event(at, event),
                // No node here has a disk.
                Output::Save { .. } | Output::Forget { .. } => {}
            }
        }
        let node = &mut self.nodes[at];
        if let Some(due) = node.proto.poll_timeout().filter(|_| !self.timers_stopped) {
            let tick = due.0.div_ceil(1 << TICK_BITS).max(self.tick);
            if tick < node.wake {
                node.wake = tick;
                self.wheel.push(tick, Event { node: at as u32, what: What::Wake });
            }
        }
        if self.audit {
            self.check_budget(at);
        }
    }

    fn on_event(&mut self, at: usize, event: RingEvent) {
        match event {
            RingEvent::Joined if self.nodes[at].proto.phase() == Phase::Member => {
                self.server.register(at as u32, self.nodes[at].proto.id())
            }
            RingEvent::Isolated | RingEvent::Left => self.server.forget(at as u32, self.nodes[at].proto.id()),
            _ => {}
        }
        self.ring_changed |= matches!(event, RingEvent::RingChanged { .. } | RingEvent::Joined | RingEvent::Left);
        if self.watch.events {
            self.happened.push((self.now(), Happening::Event { node: at, event }));
        }
    }

    fn note(&mut self, happening: Happening) {
        if self.watch.answers {
            self.happened.push((self.now(), happening));
        }
    }

    fn check_budget(&mut self, at: usize) {
        let proto = &self.nodes[at].proto;
        let (used, budget) = (proto.links_in_use(), proto.config().max_links);
        self.counts.most_links = self.counts.most_links.max(used);
        assert!(used <= budget, "{} holds {used} links of {budget}\n{}", proto.id(), self.describe());
    }

    /// Sends a frame over a link.
    fn carry(&mut self, at: usize, mut link: LinkId, frame: Frame) {
        match self.sabotage.as_mut().map_or(Fate::Goes, |sabotage| sabotage(at, &frame)) {
            Fate::Goes => {}
            Fate::Dropped => return,
            Fate::Astray => match self.nodes[at].wires.other(link, &mut self.rng) {
                Some(other) => link = other,
                None => return,
            },
        }
        let Some(&mut wire) = self.nodes[at].wires.get_mut(link) else { return };
        let peer = wire.peer();
        self.counts.frames += 1;
        if self.loses() {
            self.counts.lost += 1;
            return;
        }
        if self.watch.dead_contacts && !self.nodes[peer].alive {
            let (kind, src, dst) = (frame.header.kind, frame.header.src, frame.header.dst);
            let contact = Happening::DeadContact { node: at, kind, src, dst };
            self.happened.push((Time(self.tick << TICK_BITS), contact));
        }
        let latency = self.latency(at, peer);
        let mut arrival = self.tick_after(latency);
        if self.network.latency.varies()
            && !self.network.reorder
            && let Some(wire) = self.nodes[at].wires.get_mut(link)
        {
            arrival = arrival.max(wire.last_arrival);
            wire.last_arrival = arrival;
        }
        let (group, kind) = (self.nodes[at].group, frame.header.kind);
        let what = What::Frame { group, kind, link: wire.peer_link, frame: self.frames.put(frame) };
        self.wheel.push(arrival, Event { node: peer as u32, what });
    }

    fn reachable(&self, a: usize, b: usize) -> bool {
        self.nodes[a].group == self.nodes[b].group
    }

    fn loses(&mut self) -> bool {
        self.network.loss > 0.0 && self.rng.random_bool(self.network.loss)
    }

    /// How long a frame travels between these nodes. Looks at the other one only if it must: in a large world, that takes longer
    /// than all else here.
    fn latency(&mut self, from: usize, to: usize) -> Duration {
        let model = self.network.latency;
        let latency = model
            .anywhere(&mut self.rng)
            .unwrap_or_else(|| model.between(self.nodes[from].place, self.nodes[to].place, &mut self.rng));
        let slow = self.some_are_slow && self.nodes[to].slow;
        if slow { latency + self.network.slowness } else { latency }
    }

    fn latency_to_server(&mut self, at: usize) -> Duration {
        self.network.latency.between(self.nodes[at].place, Place::SERVER, &mut self.rng)
    }

    fn tick_after(&self, wait: Duration) -> u64 {
        self.tick + (wait.as_micros() as u64).div_ceil(1 << TICK_BITS)
    }

    fn later(&mut self, wait: Duration, at: usize, what: What) {
        let tick = self.tick_after(wait);
        self.wheel.push(tick, Event { node: at as u32, what });
    }
}

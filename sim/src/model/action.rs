//! What can happen next in a state of the model, and what then does.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll::id::Id;
use atoll::proto::untimed::Deadline;
use atoll::proto::{Config, Input, Output, Proto, Time};
use atoll::wire::Role;

use super::world::{Node, World};

/// The one moment at which all happens: late enough for any wait to lie before it.
pub(super) const NOW: Time = Time(1_000_000_000_000);

/// Frames that nodes may send each other before they count as never coming to rest.
const MOST_STEPS: usize = 2_000;

/// Generators to try where a node draws among its links: these draw each of two, and each of three.
pub(super) const SEEDS: [u64; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

/// The steps of a schedule in words, when they are wanted.
#[derive(Debug, Default)]
pub(super) struct Log(Option<VecDeque<String>>);

/// The last steps of a schedule that are shown.
const SHOWN: usize = 30;

impl Log {
    pub(super) fn on() -> Self {
        Log(Some(VecDeque::new()))
    }

    pub(super) fn note(&mut self, rules: &Rules, world: &World, action: Action) {
        if let Some(steps) = &mut self.0 {
            if steps.len() == SHOWN {
                steps.pop_front();
            }
            steps.push_back(rules.describe_action(world, action));
        }
    }

    pub(super) fn steps(self) -> Vec<String> {
        self.0.unwrap_or_default().into()
    }
}

/// One step of the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Action {
    /// A node starts.
    Start(usize),
    /// A node crashes. Nobody is told yet.
    Fail(usize),
    /// The signalling server names a member to join through; or none, and the node founds the ring.
    Members { node: usize, through: Option<usize> },
    /// One end of a link hears that it is open.
    Up { wire: usize, end: usize },
    /// The frame in front arrives.
    Deliver { wire: usize, end: usize },
    /// One end of a link hears that it is gone.
    Down { wire: usize, end: usize },
    /// A link fails between nodes that live.
    Break { wire: usize },
    /// A deadline comes.
    Due { node: usize, deadline: Deadline, seed: Option<u64> },
}

/// How much happens in one step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    /// One frame arrives.
    Frames,
    /// All frames on their way over one link in one direction arrive.
    Bursts,
    /// All that a start, a deadline or the news of a failure brings about: the atomic operations of Zave's model.
    #[default]
    Operations,
}

/// What the nodes are, and by which rules they step.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) ids: Vec<Id>,
    pub(super) config: Config,
    pub(super) grain: Grain,
}

impl Rules {
    /// All that can happen now, in an order that is the same for the same state.
    pub(super) fn actions(&self, world: &World) -> Vec<Action> {
        let mut actions = Vec::new();
        for (node, state) in world.nodes.iter().enumerate() {
            match state {
                Node::Waiting => actions.push(Action::Start(node)),
                Node::Dead => {}
                Node::Alive { proto, asking } => {
                    if *asking {
                        actions.extend(named(world, node).map(|through| Action::Members { node, through }));
                    }
                    self.due(world, node, proto, &mut actions);
                    if world.left.fails > 0 {
                        actions.push(Action::Fail(node));
                    }
                }
            }
        }
        for wire in world.in_order() {
            let state = &world.wires[wire];
            for end in 0..2 {
                let here = &state.ends[end];
                if !here.closed && !here.up {
                    actions.push(Action::Up { wire, end });
                } else if !here.closed && !here.inbox.is_empty() {
                    actions.push(Action::Deliver { wire, end });
                }
                if state.may_go_down(end) {
                    actions.push(Action::Down { wire, end });
                }
            }
            if world.left.breaks > 0 && state.is_whole() {
                actions.push(Action::Break { wire });
            }
        }
        actions
    }

    /// The state after an action, with all that belongs to the same step.
    pub(super) fn after(&self, world: &World, action: Action) -> World {
        let mut world = world.clone();
        self.act(&mut world, action);
        if self.grain == Grain::Operations {
            self.come_to_rest(&mut world, &mut Log::default());
        }
        world
    }

    /// The checks of a fair schedule leave the nodes with generators that do not differ enough: they must not draw one number twice.
    pub(super) fn with_own_generators(&self, mut world: World) -> World {
        for (index, node) in world.nodes.iter_mut().enumerate() {
            if let Node::Alive { proto, .. } = node {
                Arc::make_mut(proto).reseed((index as u64 + 1) << 48);
            }
        }
        world
    }

    /// Delivers frames until none is on its way.
    pub(super) fn come_to_rest(&self, world: &mut World, log: &mut Log) {
        for _ in 0..MOST_STEPS {
            match self.delivery(world) {
                Some(action) => {
                    log.note(self, world, action);
                    self.act(world, action);
                }
                None => return,
            }
        }
        world.restless = true;
    }

    /// The first link that opens, frame that arrives, or table of neighbours that is told.
    fn delivery(&self, world: &World) -> Option<Action> {
        let on_wire = world.in_order().into_iter().find_map(|wire| {
            (0..2).find_map(|end| {
                let here = &world.wires[wire].ends[end];
                match (here.closed, here.up, here.inbox.is_empty()) {
                    (false, false, _) => Some(Action::Up { wire, end }),
                    (false, true, false) => Some(Action::Deliver { wire, end }),
                    _ => None,
                }
            })
        });
        let gossip = |node: usize| {
            let due = world.alive(node)?.deadlines().contains(&Deadline::Gossip);
            due.then_some(Action::Due { node, deadline: Deadline::Gossip, seed: None })
        };
        on_wire.or_else(|| (0..world.nodes.len()).find_map(gossip))
    }

    /// The deadlines that may come. One that ends a wait comes only when what is waited for cannot.
    fn due(&self, world: &World, node: usize, proto: &Proto, actions: &mut Vec<Action>) {
        let requests: Vec<u32> = proto.requests().collect();
        let asking = matches!(&world.nodes[node], Node::Alive { asking: true, .. });
        for deadline in proto.deadlines() {
            let may = match deadline {
                Deadline::Join => !asking && requests.is_empty() && proto.dialling().next().is_none(),
                Deadline::Stabilize => world.left.stabilizations != Some(0) && !is_stabilizing(world, node, proto),
                Deadline::Gossip => self.grain != Grain::Operations,
                Deadline::Check => world.left.checks > 0 && requests.is_empty(),
                Deadline::Dial(peer) => is_hopeless(world, node, proto, peer),
                Deadline::Lookup(index) => requests.get(index).is_some_and(|&request| !world.travels(request)),
                Deadline::Pause(_) => true,
            };
            let seeds: &[u64] = if deadline == Deadline::Check { &SEEDS } else { &[0] };
            let due = seeds.iter().map(|&seed| Action::Due { node, deadline, seed: (seed > 0).then_some(seed) });
            actions.extend(due.filter(|_| may));
        }
    }

    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Start(node) => {
                let proto = Proto::new(self.ids[node], self.config.clone(), node as u64, NOW);
                world.nodes[node] = Node::Alive { proto: Arc::new(proto), asking: false };
                self.drain(world, node);
            }
            Action::Fail(node) => {
                world.left.fails -= 1;
                world.crash(node);
            }
            Action::Members { node, through } => {
                if let Node::Alive { asking, .. } = &mut world.nodes[node] {
                    *asking = false;
                }
                if through.is_none() {
                    world.founder = Some(node);
                }
                let members = through.map(|member| self.ids[member]).into_iter().collect();
                self.feed(world, node, Input::Members { found: through.is_none(), members });
            }
            Action::Up { wire, end } => {
                let here = &mut Arc::make_mut(&mut world.wires[wire]).ends[end];
                here.up = true;
                let (node, link) = (here.node, here.link);
                self.feed(world, node, Input::LinkUp { link, role: Role::Member });
            }
            Action::Deliver { wire, end } => self.deliver(world, wire, end),
            Action::Down { wire, end } => {
                let (node, link) = (world.wires[wire].ends[end].node, world.wires[wire].ends[end].link);
                world.close_end(wire, end);
                self.feed(world, node, Input::LinkDown { link });
            }
            Action::Break { wire } => {
                world.left.breaks -= 1;
                Arc::make_mut(&mut world.wires[wire]).broken = true;
            }
            Action::Due { node, deadline, seed } => {
                match deadline {
                    Deadline::Stabilize => {
                        world.left.stabilizations = world.left.stabilizations.map(|left| left.saturating_sub(1));
                    }
                    Deadline::Check => world.left.checks = world.left.checks.saturating_sub(1),
                    _ => {}
                }
                if let Node::Alive { proto, .. } = &mut world.nodes[node] {
                    let proto = Arc::make_mut(proto);
                    if let Some(seed) = seed {
                        // No two draws of two nodes, or of one, may give the same numbers.
                        proto.reseed(seed << 32 | u64::from(world.left.checks) << 16 | node as u64);
                    }
                    proto.meet(deadline, NOW);
                }
                self.drain(world, node);
            }
        }
    }

    fn deliver(&self, world: &mut World, wire: usize, end: usize) {
        let (node, link) = (world.wires[wire].ends[end].node, world.wires[wire].ends[end].link);
        let count = if self.grain == Grain::Bursts { world.wires[wire].ends[end].inbox.len() } else { 1 };
        for _ in 0..count {
            // What arrived first may have closed the link.
            let Some((wire, end)) = world.end_of(node, link) else { return };
            let Some(frame) = Arc::make_mut(&mut world.wires[wire]).ends[end].inbox.pop_front() else { return };
            self.feed(world, node, Input::Frame { link, frame });
        }
    }

    fn feed(&self, world: &mut World, node: usize, input: Input) {
        let mut inputs = VecDeque::from([(node, input)]);
        while let Some((node, input)) = inputs.pop_front() {
            let Node::Alive { proto, .. } = &mut world.nodes[node] else { continue };
            Arc::make_mut(proto).handle(input, NOW);
            self.carry_out(world, node, &mut inputs);
        }
    }

    fn drain(&self, world: &mut World, node: usize) {
        let mut inputs = VecDeque::new();
        self.carry_out(world, node, &mut inputs);
        for (node, input) in inputs {
            self.feed(world, node, input);
        }
    }

    /// Does what a node asks for. What goes by the signalling server arrives in the same step.
    fn carry_out(&self, world: &mut World, node: usize, inputs: &mut VecDeque<(usize, Input)>) {
        loop {
            let Node::Alive { proto, asking } = &mut world.nodes[node] else { return };
            // Taking from a queue that is empty would copy a node that other states share.
            let Some(output) = Arc::make_mut(proto).poll_output() else { return };
            match output {
                Output::Send { link, frame } => world.carry(node, link, frame),
                Output::Signal { to, dial } => match world.index_of(&self.ids, to) {
                    Some(peer) => inputs.push_back((peer, Input::Signal { from: self.ids[node], dial })),
                    None => inputs.push_back((node, Input::NotDelivered { to })),
                },
                Output::FindMembers => *asking = true,
                // The offer is the yes; what it says does not matter.
                Output::Connect { link, offers: true, .. } => {
                    inputs.push_back((node, Input::Describe { link, description: String::new() }));
                }
                Output::Connect { link, peer, .. } => {
                    if let Some(peer) = world.index_of(&self.ids, peer) {
                        world.connect(node, link, peer, &self.ids);
                    }
                }
                Output::Close { link } => world.close(node, link),
                // Answers and candidates are not modelled: a link opens once both ends have agreed. The rest is the application's.
                _ => {}
            }
        }
    }
}

/// Whom the signalling server can name to a node that asks: any member that lives; or nobody, to the one that is to found the ring.
fn named(world: &World, node: usize) -> impl Iterator<Item = Option<usize>> {
    let members: Vec<usize> =
        (0..world.nodes.len()).filter(|&other| other != node && world.nodes[other].is_member()).collect();
    let founder = world.founder.filter(|&founder| founder != node && world.alive(founder).is_some());
    let none = members.is_empty();
    let founds = (none && founder.is_none()).then_some(None);
    let waits_for = founder.filter(|_| none).map(Some);
    members.into_iter().map(Some).chain(founds).chain(waits_for)
}

/// What a node said to its successor, or the answer, is still on its way.
fn is_stabilizing(world: &World, node: usize, proto: &Proto) -> bool {
    let live = proto.successors().iter().find_map(|&id| proto.peers().find(|peer| peer.id == id && peer.member));
    let Some((wire, _)) = live.and_then(|peer| world.end_of(node, peer.link)) else { return false };
    world.wires[wire].ends.iter().any(|end| !end.inbox.is_empty())
}

/// A link being set up will never open: its peer is dead, or no step of the attempt is on its way and nothing was agreed.
fn is_hopeless(world: &World, node: usize, proto: &Proto, peer: Id) -> bool {
    proto
        .dialling()
        .find(|dialling| dialling.peer == peer)
        .is_some_and(|dialling| world.end_of(node, dialling.link).is_none() && !world.travels(dialling.attempt))
}

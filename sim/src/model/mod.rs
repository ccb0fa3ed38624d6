//! Model checking: every interleaving of join, fail and stabilize on small rings of the real [`Proto`](atoll::proto::Proto).
//!
//! A random run shows what happens often; this shows all that can happen, within a bound. The crate `stateright` walks over
//! every state that a few real nodes can reach, whatever the order in which frames arrive, deadlines come and failures are
//! noticed, and looks in each for a broken invariant. What is left out, and why that is sound, stands in `docs/simulation.md`.

mod action;
mod describe;
mod fair;
mod options;
mod outcome;
#[cfg(test)]
mod tests;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::invariant;
use anyhow::{Result, bail};
use atoll::id::Id;
use stateright::{Checker, HasDiscoveries, Model, Property};

pub use action::Grain;
pub use options::ModelArgs;
pub use outcome::{Failure, Outcome};

use action::{Action, Log, Rules};
use fair::{Known, is_ideal};
use world::{Budget, Node, World};

const VALID: &str = "the ring is valid";
const IN_BUDGET: &str = "links are within their budget";
const RESTS: &str = "the nodes come to rest";
const CONVERGES: &str = "the ring becomes ideal";
const ARRIVES: &str = "all have joined, all that fails has failed, the ring is ideal";

/// Checks every state within the bound that the options give.
pub fn run(args: &ModelArgs) -> Result<Outcome> {
    args.check()?;
    let model = RingModel::new(args)?;
    let started = Instant::now();
    let mut builder = model.checker().threads(args.threads()).finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = args.max_depth {
        builder = builder.target_max_depth(depth);
    }
    if let Some(states) = args.max_states {
        builder = builder.target_state_count(states);
    }
    if let Some(limit) = args.timeout {
        builder = builder.timeout(limit);
    }
    let checker = builder.spawn_bfs().join();
    Outcome::new(args, &checker, started.elapsed())
}

/// The model that `stateright` walks over.
#[derive(Debug)]
struct RingModel {
    rules: Rules,
    start: World,
    in_flight: usize,
    converge_every: u64,
    known: Known,
    /// States not looked at, for more frames were on their way than the bound allows.
    cut: AtomicU64,
    /// States that were looked at.
    looked: AtomicU64,
    /// States from which a fair schedule was run.
    converged: AtomicU64,
}

impl RingModel {
    fn new(args: &ModelArgs) -> Result<Self> {
        let rules = Rules { ids: ids(args.nodes, args.joins), config: args.config(), grain: args.grain };
        let start = ideal_ring(&rules, args.nodes)?;
        let left =
            Budget { fails: args.fails, breaks: args.breaks, checks: args.checks, stabilizations: args.stabilizations };
        Ok(RingModel {
            rules,
            start: World { left, ..start },
            in_flight: args.in_flight,
            converge_every: args.converge_every,
            known: Known::default(),
            cut: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            converged: AtomicU64::new(0),
        })
    }

    /// Why a property does not hold in a state, and by which steps of the fair schedule that shows.
    fn reason(&self, property: &str, world: &World) -> (String, Vec<String>) {
        let mut log = Log::on();
        let broken = match property {
            VALID => invariant::safe(&world.members()).err().map(|broken| broken.to_string()),
            CONVERGES | RESTS => self.rules.converge(world, &self.known, &mut log).err(),
            _ => None,
        };
        let reason = broken.map_or_else(|| format!("not so: {property}"), |broken| self.rules.with_names(&broken));
        (reason, log.steps())
    }

    fn converges(&self, world: &World) -> bool {
        self.looked.fetch_add(1, Ordering::Relaxed);
        // Which states are left out follows from their number alone, not from the order of the walk.
        if self.converge_every > 1 && !fair::key(world).is_multiple_of(self.converge_every) {
            return true;
        }
        self.converged.fetch_add(1, Ordering::Relaxed);
        self.rules.converge(world, &self.known, &mut Log::default()).is_ok()
    }
}

impl Model for RingModel {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.start.clone()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(self.rules.actions(world));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(self.rules.after(world, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(VALID, |_, world: &World| invariant::safe(&world.members()).is_ok()),
            Property::always(IN_BUDGET, |_, world: &World| {
                world.protos().all(|proto| proto.links_in_use() <= proto.config().max_links)
            }),
            Property::always(RESTS, |_, world: &World| !world.restless),
            Property::always(CONVERGES, |model: &Self, world: &World| model.converges(world)),
            Property::sometimes(ARRIVES, |_, world: &World| {
                world.left.fails == 0
                    && world.nodes.iter().all(|node| !matches!(node, Node::Waiting))
                    && is_ideal(world)
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        let within = world.most_in_flight() <= self.in_flight;
        if !within {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
        within
    }
}

/// The ring's nodes at equal distances, then those that join, all between the first and the second: the hardest place for them.
fn ids(nodes: usize, joins: usize) -> Vec<Id> {
    let ring = (1..=nodes as u64).map(|place| Id::new(place << 40));
    let joining = (1..=joins as u64).map(|place| Id::new((1 << 40) + (place << 32)));
    ring.chain(joining).collect()
}

/// The ring from which all begins, built by the protocol itself: one node founds it, the others join it one by one.
fn ideal_ring(rules: &Rules, nodes: usize) -> Result<World> {
    let mut world = World {
        nodes: vec![Node::Waiting; rules.ids.len()],
        wires: Vec::new(),
        founder: None,
        left: Budget::default(),
        restless: false,
    };
    for node in 0..nodes {
        rules.act(&mut world, Action::Start(node));
        match rules.become_ideal(&world, &Known::default(), &mut Log::default()) {
            Ok(Some(ideal)) => world = rules.with_own_generators(ideal),
            Ok(None) => bail!("nothing can be known yet"),
            Err(broken) => bail!("no ring of {} to begin with: {broken}", node + 1),
        }
    }
    Ok(world)
}

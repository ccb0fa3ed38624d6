//! Convergence: what becomes of a state when nothing fails any more and every node gets its turn.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::invariant;
use atoll::proto::untimed::Deadline;

use super::action::{Action, Log, Rules};
use super::world::{Budget, Node, World};

/// Rounds in which every node does all that it does from time to time, before a ring counts as one that does not converge.
const MOST_ROUNDS: usize = 100;

const TALKS: &str = "the nodes talk without end";

/// The states without a frame on its way from which the ring is known to become ideal.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeSet<u64>>);

impl Known {
    fn has(&self, key: u64) -> bool {
        self.0.lock().expect("no holder panics").contains(&key)
    }

    fn add(&self, keys: impl IntoIterator<Item = u64>) {
        self.0.lock().expect("no holder panics").extend(keys);
    }
}

/// Every node that lives is a member, and every predecessor and successor list is exactly right.
pub(super) fn is_ideal(world: &World) -> bool {
    world.nodes.iter().all(|node| node.proto().is_none() || node.is_member()) && invariant::ideal(&world.members())
}

impl Rules {
    /// Runs a fair schedule without further faults until the ring is ideal, and stays so. The error says what became of it instead.
    pub(super) fn converge(&self, world: &World, known: &Known, log: &mut Log) -> Result<(), String> {
        self.become_ideal(world, known, log).map(|_| ())
    }

    /// The same, and gives the ideal ring, unless the way to it was known already.
    pub(super) fn become_ideal(&self, world: &World, known: &Known, log: &mut Log) -> Result<Option<World>, String> {
        let mut world = world.clone();
        world.left = Budget::default();
        let mut seen = Vec::new();
        for _ in 0..MOST_ROUNDS {
            self.settle(&mut world, log)?;
            let key = key(&world);
            if known.has(key) {
                known.add(seen);
                return Ok(None);
            }
            if seen.contains(&key) {
                return Err(format!("comes back to the same state, and is not ideal:{}", self.describe(&world)));
            }
            seen.push(key);
            let was_ideal = is_ideal(&world);
            self.take_turns(&mut world, log);
            if was_ideal {
                self.settle(&mut world, log)?;
                if !is_ideal(&world) {
                    return Err(format!("was ideal and did not stay so: {}", self.describe(&world)));
                }
                known.add(seen);
                return Ok(Some(world));
            }
        }
        Err(format!("not ideal after {MOST_ROUNDS} rounds: {}", self.describe(&world)))
    }

    /// All that is on its way arrives, all that waits for it comes to its end.
    fn settle(&self, world: &mut World, log: &mut Log) -> Result<(), String> {
        loop {
            self.come_to_rest(world, log);
            if world.restless {
                return Err(TALKS.to_owned());
            }
            invariant::safe(&world.members()).map_err(|broken| broken.to_string())?;
            let waits = |action: &Action| match action {
                Action::Down { .. } | Action::Members { .. } => true,
                Action::Due { deadline, .. } => matches!(deadline, Deadline::Dial(_) | Deadline::Lookup(_)),
                _ => false,
            };
            match self.actions(world).into_iter().find(waits) {
                Some(action) => {
                    log.note(self, world, action);
                    self.act(world, action);
                }
                None => return Ok(()),
            }
        }
    }

    /// Every node does what it does from time to time; a check goes over each link in turn.
    fn take_turns(&self, world: &mut World, log: &mut Log) {
        for node in 0..world.nodes.len() {
            let Some(proto) = world.nodes.get(node).and_then(Node::proto) else { continue };
            for deadline in proto.deadlines() {
                let seeds = if deadline == Deadline::Check { &super::action::SEEDS[..] } else { &[0] };
                for &seed in seeds {
                    let action = Action::Due { node, deadline, seed: (seed > 0).then_some(seed) };
                    log.note(self, world, action);
                    self.act(world, action);
                }
            }
        }
    }
}

/// The number of a state.
pub(super) fn key(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

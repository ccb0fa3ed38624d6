//! Lookups of random keys by random nodes, each answer compared with who really owns the key.

use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Time};
use rand::seq::IndexedRandom;

use super::Run;
use super::ring::pass;
use super::samples::Samples;
use crate::engine::{Happening, World};

/// Virtual time between two batches of lookups.
const PAUSE: Duration = Duration::from_millis(100);

/// Lookups that begin in one batch, as a share of the nodes: no node has many at one time.
const BATCH: f64 = 0.25;

/// What became of many lookups.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Those that were begun.
    pub(super) begun: usize,
    /// Those that named the right owner.
    pub(super) right: usize,
    /// Those that named another.
    pub(super) wrong: usize,
    /// Hops of the right ones, the last included.
    pub(super) hops: Samples,
    /// Virtual seconds until the answer, of the right ones.
    pub(super) seconds: Samples,
}

impl Outcome {
    /// The share that named the right owner; `None` without lookups.
    pub(super) fn delivered(&self) -> Option<f64> {
        (self.begun > 0).then(|| self.right as f64 / self.begun as f64)
    }

    fn take_answers(&mut self, world: &mut World, asked: &[(Id, Time)], owners: &Owners) {
        for (at, happening) in world.happened.drain(..) {
            let Happening::Answer { token, answer: Answer::Lookup(Ok(owner)), .. } = happening else { continue };
            let Some(&(key, began)) = asked.get(token as usize) else { continue };
            if owners.of_key(key) == Some(owner.id) {
                self.right += 1;
                self.hops.push(f64::from(owner.hops));
                self.seconds.push(at.since(began).as_secs_f64());
            } else {
                self.wrong += 1;
            }
        }
    }
}

/// The members, in the order of the ring.
#[derive(Debug)]
pub(super) struct Owners(Vec<Id>);

impl Owners {
    pub(super) fn of(world: &World) -> Self {
        let members = world.nodes.iter().filter(|node| node.is_member());
        let mut ids: Vec<Id> = members.map(|node| node.proto.id()).collect();
        ids.sort_unstable();
        Owners(ids)
    }

    /// The first member at or after the key. `None`: there are no members.
    pub(super) fn of_key(&self, key: Id) -> Option<Id> {
        let at = self.0.partition_point(|&id| id < key);
        self.0.get(at).or(self.0.first()).copied()
    }
}

/// Has random nodes look random keys up, on a ring that nobody joins or leaves meanwhile. `patience`: how long the last answers
/// are waited for.
pub(super) fn look_up(world: &mut World, run: &Run, count: usize, patience: Duration) -> Outcome {
    look_up_from(world, run, count, patience, None)
}

/// As [`look_up`], by some of the nodes.
pub(super) fn look_up_from(
    world: &mut World,
    run: &Run,
    count: usize,
    patience: Duration,
    asking: Option<&[usize]>,
) -> Outcome {
    let owners = Owners::of(world);
    let mut outcome = Outcome::default();
    let mut asked: Vec<(Id, Time)> = Vec::with_capacity(count);
    world.watch.answers = true;
    world.happened.clear();
    let batch = ((world.nodes.len() as f64 * BATCH) as usize).max(1);
    while asked.len() < count && !run.progress.is_stopped() {
        let begins = batch.min(count - asked.len());
        for _ in 0..begins {
            let from = match asking {
                Some(asking) => asking.choose(world.rng()).copied(),
                None => world.random_node(),
            };
            let Some(from) = from else { break };
            let key = Id::random(world.rng());
            asked.push((key, world.now()));
            world.lookup(from, asked.len() as u64 - 1, key);
        }
        pass(world, run, PAUSE);
        run.progress.did(begins as u64, 0);
        outcome.take_answers(world, &asked, &owners);
    }
    pass(world, run, patience);
    outcome.take_answers(world, &asked, &owners);
    outcome.begun = asked.len();
    world.watch.answers = false;
    outcome
}

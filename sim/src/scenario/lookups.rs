//! Lookups of random keys by random nodes, each answer compared with who really owns the key.

use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Time};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg32;

use super::Run;
use super::ring::pass;
use super::samples::Samples;
use crate::engine::{Happening, TICK, World};

/// Virtual time between two batches of lookups.
const PAUSE: Duration = Duration::from_millis(100);

/// Lookups that begin in one batch, as a share of the nodes: no node has many at one time.
const BATCH: f64 = 0.25;

/// Lookups that begin at one time, a node, where all are to: the protocol takes a few more.
const MOST_AT_ONCE: f64 = 64.0;

/// What became of many lookups.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Those that were begun.
    pub(super) begun: usize,
    /// Who asked for which key, of all that were begun.
    pub(super) questions: Vec<(Id, Id)>,
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

    pub(super) fn append(&mut self, other: Outcome) {
        self.begun += other.begun;
        self.questions.extend(other.questions);
        self.right += other.right;
        self.wrong += other.wrong;
        self.hops.append(other.hops);
        self.seconds.append(other.seconds);
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
        Owners::among(members.map(|node| node.proto.id()))
    }

    /// As if these were the members.
    pub(super) fn among(ids: impl Iterator<Item = Id>) -> Self {
        let mut ids: Vec<Id> = ids.collect();
        ids.sort_unstable();
        Owners(ids)
    }

    /// A member other than this one, at random; this one where there is no other.
    fn another(&self, than: Id, rng: &mut Pcg32) -> Id {
        // The list is sorted: from the own place on, every index is one further.
        let own = self.0.partition_point(|&id| id < than);
        let listed = self.0.get(own) == Some(&than);
        let others = self.0.len() - usize::from(listed);
        if others == 0 {
            return than;
        }
        let index = rng.random_range(0..others);
        self.0[index + usize::from(listed && index >= own)]
    }

    /// The first member at or after the key. `None`: there are no members.
    pub(super) fn of_key(&self, key: Id) -> Option<Id> {
        let at = self.0.partition_point(|&id| id < key);
        self.0.get(at).or(self.0.first()).copied()
    }
}

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Random points of the ring, whoever owns them.
    Keys,
    /// Random other nodes that live.
    Nodes,
}

/// Many lookups, on a ring that nobody joins or leaves meanwhile.
pub(super) struct Lookups<'a> {
    pub(super) count: usize,
    pub(super) target: Target,
    /// How long the last answers are waited for.
    pub(super) patience: Duration,
    /// Who asks; `None`: anybody.
    pub(super) asking: Option<&'a [usize]>,
    /// All at one time, as far as nodes may have so many under way.
    pub(super) at_once: bool,
}

/// Has nodes look keys up.
pub(super) fn look_up(world: &mut World, run: &Run, lookups: &Lookups<'_>) -> Outcome {
    let owners = Owners::of(world);
    let mut outcome = Outcome::default();
    let mut asked: Vec<(Id, Time)> = Vec::with_capacity(lookups.count);
    world.watch.answers = true;
    world.happened.clear();
    let a_node = if lookups.at_once { MOST_AT_ONCE } else { BATCH };
    let batch = ((world.running().count() as f64 * a_node) as usize).max(1);
    while asked.len() < lookups.count && !run.progress.is_stopped() {
        let begins = batch.min(lookups.count - asked.len());
        for _ in 0..begins {
            let from = match lookups.asking {
                Some(asking) => asking.choose(world.rng()).copied(),
                None => world.random_node(),
            };
            let Some(from) = from else { break };
            let key = match lookups.target {
                Target::Keys => Id::random(world.rng()),
                Target::Nodes => owners.another(world.nodes[from].proto.id(), world.rng()),
            };
            outcome.questions.push((world.nodes[from].proto.id(), key));
            asked.push((key, world.now()));
            world.lookup(from, asked.len() as u64 - 1, key);
        }
        pass(world, run, PAUSE);
        run.progress.did(begins as u64, 0);
        outcome.take_answers(world, &asked, &owners);
    }
    let end = world.now().after(lookups.patience);
    while outcome.right + outcome.wrong < asked.len() && world.now().after(TICK) < end && !run.progress.is_stopped() {
        pass(world, run, PAUSE);
        outcome.take_answers(world, &asked, &owners);
    }
    outcome.begun = asked.len();
    world.watch.answers = false;
    outcome
}

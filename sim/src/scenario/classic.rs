//! The paper's Chord without repair: lookups are walked through the nodes' own tables, past the dead, while time stands still.
//!
//! Stoica et al., "Chord", IEEE/ACM Transactions on Networking 11 (2003), section V-C. A hop to a dead contact is a time-out: the
//! node that tried it goes on to its next best contact. The path counts live hops, the last one to the owner included. Time-outs are as
//! the paper counts them, failed nodes that the lookup meets: one that two of the nodes on the way would try counts once, for in the
//! paper the node that asks leads the lookup itself, and knows by then.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};
use atoll::id::Id;
use atoll::proto::Hop;
use atoll::wire::{Flags, Header, kind};

use super::Run;
use super::lookups::Owners;
use super::ring::{Recipe, pass};
use super::samples::Samples;
use crate::engine::World;
use crate::settings::values::Wait;

/// Virtual time between two looks at whether all tables are as the paper has them.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What kind of nodes a ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// As they ship.
    Atoll,
    /// As in the paper on Chord.
    Chord,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Atoll => "Atoll",
            Kind::Chord => "Chord",
        }
    }
}

/// What became of the walks.
#[derive(Clone, Debug, Default)]
pub(super) struct Walks {
    pub(super) begun: usize,
    /// Those that ended at the owner among the living.
    pub(super) right: usize,
    /// Live hops of these.
    pub(super) hops: Samples,
    /// Dead contacts that these tried.
    pub(super) time_outs: Samples,
}

impl Walks {
    pub(super) fn append(&mut self, other: Walks) {
        self.begun += other.begun;
        self.right += other.right;
        self.hops.append(other.hops);
        self.time_outs.append(other.time_outs);
    }
}

/// A ring whose lists and fingers are exactly those of the paper. Gives `None` when the run is to stop.
///
/// # Errors
///
/// When they are not within `limit`.
pub(super) fn build(recipe: &Recipe<'_>, run: &Run, limit: Duration) -> Result<Option<World>> {
    let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
    let end = world.now().after(limit);
    while !run.progress.is_stopped() {
        if world.is_ideal() && has_exact_fingers(&world) {
            return Ok(Some(world));
        }
        if world.now() >= end {
            let (seed, limit) = (recipe.seed, Wait(limit));
            bail!("the fingers of a ring with seed {seed} were not exact after {limit}: give --limit more time");
        }
        pass(&mut world, run, LOOK_EVERY);
    }
    Ok(None)
}

/// Whether each node has the owners of all points `self + 2^row` as its fingers, and links to them.
fn has_exact_fingers(world: &World) -> bool {
    let owners = Owners::of(world);
    world.nodes.iter().filter(|node| node.is_member()).all(|node| {
        let me = node.proto.id();
        let fingers: BTreeSet<Id> =
            node.proto.fingers().into_iter().filter(|finger| finger.own).map(|finger| finger.peer).collect();
        let near = [Some(me), node.proto.successors().first().copied()];
        let wanted = (0..Id::BITS).filter_map(|row| owners.of_key(me.plus(1 << row)));
        wanted.filter(|&owner| !near.contains(&Some(owner))).all(|owner| fingers.contains(&owner))
    })
}

/// Walks lookups of random keys from random living nodes, while these nodes are dead.
pub(super) fn walk(world: &mut World, run: &Run, dead: &BTreeSet<usize>, count: usize) -> Walks {
    let living: Vec<usize> = world.running().filter(|at| !dead.contains(at)).collect();
    let owners = Owners::among(living.iter().map(|&at| world.nodes[at].proto.id()));
    let mut walks = Walks::default();
    for _ in 0..count {
        if run.progress.is_stopped() {
            break;
        }
        let from = rand::seq::IndexedRandom::choose(&living[..], world.rng()).copied();
        let Some(from) = from else { break };
        let key = Id::random(world.rng());
        walks.begun += 1;
        let Some(way) = walk_to(world, dead, from, key) else { continue };
        if owners.of_key(key) == Some(world.nodes[way.at].proto.id()) {
            walks.right += 1;
            walks.hops.push(f64::from(way.hops));
            walks.time_outs.push(f64::from(way.time_outs));
        }
    }
    run.progress.did(count as u64, 0);
    walks
}

/// How far a walk has come.
struct Way {
    at: usize,
    hops: u32,
    time_outs: u32,
}

fn walk_to(world: &mut World, dead: &BTreeSet<usize>, from: usize, key: Id) -> Option<Way> {
    let now = world.now();
    let mut header = Header::new(kind::FIND, world.nodes[from].proto.id(), key);
    header.flags = Flags::KEY;
    let mut way = Way { at: from, hops: 0, time_outs: 0 };
    let mut met = BTreeSet::new();
    loop {
        let proto = &mut world.nodes[way.at].proto;
        let link = match proto.route(&mut header, None, now) {
            Hop::Deliver => return Some(way),
            Hop::Forward(link) => link,
            Hop::Drop(_) => return None,
        };
        let peer = proto.peers().find(|peer| peer.link == link)?.id;
        let next = world.find(peer)?;
        if dead.contains(&next) {
            // Contacts on the trail are passed over: the node tries its next one.
            way.time_outs += u32::from(met.insert(next));
            header.trail.push(peer);
        } else {
            way.hops += 1;
            header.trail.clear();
            way.at = next;
        }
    }
}

//! What is done to nodes from outside.

use std::collections::BTreeSet;

use rand::RngExt;

use crate::engine::World;

/// Kills exactly this share of the nodes, at random: nobody is told.
pub(super) fn kill(world: &mut World, share: f64) {
    for at in choose(world, share) {
        world.kill(at);
    }
}

/// Exactly this share of the nodes that run, at random.
pub(super) fn choose(world: &mut World, share: f64) -> BTreeSet<usize> {
    let mut nodes: Vec<usize> = world.running().collect();
    let wanted = (share * nodes.len() as f64).round() as usize;
    let mut chosen = BTreeSet::new();
    for _ in 0..wanted.min(nodes.len()) {
        let at = world.rng().random_range(0..nodes.len());
        chosen.insert(nodes.swap_remove(at));
    }
    chosen
}

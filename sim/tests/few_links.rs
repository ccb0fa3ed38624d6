//! Rings whose nodes have few places for links: nobody is kept out, and the dead are got around.

use std::collections::BTreeSet;
use std::time::Duration;

use atoll::proto::Config;
use rand::RngExt;
use sim::engine::{Happening, Network, World};

const S: Duration = Duration::from_secs(1);

fn start(count: usize, config: &Config, seed: u64) -> World {
    let mut world = World::new(seed, Network::default());
    world.audit = true;
    world.start(count, config);
    until_ideal(&mut world, "one ring");
    world
}

fn until_ideal(world: &mut World, what: &str) {
    let took = world.run_until(30 * S, 50, |world| world.is_ideal());
    assert!(took.is_some(), "{what}: not within 30 s\n{}", world.describe());
}

/// From now on until a packet of every living node has arrived at every other.
fn until_all_reach_each_other(world: &mut World, limit: Duration) -> Option<Duration> {
    let start = world.now();
    let living: Vec<usize> = world.running().collect();
    let pairs = living.iter().flat_map(|&a| living.iter().map(move |&b| (a, b)));
    let mut missing: BTreeSet<(usize, usize)> = pairs.filter(|(a, b)| a != b).collect();
    world.happened.clear();
    while !missing.is_empty() {
        if world.now().since(start) > limit {
            return None;
        }
        for &(from, to) in &missing {
            let to = world.nodes[to].proto.id();
            world.send(from, to, from.to_be_bytes().to_vec().into());
        }
        world.run_for(S / 4);
        for (_, happening) in world.happened.drain(..) {
            if let Happening::Packet { node, packet, .. } = happening {
                let from = packet.as_ref().try_into().map(usize::from_be_bytes).expect("the sender's index");
                missing.remove(&(from, node));
            }
        }
    }
    Some(world.now().since(start))
}

#[test]
fn nobody_is_kept_out_where_links_are_few() {
    for (count, links, fingers) in [(9, 8, 3), (12, 6, 2), (16, 8, 1), (20, 6, 2), (40, 8, 3)] {
        for seed in 0..25 {
            let mut config = Config::with_links(links);
            config.fingers = fingers;
            let mut world = start(count, &config, seed);
            // By now every place may be taken.
            world.run_for(20 * S);
            world.start(1, &config);
            until_ideal(&mut world, &format!("a newcomer to {count} with {links} links each"));
        }
    }
}

#[test]
fn a_crowd_that_starts_at_once_is_soon_one_ring() {
    for (count, links) in [(24, 6), (40, 6), (60, 8)] {
        let mut slowest = Duration::ZERO;
        for seed in 0..20 {
            let setup = Duration::from_millis(100);
            let mut world = World::new(seed, Network { link_setup: setup, ..Network::default() });
            world.audit = true;
            world.start(count, &Config::with_links(links));
            let took = world.run_until(40 * S, 50, |world| world.is_ideal());
            assert!(took.is_some(), "{count} nodes with {links} links each, seed {seed}: {}", world.describe());
            slowest = slowest.max(took.unwrap_or_default());
        }
        println!("{count} nodes with {links} links each: one ring after {slowest:?} at most");
    }
}

#[test]
fn a_third_that_dies_in_a_row_is_soon_got_around_with_few_links() {
    for seed in 0..30 {
        let mut config = Config::with_links(8);
        config.fingers = 1;
        let mut world = start(16, &config, seed);
        let pause = Duration::from_millis(world.rng().random_range(3000..10_000));
        world.run_for(pause);
        let mut order: Vec<usize> = world.running().collect();
        order.sort_by_key(|&at| world.nodes[at].proto.id());
        let first = world.rng().random_range(0..16usize);
        let other = world.rng().random_range(5..15usize);
        for step in [0, 1, 2, 3, other] {
            world.kill(order[(first + step) % 16]);
        }
        let took = until_all_reach_each_other(&mut world, 30 * S);
        println!("seed {seed}: all pairs after {took:?}");
        assert!(took.is_some_and(|took| took < 8 * S), "all pairs after {took:?}, seed {seed}\n{}", world.describe());
        until_ideal(&mut world, "healed");
    }
}

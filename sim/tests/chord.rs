//! Chord as in the paper, run by the protocol that ships: its ring comes about, has the paper's fingers, and heals.

use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Config};
use sim::engine::{Happening, Network, World};

const S: Duration = Duration::from_secs(1);

/// The first of the sorted `ids` at or after `key`.
fn owner(ids: &[Id], key: Id) -> Id {
    ids[ids.partition_point(|&id| id < key) % ids.len()]
}

fn until(world: &mut World, what: &str, limit: Duration, done: impl Fn(&World) -> bool) -> Duration {
    let took = world.run_until(limit, 30, |world| done(world));
    took.unwrap_or_else(|| panic!("{what}: not within {limit:?}\n{}", world.describe()))
}

#[test]
fn classic_nodes_that_join_one_by_one_end_in_one_ring_with_the_fingers_of_the_paper() {
    let mut world = World::new(5, Network::default());
    for count in 1..=30 {
        world.start(1, &Config::classic());
        until(&mut world, &format!("node {count} a member"), 200 * S, |world| {
            world.nodes.iter().all(|n| n.is_member())
        });
    }
    let took = until(&mut world, "one ideal ring", 3000 * S, World::is_ideal);
    println!("ideal after {took:?}, {} events", world.counts().events);
    world.run_for(120 * S);
    let mut ids: Vec<Id> = world.nodes.iter().map(|node| node.proto.id()).collect();
    ids.sort_unstable();
    for node in &world.nodes {
        let me = node.proto.id();
        let successor = node.proto.successors()[0];
        let mut expected: Vec<Id> = (0..Id::BITS).map(|row| owner(&ids, me.plus(1 << row))).collect();
        expected.retain(|&finger| finger != successor && finger != me);
        expected.dedup();
        let own = node.proto.fingers().into_iter().filter(|finger| finger.own);
        let mut fingers: Vec<Id> = own.map(|finger| finger.peer).filter(|&finger| finger != successor).collect();
        fingers.sort_unstable_by_key(|&finger| me.clockwise_to(finger));
        fingers.dedup();
        assert_eq!(fingers, expected, "the fingers of {me}");
    }
    world.happened.clear();
    let keys: Vec<Id> = (0..300).map(|_| Id::random(world.rng())).collect();
    for (token, &key) in keys.iter().enumerate() {
        let from = world.random_node().expect("all live");
        world.lookup(from, token as u64, key);
    }
    world.run_for(5 * S);
    assert_eq!(world.happened.len(), keys.len(), "every lookup is answered");
    for (_, happening) in &world.happened {
        match happening {
            Happening::Answer { token, answer: Answer::Lookup(Ok(found)), .. } => {
                let key = keys[*token as usize];
                assert_eq!(found.id, owner(&ids, key), "the owner of {key}");
            }
            other => panic!("a lookup gave {other:?}"),
        }
    }
}

#[test]
fn a_classic_ring_closes_over_the_dead() {
    let mut world = World::new(6, Network::default());
    for _ in 0..30 {
        world.start(1, &Config::classic());
        world.run_for(60 * S);
    }
    until(&mut world, "one ideal ring", 3000 * S, World::is_ideal);
    for _ in 0..8 {
        let victim = world.random_node().expect("some live");
        world.kill(victim);
    }
    let took = until(&mut world, "healed", 600 * S, World::is_ideal);
    println!("healed after {took:?}");
}

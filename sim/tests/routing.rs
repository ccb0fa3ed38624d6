//! What each ingredient of routing brings, what hostile nodes cost, and what a node takes.

use std::sync::Arc;
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Config, Placement, Proto, Routing};
use atoll::wire::kind;
use rand::RngExt;
use sim::engine::{Fate, Happening, Network, Routes, World};

const S: Duration = Duration::from_secs(1);

fn ring(count: usize, config: &Config, seed: u64) -> World {
    let mut world = World::new(seed, Network::default());
    world.audit = true;
    world.start(count, config);
    let took = world.run_until(120 * S, count, |world| world.is_ideal());
    assert!(took.is_some(), "no ideal ring\n{}", world.describe());
    world.run_for(60 * S);
    world
}

/// Mean hops of packets between random pairs, all of which must arrive.
fn mean_hops(world: &mut World, packets: u32) -> f64 {
    let routes = Routes::watch(world);
    let count = world.nodes.len();
    for number in 0..packets {
        let from = world.rng().random_range(0..count);
        let to = (from + world.rng().random_range(1..count)) % count;
        let to = world.nodes[to].proto.id();
        world.send(from, to, number.to_be_bytes().to_vec().into());
    }
    world.run_for(3 * S);
    let happened = std::mem::take(&mut world.happened);
    let arrived = happened.iter().filter(|(_, what)| matches!(what, Happening::Packet { .. })).count();
    assert_eq!(arrived, packets as usize, "packets that arrived");
    let hops = routes.hops();
    hops.iter().sum::<usize>() as f64 / hops.len() as f64
}

#[test]
fn every_ingredient_of_routing_can_be_left_out_and_all_messages_arrive() {
    let alone = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::with_links(16);
        change(&mut config);
        mean_hops(&mut ring(100, &config, 17), 3000)
    };
    let all = alone(&|_| {});
    let none = alone(&|config| {
        (config.routing, config.placement, config.lookahead) = (Routing::Clockwise, Placement::FixedPoint, false);
    });
    let parts = [
        ("no lookahead", alone(&|config| config.lookahead = false)),
        ("clockwise", alone(&|config| config.routing = Routing::Clockwise)),
        ("fixed points", alone(&|config| config.placement = Placement::FixedPoint)),
    ];
    println!("all {all:.2}, {parts:?}, none {none:.2}");
    for (what, part) in parts {
        assert!(part < none, "with {what} {part:.2} hops, without anything {none:.2}");
    }
    assert!(all < none, "with everything {all:.2} hops, without anything {none:.2}");
}

#[test]
fn lookups_find_a_way_around_nodes_that_drop_what_they_should_forward() {
    let mut config = Config::with_links(16);
    config.lookup_tries = 8;
    let mut world = ring(200, &config, 14);
    let ids: Vec<Id> = world.nodes.iter().map(|node| node.proto.id()).collect();
    let own = ids.clone();
    world.sabotage = Some(Box::new(move |at, frame| {
        let forwards = frame.header.kind >= kind::FIRST_ROUTED && frame.header.src != own[at];
        if at < 20 && forwards { Fate::Dropped } else { Fate::Goes }
    }));
    world.happened.clear();
    for token in 0..1000 {
        let (from, to) = (world.rng().random_range(20..200usize), world.rng().random_range(20..200usize));
        world.lookup(from, token, ids[to]);
        if token % 20 == 19 {
            world.run_for(S / 10);
        }
    }
    world.run_for(10 * S);
    let answers = world.happened.iter().filter_map(|(_, what)| match what {
        Happening::Answer { answer, .. } => Some(answer),
        _ => None,
    });
    let failed = answers.filter(|answer| !matches!(answer, Answer::Lookup(Ok(_)))).count();
    assert!(failed <= 5, "{failed} of 1,000 lookups failed");
}

#[test]
fn a_million_nodes_with_16_links_stand_in_memory() {
    // Its seats and the lists of the ring among them.
    assert!(size_of::<Proto>() <= 1280, "a node without its tables on the heap takes {} bytes", size_of::<Proto>());
    let world = ring(300, &Config::with_links(16), 101);
    let bytes: usize = world.nodes.iter().map(|node| node.proto.memory()).sum();
    let mean = bytes / world.nodes.len();
    assert!(mean <= 4700, "a node with its tables takes {mean} bytes");
}

#[test]
fn nodes_share_their_settings() {
    let config = Arc::new(Config::with_links(16));
    let mut world = World::new(1, Network::default());
    (1..4).for_each(|id| {
        world.add(Id::new(id), Arc::clone(&config));
    });
    assert_eq!(Arc::strong_count(&config), 4, "the settings are shared, not copied");
}

//! The protocol among many nodes, on a virtual clock: every test names its seed when it fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::harness::{World, invariants};
use super::{Answer, Config, Input, LookupError, Phase, Placement, Proto, Routing, Time, Token};
use crate::id::Id;
use crate::wire::Role;

const S: Duration = Duration::from_secs(1);

fn ring_of(count: usize, links: usize, seed: u64) -> World {
    let mut world = World::new(seed);
    world.start(count, &Config::with_links(links));
    world.await_that("one ideal ring", 60 * S, World::is_ideal);
    world
}

/// Sends `count` messages between random pairs and says how many arrived.
fn delivered(world: &mut World, count: u32) -> u32 {
    let living = world.indexes();
    for number in 0..count {
        let from = *living.choose(world.rng()).unwrap();
        let to = *living.choose(world.rng()).unwrap();
        let to = world.nodes[to].proto.id();
        world.send(from, to, number.to_be_bytes().to_vec());
    }
    world.run_for(3 * S);
    let arrived = world.nodes.iter_mut().map(|node| std::mem::take(&mut node.datagrams).len());
    arrived.sum::<usize>() as u32
}

#[test]
fn a_lone_node_founds_the_ring_and_owns_it() {
    let mut world = ring_of(1, 16, 1);
    world.await_that("a member", S, |world| world.nodes[0].proto.phase() == Phase::Member);
    world.lookup(0, 7, Id::new(99));
    let Some(Answer::Lookup(Ok(owner))) = world.nodes[0].answers.get(&7) else { panic!("no answer") };
    assert_eq!(owner.id, world.nodes[0].proto.id());
}

#[test]
fn any_number_of_nodes_that_start_at_once_end_in_one_ring() {
    for (count, seed) in [(2, 1), (3, 2), (5, 3), (10, 4), (32, 5), (100, 6), (300, 7)] {
        let mut world = World::new(seed);
        world.start(count, &Config::with_links(16));
        let took = world.await_that("one ideal ring", 60 * S, World::is_ideal);
        println!("{count} nodes: one ring after {took:?}, {} steps", world.steps);
    }
}

#[test]
fn every_message_arrives_and_none_loops() {
    for (count, seed) in [(10, 1), (32, 2), (100, 3)] {
        let mut world = ring_of(count, 16, seed);
        world.run_for(20 * S);
        assert_eq!(delivered(&mut world, 10_000), 10_000, "of 10,000 messages among {count} nodes");
        assert_eq!(world.loops(), 0, "messages that visited a node twice among {count} nodes");
    }
}

#[test]
fn a_key_is_owned_by_the_first_node_at_or_after_it() {
    let mut world = ring_of(50, 16, 11);
    let mut ids: Vec<Id> = world.alive().map(|node| node.proto.id()).collect();
    ids.sort_unstable();
    for token in 0..500 {
        let key = Id::random(world.rng());
        let from = world.random_node();
        world.lookup(from, token, key);
        world.run_for(S);
        let expected = ids.iter().copied().find(|&id| id >= key).unwrap_or(ids[0]);
        match world.nodes[from].answers.get(&token) {
            Some(Answer::Lookup(Ok(owner))) => assert_eq!(owner.id, expected, "the owner of {key}"),
            other => panic!("the lookup of {key} gave {other:?}"),
        }
    }
}

#[test]
fn lookups_find_a_way_around_nodes_that_drop_what_they_should_forward() {
    let mut world = World::new(14);
    world.start(200, &Config { lookup_tries: 8, ..Config::with_links(16) });
    world.await_that("one ideal ring", 60 * S, World::is_ideal);
    world.run_for(30 * S);
    for at in 0..20 {
        world.nodes[at].hostile = true;
    }
    let hostile: Vec<Id> = (0..20).map(|at| world.nodes[at].proto.id()).collect();
    let mut ids: Vec<Id> = world.alive().map(|node| node.proto.id()).collect();
    ids.sort_unstable();
    for token in 0..1000 {
        let from = world.rng().random_range(20..200);
        // All ways to a key lead by the node before it when that is the nearest: such keys have no way around it.
        let key = loop {
            let key = Id::random(world.rng());
            let before = ids.iter().rev().find(|&&id| id < key).unwrap_or(&ids[199]);
            if !hostile.contains(before) {
                break key;
            }
        };
        world.lookup(from, token, key);
        if token % 20 == 19 {
            world.run_for(Duration::from_millis(100));
        }
    }
    world.run_for(10 * S);
    let answers = world.nodes.iter().flat_map(|node| node.answers.values());
    let failed = answers.filter(|answer| !matches!(answer, Answer::Lookup(Ok(_)))).count();
    assert!(failed <= 5, "{failed} of 1,000 lookups failed");
}

#[test]
fn an_id_that_nobody_holds_is_told_to_be_so() {
    let mut world = ring_of(40, 16, 12);
    let nobody = Id::new(0x1234_5678_9abc);
    world.send(3, nobody, vec![1]);
    world.run_for(S);
    assert_eq!(world.nodes[3].unreachable, [(nobody, true)]);
    world.input(3, Input::Trace { token: Token(1), peer: nobody });
    world.run_for(S);
    assert_eq!(world.nodes[3].answers.get(&1), Some(&Answer::Trace(Err(LookupError::NoSuchPeer))));
}

#[test]
fn nodes_that_join_one_by_one_find_their_places() {
    let mut world = World::new(21);
    for count in 1..=40 {
        world.start(1, &Config::with_links(16));
        world.await_that(&format!("node {count} in its place"), 20 * S, World::is_ideal);
    }
}

#[test]
fn a_node_that_leaves_is_closed_over_at_once() {
    let mut world = ring_of(20, 16, 31);
    for _ in 0..10 {
        let leaver = world.random_node();
        world.input(leaver, Input::Leave);
        let took = world.await_that("the ring closed over the leaver", 10 * S, World::is_ideal);
        assert!(took < 5 * S, "closing over a proper farewell took {took:?}");
    }
}

#[test]
fn a_third_of_the_nodes_dies_at_once_and_the_ring_heals() {
    for seed in 0..5 {
        let mut world = ring_of(60, 16, seed);
        world.run_for(20 * S);
        for _ in 0..20 {
            let victim = world.random_node();
            world.crash(victim);
        }
        let took = world.await_that("healed", 30 * S, World::is_ideal);
        println!("seed {seed}: healed after {took:?}");
        assert_eq!(delivered(&mut world, 1000), 1000, "of 1,000 messages after the healing, seed {seed}");
    }
}

#[test]
fn nodes_come_and_go_under_loss_and_reordering_and_converge_when_it_stops() {
    for seed in 0..12 {
        let links = [16, 64][seed as usize % 2];
        let mut world = ring_of([7, 20, 45, 90][seed as usize / 3], links, seed);
        world.network.loss = 0.02;
        world.network.reorder = true;
        for _ in 0..25 {
            let many = world.indexes().len() > 5;
            match world.rng().random_range(0..3) {
                1 if many => {
                    let victim = world.random_node();
                    world.crash(victim);
                }
                2 if many => {
                    let leaver = world.random_node();
                    world.input(leaver, Input::Leave);
                }
                _ => world.start(1, &Config::with_links(links)),
            }
            let pause = Duration::from_millis(world.rng().random_range(200..3000));
            world.run_for(pause);
        }
        (world.network.loss, world.network.reorder) = (0.0, false);
        let took = world.await_that("converged", 60 * S, World::is_ideal);
        println!("seed {seed}: converged {took:?} after the faults stopped");
        assert_eq!(delivered(&mut world, 500), 500, "of 500 messages, seed {seed}");
    }
}

#[test]
fn a_partition_makes_two_rings_and_its_healing_one() {
    for seed in 200..205 {
        let mut world = ring_of(40, 16, seed);
        world.run_for(10 * S);
        world.check = false;
        for i in 0..40 {
            world.nodes[i].group = i % 2;
        }
        world.run_for(30 * S);
        for group in 0..2 {
            let half: Vec<_> = world.alive().filter(|node| node.group == group).map(|node| &node.proto).collect();
            assert!(invariants::ideal(&half), "no ring of its own in half {group}\n{}", world.describe());
        }
        world.nodes.iter_mut().for_each(|node| node.group = 0);
        let took = world.await_that("merged", 120 * S, World::is_ideal);
        println!("seed {seed}: merged after {took:?}");
    }
}

#[test]
fn the_ring_works_without_the_signalling_server() {
    let mut world = ring_of(30, 16, 41);
    world.server_up = false;
    world.run_for(10 * S);
    for _ in 0..8 {
        let victim = world.random_node();
        world.crash(victim);
    }
    world.await_that("healed", 30 * S, World::is_ideal);
    let (a, b) = unlinked_pair(&world);
    let peer = world.nodes[b].proto.id();
    world.input(a, Input::WantDirect(peer));
    let linked = move |world: &World| world.nodes[a].proto.peers().any(|linked| linked.id == peer);
    world.await_that("a new link through the ring", 5 * S, linked);
    world.server_up = true;
    world.start(3, &Config::with_links(16));
    world.await_that("newcomers in the same ring", 30 * S, World::is_ideal);
}

#[test]
fn two_nodes_that_dial_each_other_at_once_get_one_link() {
    let mut world = ring_of(30, 16, 91);
    world.run_for(10 * S);
    for _ in 0..10 {
        let (a, b) = unlinked_pair(&world);
        let (id_a, id_b) = (world.nodes[a].proto.id(), world.nodes[b].proto.id());
        world.input(a, Input::WantDirect(id_b));
        world.input(b, Input::WantDirect(id_a));
        let links = move |world: &World, at: usize, peer: Id| {
            world.nodes[at].proto.peers().filter(|linked| linked.id == peer).count()
        };
        let linked = move |world: &World| links(world, a, id_b) == 1 && links(world, b, id_a) == 1;
        let took = world.await_that("linked", 5 * S, linked);
        assert!(took < S, "neither attempt waited for a time limit: {took:?}");
        world.run_for(S);
        assert!(linked(&world), "the one link stays\n{}", world.describe());
    }
}

#[test]
fn a_direct_link_that_is_released_closes_at_both_ends() {
    let mut world = ring_of(60, 16, 95);
    world.run_for(30 * S);
    let (a, b) = unlinked_pair(&world);
    let (id_a, id_b) = (world.nodes[a].proto.id(), world.nodes[b].proto.id());
    let linked = |world: &World, at: usize, peer: Id| world.nodes[at].proto.peers().any(|linked| linked.id == peer);
    world.input(a, Input::WantDirect(id_b));
    world.await_that("linked", 5 * S, move |world| linked(world, a, id_b) && linked(world, b, id_a));
    world.input(a, Input::ReleaseDirect(id_b));
    world.await_that("released", S, move |world| !linked(world, a, id_b) && !linked(world, b, id_a));
    world.input(a, Input::Trace { token: Token(1), peer: id_b });
    world.run_for(S);
    let answer = world.nodes[a].answers.get(&1);
    assert!(matches!(answer, Some(Answer::Trace(Ok(hops))) if hops.len() > 1), "over the ring again: {answer:?}");
}

fn unlinked_pair(world: &World) -> (usize, usize) {
    let living = world.indexes();
    let linked = |a: usize, b: usize| world.nodes[a].proto.peers().any(|peer| peer.id == world.nodes[b].proto.id());
    let mut pairs = living.iter().flat_map(|&a| living.iter().map(move |&b| (a, b)));
    pairs.find(|&(a, b)| a != b && !linked(a, b)).expect("not all are linked to all")
}

#[test]
fn a_leaf_reaches_everyone_and_is_answered_through_its_neighbour() {
    let mut world = ring_of(30, 16, 51);
    let leaf = world.add(Id::new(0xabc), Config { role: Role::Leaf, ..Config::with_links(8) });
    world.await_that("attached", 10 * S, move |world| world.nodes[leaf].proto.phase() == Phase::Attached);
    world.run_for(S);
    for at in 0..30 {
        let peer = world.nodes[at].proto.id();
        world.input(leaf, Input::Trace { token: Token(at as u64), peer });
    }
    world.run_for(2 * S);
    for at in 0..30u64 {
        let answer = world.nodes[leaf].answers.get(&at);
        assert!(matches!(answer, Some(Answer::Trace(Ok(hops))) if !hops.is_empty()), "trace {at}: {answer:?}");
    }
    // A list may be short for a moment, when a link gave way to another.
    world.await_that("the leaf owns no arc", 10 * S, World::is_ideal);
}

#[test]
fn a_row_of_the_finger_table_is_refreshed_on_demand() {
    let mut world = ring_of(60, 16, 61);
    world.input(0, Input::UpdateFinger { token: Token(2), row: 0 });
    // The member that is drawn may have no free place: then another is drawn.
    for _ in 0..10 {
        world.input(0, Input::UpdateFinger { token: Token(1), row: 47 });
        world.run_for(3 * S);
        if matches!(world.nodes[0].answers.get(&1), Some(Answer::Finger(Ok(_)))) {
            break;
        }
    }
    let me = world.nodes[0].proto.id();
    match world.nodes[0].answers.get(&1) {
        Some(Answer::Finger(Ok(peer))) => {
            assert_eq!(me.row_of(*peer), Some(47));
            assert!(world.nodes[0].proto.fingers().iter().any(|finger| finger.peer == *peer), "it is linked");
        }
        other => panic!("row 47 gave {other:?}"),
    }
    assert_eq!(world.nodes[0].answers.get(&2), Some(&Answer::Finger(Err(LookupError::EmptyRow))));
}

#[test]
fn two_runs_with_one_seed_are_the_same() {
    let run = || {
        let mut world = ring_of(30, 16, 71);
        world.run_for(20 * S);
        (world.steps, world.describe())
    };
    assert_eq!(run(), run());
}

#[test]
fn messages_find_their_way_before_the_ring_is_repaired() {
    let mut world = ring_of(300, 16, 81);
    world.run_for(60 * S);
    world.check = false;
    for _ in 0..90 {
        let victim = world.random_node();
        world.crash(victim);
    }
    // The links are known to be dead, nothing is repaired yet: the last second before the heartbeats would.
    for at in world.indexes() {
        let dead: Vec<_> = world.nodes[at]
            .proto
            .peers()
            .filter(|peer| !world.alive().any(|node| node.proto.id() == peer.id))
            .collect();
        for peer in dead {
            world.nodes[at].proto.handle(Input::LinkDown { link: peer.link }, world.now);
        }
    }
    let arrived = delivered(&mut world, 2000);
    println!("{arrived} of 2,000 arrived");
    assert!(arrived >= 1990, "only {arrived} of 2,000 arrived");
}

/// From now on until a packet of every living node has arrived at every other.
fn until_all_reach_each_other(world: &mut World, limit: Duration) -> Option<Duration> {
    let start = world.now;
    let living = world.indexes();
    world.nodes.iter_mut().for_each(|node| node.datagrams.clear());
    let mut missing: Vec<(usize, usize)> =
        living.iter().flat_map(|&a| living.iter().map(move |&b| (a, b))).filter(|(a, b)| a != b).collect();
    while !missing.is_empty() {
        if world.now.since(start) > limit {
            return None;
        }
        for &(from, to) in &missing {
            let to = world.nodes[to].proto.id();
            world.send(from, to, from.to_be_bytes().to_vec());
        }
        world.run_for(S / 4);
        missing.retain(|&(from, to)| {
            let said = from.to_be_bytes();
            !world.nodes[to].datagrams.iter().any(|(_, packet)| *packet == said)
        });
    }
    Some(world.now.since(start))
}

#[test]
fn nobody_is_kept_out_where_links_are_few() {
    for (count, links, fingers) in [(9, 8, 3), (12, 6, 2), (16, 8, 1), (20, 6, 2), (40, 8, 3)] {
        for seed in 0..25 {
            let config = Config { fingers, ..Config::with_links(links) };
            let mut world = World::new(seed);
            world.start(count, &config);
            world.await_that(&format!("one ring of {count} with {links} links each"), 30 * S, World::is_ideal);
            // By now every place may be taken.
            world.run_for(20 * S);
            world.start(1, &config);
            world.await_that(&format!("a newcomer to {count} with {links} links each"), 30 * S, World::is_ideal);
        }
    }
}

#[test]
fn a_third_that_dies_in_a_row_is_soon_got_around_with_few_links() {
    for seed in 0..30 {
        let config = Config { fingers: 1, ..Config::with_links(8) };
        let mut world = World::new(seed);
        world.start(16, &config);
        world.await_that("one ideal ring", 30 * S, World::is_ideal);
        let pause = Duration::from_millis(world.rng().random_range(3000..10_000));
        world.run_for(pause);
        world.check = false;
        let mut order = world.indexes();
        order.sort_by_key(|&at| world.nodes[at].proto.id());
        let first = world.rng().random_range(0..16usize);
        let other = world.rng().random_range(5..15usize);
        for step in [0, 1, 2, 3, other] {
            world.crash(order[(first + step) % 16]);
        }
        let took = until_all_reach_each_other(&mut world, 30 * S);
        println!("seed {seed}: all pairs after {took:?}");
        assert!(took.is_some_and(|took| took < 8 * S), "all pairs after {took:?}, seed {seed}\n{}", world.describe());
        world.await_that("healed", 30 * S, World::is_ideal);
    }
}

#[test]
fn every_ingredient_of_routing_can_be_left_out_and_all_messages_arrive() {
    let whole = Config::with_links(16);
    let alone = |change: fn(&mut Config)| {
        let mut config = whole.clone();
        change(&mut config);
        config
    };
    let configs = [
        ("all", whole.clone()),
        ("no lookahead", alone(|config| config.lookahead = false)),
        ("clockwise", alone(|config| config.routing = Routing::Clockwise)),
        ("fixed points", alone(|config| config.placement = Placement::FixedPoint)),
        (
            "none",
            alone(|config| {
                (config.routing, config.placement, config.lookahead) =
                    (Routing::Clockwise, Placement::FixedPoint, false);
            }),
        ),
    ];
    let mut means = Vec::new();
    for (what, config) in configs {
        let mut world = World::new(17);
        // Where all start at once and tell each other little, there may be two rings for a while.
        world.check = false;
        world.start(100, &config);
        world.await_that("one ideal ring", 120 * S, World::is_ideal);
        world.run_for(60 * S);
        assert_eq!(delivered(&mut world, 3000), 3000, "of 3,000 messages with {what}");
        let hops: usize = world.hops.values().map(Vec::len).sum();
        let mean = hops as f64 / world.hops.len() as f64;
        println!("{what}: {mean:.2} hops");
        means.push(mean);
    }
    assert!(means[1..].iter().all(|&mean| mean > means[0]), "an ingredient that brings nothing: {means:?}");
    assert!(means[..4].iter().all(|&mean| mean < means[4]), "ingredients that bring nothing together: {means:?}");
}

#[test]
fn a_million_nodes_with_16_links_stand_in_memory() {
    assert!(size_of::<Proto>() <= 512, "a node without its tables takes {} bytes", size_of::<Proto>());
    let mut world = ring_of(300, 16, 101);
    world.run_for(60 * S);
    // Whoever runs so many nodes lends one queue of outputs to all.
    world.nodes.iter_mut().for_each(|node| node.proto.swap_outputs(&mut VecDeque::new()));
    let bytes: Vec<usize> = world.nodes.iter().map(|node| node.proto.memory()).collect();
    let mean = bytes.iter().sum::<usize>() / bytes.len();
    assert!(mean <= 4500, "a node with its tables takes {mean} bytes");
}

#[test]
fn nodes_that_share_a_queue_of_outputs_and_their_settings_do_the_same() {
    let config = Arc::new(Config::with_links(16));
    let mut own = Proto::new(Id::new(1), Config::with_links(16), 1, Time(0));
    let mut lent = Proto::new(Id::new(1), Arc::clone(&config), 1, Time(0));
    assert_eq!(own.poll_output(), lent.poll_output());
    let mut queue = VecDeque::new();
    for input in
        [Input::Members { found: true, members: Vec::new() }, Input::Lookup { token: Token(1), key: Id::new(9) }]
    {
        own.handle(input.clone(), Time(5));
        lent.swap_outputs(&mut queue);
        lent.handle(input, Time(5));
        lent.swap_outputs(&mut queue);
        let expected: Vec<_> = std::iter::from_fn(|| own.poll_output()).collect();
        assert_eq!(queue.drain(..).collect::<Vec<_>>(), expected);
        assert_eq!(lent.poll_output(), None, "its own queue is empty");
    }
    assert_eq!(Arc::strong_count(&config), 2, "the settings are shared, not copied");
}

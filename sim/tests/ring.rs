//! The protocol among many nodes, on a virtual clock: every test names its seed when it fails.

use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Config, Input, LookupError, Phase, Proto, Token};
use atoll::wire::Role;
use rand::RngExt;
use rand::seq::IndexedRandom;
use sim::engine::{Happening, Network, Routes, World};
use sim::invariant;

const S: Duration = Duration::from_secs(1);

/// A world whose nodes' links are counted at every step.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, Network::default());
    world.audit = true;
    world
}

fn ring_of(count: usize, links: usize, seed: u64) -> World {
    let mut world = world(seed);
    world.start(count, &Config::with_links(links));
    await_that(&mut world, "one ideal ring", 60 * S, World::is_ideal);
    world
}

/// Lets time pass until `done`, and says how much. The ring is looked at after each step at which a member's neighbours changed.
fn await_that(world: &mut World, what: &str, limit: Duration, done: impl Fn(&World) -> bool) -> Duration {
    let (start, end) = (world.now(), world.now().after(limit));
    while !done(world) {
        let steps = (0..world.nodes.len()).take_while(|_| world.step_until(end) && look(world)).count();
        assert!(steps > 0 || done(world), "{what}: not within {limit:?}\n{}", world.describe());
    }
    world.now().since(start)
}

fn run_for(world: &mut World, duration: Duration) {
    let end = world.now().after(duration);
    while world.step_until(end) {
        look(world);
    }
}

fn look(world: &mut World) -> bool {
    if world.take_ring_changed() {
        let members: Vec<&Proto> = world.nodes.iter().filter(|node| node.is_member()).map(|node| &node.proto).collect();
        if let Err(broken) = invariant::safe(&members) {
            panic!("{broken}\n{}", world.describe());
        }
    }
    true
}

fn id(world: &World, at: usize) -> Id {
    world.nodes[at].proto.id()
}

fn answer(world: &World, token: u64) -> Option<&Answer> {
    world.happened.iter().find_map(|(_, happening)| match happening {
        Happening::Answer { token: of, answer, .. } if *of == token => Some(answer),
        _ => None,
    })
}

/// Sends `count` messages between random pairs and says how many arrived.
fn delivered(world: &mut World, count: u32) -> u32 {
    let living: Vec<usize> = world.running().collect();
    for number in 0..count {
        let from = *living.choose(world.rng()).expect("somebody lives");
        let to = *living.choose(world.rng()).expect("somebody lives");
        let to = id(world, to);
        world.send(from, to, number.to_be_bytes().to_vec().into());
    }
    world.run_for(3 * S);
    let happened = std::mem::take(&mut world.happened);
    happened.iter().filter(|(_, happening)| matches!(happening, Happening::Packet { .. })).count() as u32
}

#[test]
fn a_lone_node_founds_the_ring_and_owns_it() {
    let mut world = ring_of(1, 16, 1);
    await_that(&mut world, "a member", S, |world| world.nodes[0].proto.phase() == Phase::Member);
    world.lookup(0, 7, Id::new(99));
    let Some(Answer::Lookup(Ok(owner))) = answer(&world, 7) else { panic!("no answer") };
    assert_eq!(owner.id, id(&world, 0));
}

#[test]
fn any_number_of_nodes_that_start_at_once_end_in_one_ring() {
    for (count, seed) in [(2, 1), (3, 2), (5, 3), (10, 4), (32, 5), (100, 6), (300, 7)] {
        let mut world = world(seed);
        world.start(count, &Config::with_links(16));
        let took = await_that(&mut world, "one ideal ring", 60 * S, World::is_ideal);
        println!("{count} nodes: one ring after {took:?}, {} events", world.counts().events);
    }
}

#[test]
fn every_message_arrives_and_none_loops() {
    for (count, seed) in [(10, 1), (32, 2), (100, 3)] {
        let mut world = ring_of(count, 16, seed);
        run_for(&mut world, 20 * S);
        let routes = Routes::watch(&mut world);
        assert_eq!(delivered(&mut world, 10_000), 10_000, "of 10,000 messages among {count} nodes");
        assert_eq!(routes.loops(), 0, "messages that visited a node twice among {count} nodes");
    }
}

#[test]
fn a_key_is_owned_by_the_first_node_at_or_after_it() {
    let mut world = ring_of(50, 16, 11);
    let mut ids: Vec<Id> = world.running().map(|at| id(&world, at)).collect();
    ids.sort_unstable();
    for token in 0..500 {
        let key = Id::random(world.rng());
        let from = world.random_node().unwrap();
        world.lookup(from, token, key);
        run_for(&mut world, S);
        let expected = ids.iter().copied().find(|&id| id >= key).unwrap_or(ids[0]);
        match answer(&world, token) {
            Some(Answer::Lookup(Ok(owner))) => assert_eq!(owner.id, expected, "the owner of {key}"),
            other => panic!("the lookup of {key} gave {other:?}"),
        }
    }
}

#[test]
fn an_id_that_nobody_holds_is_told_to_be_so() {
    let mut world = ring_of(40, 16, 12);
    let nobody = Id::new(0x1234_5678_9abc);
    world.send(3, nobody, vec![1].into());
    run_for(&mut world, S);
    let told: Vec<&Happening> = world.happened.iter().map(|(_, happening)| happening).collect();
    let answer_to_sender = Happening::Unreachable { node: 3, peer: nobody, nobody: true };
    assert_eq!(told.iter().filter(|&&told| *told == answer_to_sender).count(), 1, "{told:?}");
    world.input(3, Input::Trace { token: Token(1), peer: nobody });
    run_for(&mut world, S);
    assert_eq!(answer(&world, 1), Some(&Answer::Trace(Err(LookupError::NoSuchPeer))));
}

#[test]
fn nodes_that_join_one_by_one_find_their_places() {
    let mut world = world(21);
    for count in 1..=40 {
        world.start(1, &Config::with_links(16));
        await_that(&mut world, &format!("node {count} in its place"), 20 * S, World::is_ideal);
    }
}

#[test]
fn a_node_that_leaves_is_closed_over_at_once() {
    let mut world = ring_of(20, 16, 31);
    for _ in 0..10 {
        let leaver = world.random_node().unwrap();
        world.leave(leaver);
        let took = await_that(&mut world, "the ring closed over the leaver", 10 * S, World::is_ideal);
        assert!(took < 5 * S, "closing over a proper farewell took {took:?}");
    }
}

#[test]
fn a_third_of_the_nodes_dies_at_once_and_the_ring_heals() {
    for seed in 0..5 {
        let mut world = ring_of(60, 16, seed);
        run_for(&mut world, 20 * S);
        for _ in 0..20 {
            let victim = world.random_node().unwrap();
            world.kill(victim);
        }
        let took = await_that(&mut world, "healed", 30 * S, World::is_ideal);
        println!("seed {seed}: healed after {took:?}");
        // Fingers that led to the dead are found anew: what is on its way over a link that gives way for one just then, is lost.
        run_for(&mut world, 30 * S);
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
            let many = world.running().count() > 5;
            match world.rng().random_range(0..3) {
                1 if many => {
                    let victim = world.random_node().unwrap();
                    world.kill(victim);
                }
                2 if many => {
                    let leaver = world.random_node().unwrap();
                    world.leave(leaver);
                }
                _ => world.start(1, &Config::with_links(links)),
            }
            let pause = Duration::from_millis(world.rng().random_range(200..3000));
            run_for(&mut world, pause);
        }
        (world.network.loss, world.network.reorder) = (0.0, false);
        let took = await_that(&mut world, "converged", 60 * S, World::is_ideal);
        println!("seed {seed}: converged {took:?} after the faults stopped");
        assert_eq!(delivered(&mut world, 500), 500, "of 500 messages, seed {seed}");
    }
}

#[test]
fn a_partition_makes_two_rings_and_its_healing_one() {
    for seed in 200..205 {
        let mut world = ring_of(40, 16, seed);
        run_for(&mut world, 10 * S);
        for at in 0..40 {
            world.nodes[at].group = at as u8 % 2;
        }
        world.run_for(30 * S);
        for group in 0..2 {
            let half = world.nodes.iter().filter(|node| node.is_running() && node.group == group);
            let half: Vec<&Proto> = half.map(|node| &node.proto).collect();
            assert!(invariant::ideal(&half), "no ring of its own in half {group}\n{}", world.describe());
        }
        world.nodes.iter_mut().for_each(|node| node.group = 0);
        let took = world.run_until(120 * S, 40, |world| world.is_ideal());
        let took = took.unwrap_or_else(|| panic!("not merged\n{}", world.describe()));
        println!("seed {seed}: merged after {took:?}");
    }
}

#[test]
fn the_ring_works_without_the_signalling_server() {
    let mut world = ring_of(30, 16, 41);
    world.server_up = false;
    run_for(&mut world, 10 * S);
    for _ in 0..8 {
        let victim = world.random_node().unwrap();
        world.kill(victim);
    }
    await_that(&mut world, "healed", 30 * S, World::is_ideal);
    let (a, b) = unlinked_pair(&world);
    let peer = id(&world, b);
    world.input(a, Input::WantDirect(peer));
    await_that(&mut world, "a new link through the ring", 5 * S, |world| links(world, a, b) > 0);
    world.server_up = true;
    world.start(3, &Config::with_links(16));
    await_that(&mut world, "newcomers in the same ring", 30 * S, World::is_ideal);
}

#[test]
fn two_nodes_that_dial_each_other_at_once_get_one_link() {
    let mut world = roomy_ring_of(30, 91);
    run_for(&mut world, 10 * S);
    for _ in 0..10 {
        let (a, b) = unlinked_pair(&world);
        let (id_a, id_b) = (id(&world, a), id(&world, b));
        world.input(a, Input::WantDirect(id_b));
        world.input(b, Input::WantDirect(id_a));
        let linked = |world: &World| links(world, a, b) == 1 && links(world, b, a) == 1;
        let took = await_that(&mut world, "linked", 5 * S, linked);
        assert!(took < S, "neither attempt waited for a time limit: {took:?}");
        run_for(&mut world, S);
        assert!(linked(&world), "the one link stays\n{}", world.describe());
    }
}

#[test]
fn a_direct_link_that_is_released_closes_at_both_ends() {
    let mut world = roomy_ring_of(60, 95);
    run_for(&mut world, 30 * S);
    let (a, b) = unlinked_pair(&world);
    let id_b = id(&world, b);
    world.input(a, Input::WantDirect(id_b));
    await_that(&mut world, "linked", 5 * S, |world| links(world, a, b) == 1 && links(world, b, a) == 1);
    world.input(a, Input::ReleaseDirect(id_b));
    await_that(&mut world, "released", S, |world| links(world, a, b) == 0 && links(world, b, a) == 0);
    world.input(a, Input::Trace { token: Token(1), peer: id_b });
    run_for(&mut world, S);
    let answer = answer(&world, 1);
    assert!(matches!(answer, Some(Answer::Trace(Ok(hops))) if hops.len() > 1), "over the ring again: {answer:?}");
}

/// The links from one to the other.
fn links(world: &World, from: usize, to: usize) -> usize {
    let to = id(world, to);
    world.nodes[from].proto.peers().filter(|peer| peer.id == to).count()
}

/// A ring whose nodes choose few fingers, and so have places free.
fn roomy_ring_of(count: usize, seed: u64) -> World {
    let mut config = Config::with_links(16);
    config.fingers = 2;
    let mut world = world(seed);
    world.start(count, &config);
    await_that(&mut world, "one ideal ring", 60 * S, World::is_ideal);
    world
}

/// Two nodes without a link that have places free, also for what their neighbours want of them meanwhile.
fn unlinked_pair(world: &World) -> (usize, usize) {
    let has_room = |at: usize| world.nodes[at].proto.links_in_use() + 3 < world.nodes[at].proto.config().max_links;
    let mut pairs = world.running().flat_map(|a| world.running().map(move |b| (a, b)));
    let fits = |&(a, b): &(usize, usize)| a != b && links(world, a, b) == 0 && has_room(a) && has_room(b);
    pairs.find(fits).expect("not all are linked to all")
}

#[test]
fn a_leaf_reaches_everyone_and_is_answered_through_its_neighbour() {
    let mut world = ring_of(30, 16, 51);
    let mut config = Config::with_links(8);
    config.role = Role::Leaf;
    let leaf = world.add(Id::new(0xabc), config);
    await_that(&mut world, "attached", 10 * S, |world| world.nodes[leaf].proto.phase() == Phase::Attached);
    run_for(&mut world, S);
    for at in 0..30 {
        let peer = id(&world, at);
        world.input(leaf, Input::Trace { token: Token(at as u64), peer });
    }
    run_for(&mut world, 2 * S);
    for at in 0..30 {
        let answer = answer(&world, at);
        assert!(matches!(answer, Some(Answer::Trace(Ok(hops))) if !hops.is_empty()), "trace {at}: {answer:?}");
    }
    assert!(world.is_ideal(), "the leaf owns no arc");
}

#[test]
fn a_row_of_the_finger_table_is_refreshed_on_demand() {
    // So many places that nobody refuses.
    let mut world = ring_of(60, 64, 61);
    world.input(0, Input::UpdateFinger { token: Token(1), row: 47 });
    world.input(0, Input::UpdateFinger { token: Token(2), row: 0 });
    run_for(&mut world, 3 * S);
    let me = id(&world, 0);
    match answer(&world, 1) {
        Some(Answer::Finger(Ok(peer))) => {
            assert_eq!(me.row_of(*peer), Some(47));
            assert!(world.nodes[0].proto.fingers().iter().any(|finger| finger.peer == *peer), "it is linked");
        }
        other => panic!("row 47 gave {other:?}"),
    }
    assert_eq!(answer(&world, 2), Some(&Answer::Finger(Err(LookupError::EmptyRow))));
}

#[test]
fn two_runs_with_one_seed_are_the_same() {
    let run = || {
        let mut world = ring_of(30, 16, 71);
        run_for(&mut world, 20 * S);
        (world.trace_hash(), world.counts(), world.describe())
    };
    assert_eq!(run(), run());
}

#[test]
fn messages_find_their_way_before_the_ring_is_repaired() {
    let mut world = ring_of(300, 16, 81);
    run_for(&mut world, 60 * S);
    for _ in 0..90 {
        let victim = world.random_node().unwrap();
        world.kill(victim);
    }
    // The links are known to be dead, nothing is repaired yet: the last second before the heartbeats would.
    for at in world.running().collect::<Vec<_>>() {
        let dead = |peer: Id| world.find(peer).is_none_or(|peer| !world.nodes[peer].is_running());
        let dead: Vec<_> = world.nodes[at].proto.peers().filter(|peer| dead(peer.id)).map(|peer| peer.link).collect();
        for link in dead {
            let now = world.now();
            world.nodes[at].proto.handle(Input::LinkDown { link }, now);
        }
    }
    let arrived = delivered(&mut world, 2000);
    println!("{arrived} of 2,000 arrived");
    assert!(arrived >= 1990, "only {arrived} of 2,000 arrived");
}

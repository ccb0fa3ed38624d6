//! The engine itself: that a run follows from its seed, and that faults are what they are called.

use std::time::Duration;

use atoll::proto::Config;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ring(seed: u64, count: usize, network: Network) -> World {
    let mut world = World::new(seed, network);
    world.audit = true;
    world.start(count, &Config::with_links(16));
    let took = world.run_until(60 * SECOND, count, |world| world.is_ideal());
    assert!(took.is_some(), "no ring:\n{}", world.describe());
    world
}

#[test]
fn the_same_seed_is_the_same_run() {
    for latency in [Latency::Constant(SECOND / 20), Latency::Uniform(SECOND / 100, SECOND / 20), Latency::King] {
        let faults = Network { loss: 0.01, failing_links: 0.05, slow_nodes: 0.1, ..Network::default() };
        let network = Network { latency, ..faults };
        let run = |seed| {
            let mut world = ring(seed, 40, network.clone());
            world.run_for(5 * SECOND);
            (world.trace_hash(), world.counts(), world.now())
        };
        assert_eq!(run(1), run(1), "{latency:?}");
        assert_ne!(run(1).0, run(2).0, "{latency:?}");
    }
}

#[test]
fn killed_nodes_are_healed_around_by_heartbeats_and_sooner_when_the_links_notice() {
    let heal = |links_notice| {
        let mut world = ring(3, 40, Network { links_notice, ..Network::default() });
        for at in (0..40).step_by(5) {
            world.kill(at);
        }
        world.run_until(60 * SECOND, 40, |world| world.is_ideal()).expect("it heals")
    };
    let (by_heartbeat, at_once) = (heal(None), heal(Some(SECOND / 10)));
    assert!(at_once < by_heartbeat, "{at_once:?} and {by_heartbeat:?}");
}

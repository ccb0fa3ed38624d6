//! A random scenario from a seed: mostly small rings, where everything is near everything, and mostly several faults at once.

use atoll::id::Id;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::scenario::{Fault, Scenario, Travel, Weather};

/// Told apart from the world's own generator, which has the same seed.
const STREAM: u64 = 0x5ce_a210;

/// One scenario in so many has a larger ring.
const SELDOM: u32 = 25;

impl Scenario {
    /// The scenario of a seed.
    pub fn random(seed: u64) -> Self {
        let rng = &mut Pcg32::seed_from_u64(seed ^ STREAM);
        let size = if rng.random_ratio(1, SELDOM) { 5.5..7.0 } else { 0.0..5.3 };
        let faults_for = rng.random_range(5_000..40_000);
        let weather = weather(rng);
        let count = rng.random_range(1..=20);
        // Half of the scenarios leave a kind of fault out altogether: what needs its absence is not drowned.
        let disturbed = rng.random_bool(0.5);
        Scenario {
            seed,
            nodes: libm::exp2(rng.random_range(size)) as usize,
            start_over: if rng.random() { 0 } else { rng.random_range(100..10_000) },
            // With fewer, rings may not merge in time: see `sim/scenarios/known/`.
            links: *[8, 12, 16, 16, 64].choose(rng).expect("there are some"),
            successors: *[2, 3, 4, 8, 8, 8].choose(rng).expect("there are some"),
            faults_for,
            network: if disturbed { weather } else { Weather { loss: 0.0, failing_links: 0.0, ..weather } },
            faults: (0..count).map(|_| fault(rng, faults_for, disturbed)).collect(),
        }
    }
}

fn weather(rng: &mut Pcg32) -> Weather {
    let fast = rng.random_range(1..20);
    Weather {
        latency: match rng.random_range(0..4) {
            0 => Travel::Constant(fast),
            1 => Travel::King,
            _ => Travel::Uniform(fast, fast + rng.random_range(1..80)),
        },
        loss: *[0.0, 0.0, 0.005, 0.02].choose(rng).expect("there are some"),
        link_setup: rng.random_range(1..300),
        failing_links: *[0.0, 0.0, 0.05, 0.2].choose(rng).expect("there are some"),
        links_notice: if rng.random() { None } else { Some(rng.random_range(10..1000)) },
        slowness: rng.random_range(50..250),
    }
}

fn fault(rng: &mut Pcg32, until: u64, disturbed: bool) -> Fault {
    let at = rng.random_range(0..until);
    let lasts = rng.random_range(100..20_000.min(until));
    let node = Id::random(rng);
    let salt = rng.random();
    match rng.random_range(0..if disturbed { 20 } else { 16 }) {
        0..4 => Fault::Join { at, id: node },
        4..7 => Fault::Kill { at, node, count: rng.random_range(1..6) },
        7..9 => Fault::Leave { at, node },
        9 => Fault::ServerDown { at, lasts },
        10..12 => Fault::Lookups { at, count: rng.random_range(1..30), salt },
        12..14 => Fault::Messages { at, count: rng.random_range(1..20), salt },
        14..16 => Fault::Writes { at, count: rng.random_range(1..12), salt },
        16..18 => Fault::Partition { at, lasts, share: rng.random_range(0.1..0.5), salt },
        18 => Fault::Loss { at, lasts: lasts.min(5000), share: rng.random_range(0.01..0.3) },
        _ => Fault::Slow { at, lasts, node },
    }
}

//! What the nodes of a growing ring with relaxed periods say, by the kind of their frames.
//!
//! `cargo run --release -p atoll-sim --example kinds -- [nodes] [links]`

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll::proto::Config;
use atoll::wire::{Message, Step};
use sim::engine::{Fate, Network, World};
use sim::settings::groups::relax;

/// The ring doubles in so many seconds, and then has so many to settle.
const DOUBLING: f64 = 10.0;
const SETTLE: Duration = Duration::from_secs(60);

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (nodes, links) = (arguments.next().unwrap_or(10_000), arguments.next().unwrap_or(16));
    let mut config = Config::with_links(links);
    relax(&mut config);
    let kinds: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::default();
    let counted = Arc::clone(&kinds);
    let mut world = World::new(1, Network::default());
    world.sabotage = Some(Box::new(move |_, frame| {
        let name = match &frame.message {
            Message::Ping | Message::Pong => "ping",
            Message::Neighbours(_) => "neighbours",
            Message::AskRing => "ask ring",
            Message::Ring(_) => "ring",
            Message::Leave(_) | Message::Close => "close",
            Message::Find(_) => "find",
            Message::Found(_) => "found",
            Message::Dial(dial) => match dial.step {
                Step::Request { .. } => "dial: request",
                Step::Refuse { .. } => "dial: refuse",
                Step::Describe(_) => "dial: describe",
                Step::Seek { .. } => "dial: seek",
            },
            _ => "other",
        };
        *counted.lock().expect("one thread").entry(name).or_default() += 1;
        Fate::Goes
    }));
    let mut start = world.now();
    let config = Arc::new(config);
    for count in 0..nodes {
        if count > 0 {
            start = start.after(Duration::from_secs_f64(DOUBLING / std::f64::consts::LN_2 / count as f64));
            while world.step_until(start) {}
        }
        let id = atoll::Id::random(world.rng());
        world.add(id, Arc::clone(&config));
    }
    let show = |what: &str, world: &World| {
        let counts = world.counts();
        let per = |count: u64| count as f64 / nodes as f64;
        println!(
            "{what}: {:.1} events a node, {:.1} frames, {:.1} signals, {:.1} links",
            per(counts.events),
            per(counts.frames),
            per(counts.signals),
            per(counts.links)
        );
        for (name, count) in kinds.lock().expect("one thread").iter() {
            println!("    {name}: {:.2}", per(*count));
        }
    };
    show("grown", &world);
    world.run_for(SETTLE);
    show("settled", &world);
    let dials: u64 = world.nodes.iter().map(|node| node.proto.stats().dials).sum();
    let failed: u64 = world.nodes.iter().map(|node| node.proto.stats().dials_failed).sum();
    println!("dials {:.2}, failed {:.2} a node", dials as f64 / nodes as f64, failed as f64 / nodes as f64);
}

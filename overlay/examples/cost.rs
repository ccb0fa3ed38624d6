//! What one node of the protocol costs: bytes of tables, and time for each kind of input, with warm and with cold caches.
//!
//! `cargo run --release -p atoll-overlay --no-default-features --features harness --example cost -- [nodes] [links]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use atoll::proto::harness::World;
use atoll::proto::{Config, Input, Proto, Time};
use atoll::wire::{Flags, Frame, Header, Message, Neighbours, RingView, kind};
use atoll::{Id, proto::LinkId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

/// Copies of the ring that together do not fit into any cache.
const COPIES: usize = 100;

/// Inputs for each figure.
const INPUTS: usize = 200_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (count, links) = (arguments.next().unwrap_or(1000), arguments.next().unwrap_or(16));
    let began = Instant::now();
    let mut world = World::new(1);
    world.check = false;
    world.start(count, &Config::with_links(links));
    world.await_that("one ideal ring", Duration::from_secs(120), World::is_ideal);
    world.run_for(Duration::from_secs(60));
    println!("{count} nodes, at most {links} links; {} steps in {:.1?}", world.steps, began.elapsed());

    let nodes: Vec<Proto> = world.nodes.drain(..).map(|node| node.proto).collect();
    let bytes: Vec<usize> = nodes.iter().map(Proto::memory).collect();
    let used: usize = nodes.iter().map(Proto::links_in_use).sum();
    println!("size_of::<Proto>() {} bytes, links in use {:.1}", size_of::<Proto>(), used as f64 / count as f64);
    println!("in all {} bytes a node, at most {}", bytes.iter().sum::<usize>() / count, bytes.iter().max().unwrap());

    let now = world.now;
    time_all("warm", nodes[..count.min(8)].to_vec(), now);
    let resident = resident_bytes();
    let cold: Vec<Proto> = (0..COPIES).flat_map(|_| nodes.iter().cloned()).collect();
    println!("resident: {} bytes for each further node", (resident_bytes() - resident) / cold.len());
    time_all("cold", cold, now);
}

fn time_all(caches: &str, mut nodes: Vec<Proto>, now: Time) {
    let mut rng = Pcg32::seed_from_u64(7);
    let mut route = |rng: &mut Pcg32, flags: Flags| {
        let headers: Vec<Header> = (0..INPUTS)
            .map(|_| Header { flags, ..Header::new(kind::DATAGRAM, Id::random(rng), Id::random(rng)) })
            .collect();
        let chosen: Vec<usize> = (0..INPUTS).map(|_| rng.random_range(0..nodes.len())).collect();
        let began = Instant::now();
        for (mut header, at) in headers.into_iter().zip(chosen) {
            black_box(nodes[at].route(&mut header, None, now));
        }
        began.elapsed()
    };
    print(caches, "route to a key", route(&mut rng, Flags::KEY));
    print(caches, "route to a node", route(&mut rng, Flags::default()));
    let mut time = |what: &str, message: &dyn Fn(&Proto, Id, &mut Pcg32) -> (Header, Message)| {
        let inputs: Vec<(usize, Input)> = (0..INPUTS)
            .map(|_| {
                let at = rng.random_range(0..nodes.len());
                let (link, peer) = some_link(&nodes[at], &mut rng);
                let (header, message) = message(&nodes[at], peer, &mut rng);
                (at, Input::Frame { link, frame: Frame { header, message } })
            })
            .collect();
        let began = Instant::now();
        for (at, input) in inputs {
            nodes[at].handle(input, now);
            black_box(nodes[at].poll_timeout());
            while let Some(output) = nodes[at].poll_output() {
                black_box(output);
            }
        }
        print(caches, what, began.elapsed());
    };
    time("handle a forwarded lookup", &|_, _, rng| {
        let header = Header { flags: Flags::KEY, ..Header::new(kind::FIND, Id::random(rng), Id::random(rng)) };
        (header, Message::Find(1))
    });
    time("handle a pong", &|node, peer, _| (Header::new(kind::PONG, peer, node.id()), Message::Pong));
    time("handle an unchanged ring", &|node, peer, _| {
        let view = RingView { member: true, predecessors: vec![], successors: vec![peer.plus(1)] };
        (Header::new(kind::RING, peer, node.id()), Message::Ring(view))
    });
    time("handle a new list of neighbours", &|node, peer, rng| {
        let ids = (0..15).map(|_| Id::random(rng)).collect();
        (Header::new(kind::NEIGHBOURS, peer, node.id()), Message::Neighbours(Neighbours { member: true, ids }))
    });
}

fn some_link(node: &Proto, rng: &mut Pcg32) -> (LinkId, Id) {
    let peers: Vec<_> = node.peers().collect();
    let peer = &peers[rng.random_range(0..peers.len())];
    (peer.link, peer.id)
}

fn print(caches: &str, what: &str, took: Duration) {
    println!("{caches} {what}: {:.0} ns", took.as_nanos() as f64 / INPUTS as f64);
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

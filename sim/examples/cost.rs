//! What one node of the protocol costs: bytes of tables, and time for each kind of input, with warm and with cold caches.
//!
//! `cargo run --release -p atoll-sim --example cost -- [nodes] [links]`

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use atoll::proto::{Config, Input, Proto, Time};
use atoll::wire::{Flags, Frame, Header, Message, Neighbours, RingView, kind};
use atoll::{Id, proto::LinkId};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use sim::engine::{Network, World};

/// Copies of the ring that together do not fit into any cache.
const COPIES: usize = 100;

/// Inputs in a round, far fewer than there are copies.
const INPUTS: usize = 10_000;

/// Rounds for each figure.
const ROUNDS: usize = 30;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let (count, links) = (arguments.next().unwrap_or(1000), arguments.next().unwrap_or(16));
    let began = Instant::now();
    let mut world = World::new(1, Network::default());
    world.start(count, &Config::with_links(links));
    let ideal = world.run_until(Duration::from_secs(120), count, |world| world.is_ideal());
    assert!(ideal.is_some(), "no ideal ring within two minutes of virtual time");
    world.run_for(Duration::from_secs(60));
    println!("{count} nodes, at most {links} links; {} events in {:.1?}", world.counts().events, began.elapsed());

    let now = world.now();
    let mut nodes: Vec<Proto> = world.nodes.drain(..).map(|node| node.proto).collect();
    // The simulator lends one queue to all nodes.
    nodes.iter_mut().for_each(|node| node.swap_outputs(&mut Default::default()));
    let bytes: Vec<usize> = nodes.iter().map(Proto::memory).collect();
    let used: usize = nodes.iter().map(Proto::links_in_use).sum();
    println!("size_of::<Proto>() {} bytes, links in use {:.1}", size_of::<Proto>(), used as f64 / count as f64);
    println!(
        "in all {} bytes a node, at most {}",
        bytes.iter().sum::<usize>() / count,
        bytes.iter().max().expect("at least one node")
    );

    time_all("warm", nodes[..count.min(8)].to_vec(), now);
    let resident = resident_bytes();
    let cold: Vec<Proto> = (0..COPIES).flat_map(|_| nodes.iter().cloned()).collect();
    println!("resident: {} bytes for each further node", (resident_bytes() - resident) / cold.len());
    time_all("cold", cold, now);
}

fn time_all(caches: &str, mut nodes: Vec<Proto>, now: Time) {
    let mut rng = Pcg32::seed_from_u64(7);
    for (what, flags) in [("route to a key", Flags::KEY), ("route to a node", Flags::default())] {
        fastest(caches, what, || {
            let header =
                |rng: &mut Pcg32| Header { flags, ..Header::new(kind::DATAGRAM, Id::random(rng), Id::random(rng)) };
            let headers: Vec<(usize, Header)> =
                (0..INPUTS).map(|_| (rng.random_range(0..nodes.len()), header(&mut rng))).collect();
            let began = Instant::now();
            for (at, mut header) in headers {
                black_box(nodes[at].route(&mut header, None, now));
            }
            began.elapsed()
        });
    }
    let mut outputs = VecDeque::new();
    let mut handle = |what: &str, message: &dyn Fn(&Proto, Id, &mut Pcg32) -> (Header, Message)| {
        fastest(caches, what, || {
            let mut input = || {
                let at = rng.random_range(0..nodes.len());
                let (link, peer) = some_link(&nodes[at], &mut rng);
                let (header, message) = message(&nodes[at], peer, &mut rng);
                (at, Input::Frame { link, frame: Frame { header, message } })
            };
            let inputs: Vec<(usize, Input)> = (0..INPUTS).map(|_| input()).collect();
            let began = Instant::now();
            for (at, input) in inputs {
                let node = &mut nodes[at];
                node.swap_outputs(&mut outputs);
                node.handle(input, now);
                node.swap_outputs(&mut outputs);
                black_box(node.poll_timeout());
                outputs.drain(..).for_each(|output| _ = black_box(output));
            }
            began.elapsed()
        });
    };
    handle("handle a forwarded lookup", &|_, _, rng| {
        let header = Header { flags: Flags::KEY, ..Header::new(kind::FIND, Id::random(rng), Id::random(rng)) };
        (header, Message::Find(1))
    });
    handle("handle a pong", &|node, peer, _| (Header::new(kind::PONG, peer, node.id()), Message::Pong));
    handle("handle a ring that is not news", &|node, peer, _| {
        let view = RingView {
            member: true,
            predecessors: [].into_iter().collect(),
            successors: [peer.plus(1)].into_iter().collect(),
        };
        (Header::new(kind::RING, peer, node.id()), Message::Ring(view.into()))
    });
    handle("handle a list of other neighbours", &|node, peer, rng| {
        let ids = (0..15).map(|_| Id::random(rng)).collect();
        (Header::new(kind::NEIGHBOURS, peer, node.id()), Message::Neighbours(Neighbours { member: true, room: 0, ids }))
    });
}

/// Prints the time an input of the fastest of several rounds: what other programs on the machine disturb least.
fn fastest(caches: &str, what: &str, mut round: impl FnMut() -> Duration) {
    let fastest = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    println!("{caches}: {what}: {:.0} ns", fastest.as_nanos() as f64 / INPUTS as f64);
}

fn some_link(node: &Proto, rng: &mut Pcg32) -> (LinkId, Id) {
    let peers: Vec<_> = node.peers().collect();
    let peer = &peers[rng.random_range(0..peers.len())];
    (peer.link, peer.id)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

//! Packets that random nodes send to random nodes: one way, as those of sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::Time;
use bytes::Bytes;
use rand::RngExt;

use super::Run;
use super::ring::pass;
use super::samples::Samples;
use crate::engine::{Happening, TICK, World};

/// Virtual time between two looks at what has arrived.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of many packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Packets {
    pub(super) sent: usize,
    /// Those that came to the node that they were for.
    pub(super) arrived: usize,
    /// Virtual seconds that these took.
    pub(super) seconds: Samples,
    /// Those that came back as for an id that nobody holds, and those for which no way was left.
    pub(super) nobody: usize,
    pub(super) no_way: usize,
}

impl Packets {
    /// The share that arrived; `None` without packets.
    pub(super) fn delivered(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.arrived as f64 / self.sent as f64)
    }

    pub(super) fn append(&mut self, other: Packets) {
        self.sent += other.sent;
        self.arrived += other.arrived;
        self.seconds.append(other.seconds);
        self.nobody += other.nobody;
        self.no_way += other.no_way;
    }

    /// What became of those that did not arrive.
    pub(super) fn missing(&self) -> String {
        let silent = (self.sent - self.arrived).saturating_sub(self.nobody + self.no_way);
        format!("{} found nobody, {} no way, {silent} were lost without a word", self.nobody, self.no_way)
    }
}

/// Sends packets between nodes that run, all at one time, and waits for them. `patience`: for how long at most.
pub(super) fn send(world: &mut World, run: &Run, count: usize, patience: Duration) -> Packets {
    let mut packets = Packets::default();
    let running: Vec<usize> = world.running().collect();
    if running.len() < 2 {
        return packets;
    }
    world.watch.answers = true;
    world.happened.clear();
    let began = world.now();
    let mut receivers = Vec::with_capacity(count);
    let mut pairs = BTreeSet::new();
    for number in 0..count as u64 {
        let from = world.rng().random_range(0..running.len());
        let to = (from + world.rng().random_range(1..running.len())) % running.len();
        receivers.push(running[to]);
        let id = world.nodes[running[to]].proto.id();
        pairs.insert((running[from], id));
        world.send(running[from], id, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    packets.sent = count;
    run.progress.did(count as u64, 0);
    let end = began.after(patience);
    loop {
        packets.take(world, &mut receivers, &pairs, began);
        if packets.arrived == count || world.now().after(TICK) >= end || run.progress.is_stopped() {
            break;
        }
        pass(world, run, PAUSE);
    }
    world.watch.answers = false;
    packets
}

/// The receiver of a packet that has arrived already.
const NOBODY: usize = usize::MAX;

impl Packets {
    fn take(&mut self, world: &mut World, receivers: &mut [usize], pairs: &BTreeSet<(usize, Id)>, began: Time) {
        for (at, happening) in world.happened.drain(..) {
            let (node, packet) = match happening {
                Happening::Packet { node, packet, .. } => (node, packet),
                // The ring's own frames are told of, too.
                Happening::Unreachable { node, peer, nobody } if pairs.contains(&(node, peer)) => {
                    *if nobody { &mut self.nobody } else { &mut self.no_way } += 1;
                    continue;
                }
                _ => continue,
            };
            let Ok(number) = packet.as_ref().try_into().map(u64::from_be_bytes) else { continue };
            let Some(receiver) = receivers.get_mut(number as usize).filter(|receiver| **receiver == node) else {
                continue;
            };
            *receiver = NOBODY;
            self.arrived += 1;
            self.seconds.push(at.since(began).as_secs_f64());
        }
    }
}

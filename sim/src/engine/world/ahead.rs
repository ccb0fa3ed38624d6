//! Tells the caches of what events that come soon will need: see [`Proto::prefetch`](atoll::proto::Proto::prefetch).

use std::slice::from_ref;

use atoll::wire::kind;
use prefetch_index::prefetch_index;

use super::World;
use crate::engine::event::{Event, What};

/// Events that the caches are told of together: what the misses of one wait for, translations of addresses above all, the others'
/// wait for at the same time.
const BATCH: usize = 16;

/// How many events ahead the caches are told of the event itself.
const OF_EVENT: usize = 64;

/// Of its frame.
const OF_FRAME: usize = 48;

/// Of its node.
const OF_NODE: usize = 32;

/// Of that one's tables.
const OF_TABLES: usize = 16;

impl World {
    /// Has the caches fetch what events that come soon will need. Call this before each event.
    pub(super) fn look_ahead_in_batches(&mut self) {
        if self.until_look_ahead == 0 {
            self.until_look_ahead = BATCH;
            self.look_ahead();
        }
        self.until_look_ahead -= 1;
    }

    fn look_ahead(&self) {
        let batch = |distance: usize| self.wheel.ahead(distance).take(BATCH);
        for event in batch(OF_EVENT) {
            prefetch_index(from_ref(event), 0);
        }
        for event in batch(OF_FRAME) {
            if let What::Frame { frame, .. } = event.what {
                self.frames.prefetch(frame);
            }
        }
        for event in batch(OF_NODE) {
            let node = &self.nodes[event.node as usize];
            prefetch_index(from_ref(&node.alive), 0);
            prefetch_index(from_ref(&node.place), 0);
            prefetch_index(from_ref(&node.wires), 0);
            node.proto.prefetch();
            if !matches!(event.what, What::Frame { kind: kind::FIRST_ROUTED.., .. }) {
                prefetch_index(from_ref(&node.wake), 0);
                node.proto.prefetch_more();
            }
        }
        for Event { node, what } in batch(OF_TABLES) {
            let node = &self.nodes[*node as usize];
            let What::Frame { kind, link, frame, .. } = what else {
                node.wires.prefetch_all();
                node.proto.prefetch_for_timeout();
                continue;
            };
            node.proto.prefetch_for_frame(*kind, self.frames.target(*frame));
            self.frames.prefetch_body(*frame);
            match *kind {
                kind::FIRST_ROUTED.. => node.wires.prefetch_all(),
                // Most of these are not answered.
                kind::NEIGHBOURS | kind::RING => {}
                _ => node.wires.prefetch(*link),
            }
        }
    }
}

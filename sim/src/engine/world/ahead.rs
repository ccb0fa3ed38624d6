//! Tells the caches of what events that come soon will need: see [`Proto::prefetch`](atoll::proto::Proto::prefetch).

use std::slice::from_ref;

use atoll::wire::kind;
use prefetch_index::prefetch_index;

use super::World;
use crate::engine::event::{Event, What};

/// How many events ahead the caches are told of the event itself.
const OF_EVENT: usize = 64;

/// Of its frame.
const OF_FRAME: usize = 40;

/// Of its node.
const OF_NODE: usize = 24;

/// Of that one's tables.
const OF_TABLES: usize = 12;

/// Of where in them the way of a frame goes on.
const OF_WAY: usize = 5;

impl World {
    /// Has the caches fetch what events that come soon will need.
    pub(super) fn look_ahead(&self) {
        if let Some(event) = self.wheel.ahead(OF_EVENT) {
            prefetch_index(from_ref(event), 0);
        }
        if let Some(Event { what: What::Frame { frame, .. }, .. }) = self.wheel.ahead(OF_FRAME) {
            self.frames.prefetch(*frame);
        }
        if let Some(event) = self.wheel.ahead(OF_NODE) {
            let node = &self.nodes[event.node as usize];
            prefetch_index(from_ref(&node.alive), 0);
            prefetch_index(from_ref(&node.place), 0);
            prefetch_index(from_ref(&node.wires), 0);
            prefetch_index(from_ref(&node.wake), 0);
            node.proto.prefetch();
        }
        if let Some(Event { node, what }) = self.wheel.ahead(OF_TABLES) {
            let node = &self.nodes[*node as usize];
            if let What::Frame { kind, link, frame, .. } = what {
                node.wires.prefetch(*link);
                node.proto.prefetch_for_frame(*link, *kind);
                self.frames.prefetch_body(*frame);
            } else {
                node.wires.prefetch_all();
                node.proto.prefetch_for_timeout();
            }
        }
        if let Some(Event { node, what: What::Frame { kind: kind::FIRST_ROUTED.., frame, .. } }) =
            self.wheel.ahead(OF_WAY)
        {
            let node = &self.nodes[*node as usize];
            node.wires.prefetch_all();
            node.proto.prefetch_way(self.frames.target(*frame));
        }
    }
}

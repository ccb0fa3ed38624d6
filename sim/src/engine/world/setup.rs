//! How links come and go: steps of dials by the signalling server, what the two ends tell each other, and the end of a link.

use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Input, LinkId};
use atoll::wire::{Dial, Role};
use rand::RngExt;

use super::World;
use crate::engine::event::{Event, FromServer, SaidAt, What};
use crate::engine::server::Introduction;
use crate::engine::wires::Wire;

impl World {
    /// Has the signalling server relay a step of a dial.
    pub(super) fn signal(&mut self, at: usize, to: Id, dial: Dial) {
        if !self.server_up || self.nodes[at].group != 0 {
            return;
        }
        self.counts.signals += 1;
        let there = self.latency_to_server(at);
        let Some(peer) = self.find(to).filter(|&peer| self.nodes[peer].is_running()) else {
            return self.says(there * 2, at, FromServer::NotDelivered { to });
        };
        if self.nodes[peer].group != 0 || self.loses() {
            self.counts.lost += 1;
            return;
        }
        let from = self.nodes[at].proto.id();
        let back = self.latency_to_server(peer);
        self.says(there + back, peer, FromServer::Signal { from, dial });
    }

    /// The signalling server names members, or appoints the founder.
    pub(super) fn introduce(&mut self, at: usize) {
        if !self.server_up || self.nodes[at].group != 0 {
            return;
        }
        self.counts.signals += 1;
        let may_found = self.nodes[at].proto.config().role == Role::Member;
        let nodes = &self.nodes;
        let reachable = |node: u32| nodes[node as usize].is_running() && nodes[node as usize].group == 0;
        let introduction =
            self.server.introduce(at as u32, self.nodes[at].proto.id(), may_found, reachable, &mut self.rng);
        let members = match &introduction {
            Introduction::Members(members) => members.iter().map(|&at| self.nodes[at as usize].proto.id()).collect(),
            _ => Vec::new(),
        };
        let found = matches!(introduction, Introduction::Found);
        let wait = self.latency_to_server(at);
        self.says(wait, at, FromServer::Members { found, members });
    }

    /// What the signalling server says comes to a node after a while.
    fn says(&mut self, after: Duration, to: usize, what: FromServer) {
        let said = SaidAt(self.said.insert(what) as u32);
        self.later(after, to, What::FromServer(said));
    }

    /// One end of a link being set up describes itself: by its node and by the number that the node gave the link.
    pub(super) fn describe_end(&mut self, at: usize, link: LinkId, kind: char) {
        let description = format!("{kind} {at} {}", link.0);
        self.feed(at, Input::Describe { link, description });
    }

    /// An offer or an answer has arrived; with the answer both ends open.
    pub(super) fn described(&mut self, at: usize, link: LinkId, description: &str) {
        let mut words = description.split(' ');
        let kind = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
        let (Some(peer), Some(peer_link)) = (number(), number().map(LinkId)) else { return };
        if kind == Some("o") {
            return self.describe_end(at, link, 'a');
        }
        let other = peer as usize;
        if !self.nodes[other].alive || !self.reachable(at, other) {
            return;
        }
        let setup = self.network.link_setup;
        // The other end may have given up since it described itself.
        if !self.nodes[other].proto.holds(peer_link) {
            return self.later(setup, at, What::LinkDown { link });
        }
        if self.network.failing_links > 0.0 && self.rng.random_bool(self.network.failing_links) {
            self.later(setup, at, What::LinkDown { link });
            return self.later(setup, other, What::LinkDown { link: peer_link });
        }
        self.nodes[at].wires.insert(Wire::new(link, other, peer_link));
        self.nodes[other].wires.insert(Wire::new(peer_link, at, link));
        self.later(setup, at, What::LinkUp { link });
        self.later(setup, other, What::LinkUp { link: peer_link });
    }

    /// The set-up of a link has ended well.
    pub(super) fn open(&mut self, at: usize, link: LinkId) {
        let wire = self.nodes[at].wires.get_mut(link).map(|wire| *wire);
        if let Some(wire) = wire {
            self.counts.links += 1;
            let role = self.nodes[wire.peer()].proto.config().role;
            self.input(at, Input::LinkUp { link, role });
        }
    }

    /// A node closes its end: the other hears of it after all that was sent before.
    pub(super) fn close(&mut self, at: usize, link: LinkId) {
        let Some(wire) = self.nodes[at].wires.remove(link) else { return };
        let peer = wire.peer();
        if self.reachable(at, peer) {
            let high = self.tick_after(self.network.latency.high() + self.network.slowness);
            let usual = match self.network.latency.varies() {
                true => high,
                false => {
                    let latency = self.latency(at, peer);
                    self.tick_after(latency)
                }
            };
            let arrival = usual.max(wire.last_arrival);
            self.wheel.push(arrival, Event { node: peer as u32, what: What::LinkDown { link: wire.peer_link } });
        }
    }
}

//! One state of the model: a few real nodes, the links between them with the frames on their way, and what may still go wrong.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use atoll::id::Id;
use atoll::proto::untimed::{Dialling, Names, hash_frame, number_in};
use atoll::proto::{LinkId, Phase, Proto};
use atoll::wire::Frame;

/// One state of the model.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    /// In the order in which they came up.
    pub(super) wires: Vec<Arc<Wire>>,
    /// Whom the signalling server has told to found the ring.
    pub(super) founder: Option<usize>,
    pub(super) left: Budget,
    /// The nodes went on talking without end.
    pub(super) restless: bool,
}

/// What may still happen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Budget {
    pub(super) fails: u8,
    pub(super) breaks: u8,
    pub(super) checks: u8,
    /// `None`: as many as they like.
    pub(super) stabilizations: Option<u8>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node {
    /// Has not started yet.
    Waiting,
    /// Runs. Shared between states, until it changes.
    Alive {
        proto: Arc<Proto>,
        /// It waits for the signalling server to name a member.
        asking: bool,
    },
    /// Crashed.
    Dead,
}

impl Node {
    pub(super) fn proto(&self) -> Option<&Proto> {
        match self {
            Node::Alive { proto, .. } => Some(proto),
            Node::Waiting | Node::Dead => None,
        }
    }

    pub(super) fn is_member(&self) -> bool {
        self.proto().is_some_and(|proto| proto.phase() == Phase::Member)
    }
}

/// A connection between two nodes, reliable and ordered.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Wire {
    /// The node with the smaller index first.
    pub(super) ends: [End; 2],
    /// It failed, though both nodes live.
    pub(super) broken: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) link: LinkId,
    /// The node has been told that it is open.
    pub(super) up: bool,
    /// The node has closed it, was told that it is gone, or is dead.
    pub(super) closed: bool,
    /// Frames on their way to this end.
    pub(super) inbox: VecDeque<Frame>,
}

impl Wire {
    /// Whether this end can hear that the link is gone. Frames still on their way are lost then, as many as the moment makes it.
    pub(super) fn may_go_down(&self, end: usize) -> bool {
        !self.ends[end].closed && (self.broken || self.ends[1 - end].closed)
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.broken && self.ends.iter().all(|end| !end.closed)
    }
}

impl World {
    pub(super) fn protos(&self) -> impl Iterator<Item = &Proto> {
        self.nodes.iter().filter_map(Node::proto)
    }

    /// The members of the ring that live.
    pub(super) fn members(&self) -> Vec<&Proto> {
        self.protos().filter(|proto| proto.phase() == Phase::Member).collect()
    }

    pub(super) fn alive(&self, node: usize) -> Option<&Proto> {
        self.nodes.get(node).and_then(Node::proto)
    }

    pub(super) fn index_of(&self, ids: &[Id], id: Id) -> Option<usize> {
        ids.iter().position(|&known| known == id).filter(|&index| self.alive(index).is_some())
    }

    /// The wire, and which end of it, that a node knows as this link.
    pub(super) fn end_of(&self, node: usize, link: LinkId) -> Option<(usize, usize)> {
        self.wires.iter().enumerate().find_map(|(at, wire)| {
            let end = wire.ends.iter().position(|end| end.node == node && end.link == link && !end.closed)?;
            Some((at, end))
        })
    }

    /// Sends a frame; into nowhere, when the other end is gone.
    pub(super) fn carry(&mut self, node: usize, link: LinkId, frame: Frame) {
        let Some((at, end)) = self.end_of(node, link) else { return };
        let wire = &self.wires[at];
        if !wire.broken && !wire.ends[1 - end].closed {
            Arc::make_mut(&mut self.wires[at]).ends[1 - end].inbox.push_back(frame);
        }
    }

    /// Both ends are being set up for the same attempt, and both have agreed: a connection comes about.
    pub(super) fn connect(&mut self, a: usize, link: LinkId, b: usize, ids: &[Id]) {
        let dialling = |node: usize, peer: usize| -> Option<Dialling> {
            self.alive(node)?.dialling().find(|dialling| dialling.peer == ids[peer] && dialling.agreed)
        };
        let (Some(here), Some(there)) = (dialling(a, b), dialling(b, a)) else { return };
        if here.link != link || here.attempt != there.attempt {
            return;
        }
        let end = |node, link| End { node, link, up: false, closed: false, inbox: VecDeque::new() };
        let mut ends = [end(a, here.link), end(b, there.link)];
        ends.sort_by_key(|end| end.node);
        self.wires.push(Arc::new(Wire { ends, broken: false }));
    }

    /// A node lets go of a link.
    pub(super) fn close(&mut self, node: usize, link: LinkId) {
        if let Some((at, end)) = self.end_of(node, link) {
            self.close_end(at, end);
        }
    }

    pub(super) fn close_end(&mut self, at: usize, end: usize) {
        let wire = Arc::make_mut(&mut self.wires[at]);
        wire.ends[end].closed = true;
        wire.ends[end].inbox.clear();
        if wire.ends.iter().all(|end| end.closed) {
            self.wires.remove(at);
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.nodes[node] = Node::Dead;
        for at in (0..self.wires.len()).rev() {
            if let Some(end) = self.wires[at].ends.iter().position(|end| end.node == node && !end.closed) {
                self.close_end(at, end);
            }
        }
    }

    /// Whether some frame on its way carries this number, of an attempt or of a request.
    pub(super) fn travels(&self, number: u32) -> bool {
        self.frames().any(|frame| number_in(frame) == Some(number))
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.wires.iter().flat_map(|wire| &wire.ends).map(|end| end.inbox.len()).max().unwrap_or(0)
    }

    /// The wires in an order that does not depend on which came up first.
    pub(super) fn in_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.wires.len()).collect();
        order.sort_by_key(|&at| self.wires[at].ends.each_ref().map(|end| end.node));
        order
    }

    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.wires.iter().flat_map(|wire| &wire.ends).flat_map(|end| &end.inbox)
    }
}

/// The same for two states from which the same can happen: that is what makes the number of states finite.
impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let mut names = Names::default();
        for node in &self.nodes {
            match node {
                Node::Waiting => 0_u8.hash(hasher),
                Node::Dead => 1_u8.hash(hasher),
                Node::Alive { proto, asking } => {
                    (2_u8, asking).hash(hasher);
                    proto.hash_untimed(&mut names, hasher);
                }
            }
        }
        for at in self.in_order() {
            let wire = &self.wires[at];
            wire.broken.hash(hasher);
            for end in &wire.ends {
                (end.node, end.up, end.closed, end.inbox.len()).hash(hasher);
                // The number of a link is no part of the state: where it stands in its node's table is.
                let place = self.alive(end.node).filter(|_| !end.closed).and_then(|proto| proto.place_of(end.link));
                place.hash(hasher);
                for frame in &end.inbox {
                    hash_frame(frame, &mut names, hasher);
                }
            }
        }
        (self.founder, self.left, self.restless).hash(hasher);
    }
}

//! States and steps in words: a counterexample is read by people.

use std::fmt::Write;

use atoll::id::Id;
use atoll::proto::Phase;
use atoll::proto::untimed::Deadline;
use atoll::wire::{Message, RingView, Step};

use super::action::{Action, Rules};
use super::world::{Node, World};

impl Rules {
    /// `A`, `B`, … in the order of the ring.
    pub(super) fn name(&self, id: Id) -> String {
        let before = self.ids.iter().filter(|&&other| other < id).count();
        if self.ids.contains(&id) { char::from(b'A' + before as u8).to_string() } else { id.to_string() }
    }

    /// The same text with names instead of ids.
    pub(super) fn with_names(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, &id| text.replace(&id.to_string(), &self.name(id)))
    }

    /// One line for each node.
    pub(super) fn describe(&self, world: &World) -> String {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_by_key(|&node| self.ids[node]);
        let mut text = String::new();
        for node in order {
            let name = self.name(self.ids[node]);
            let line = match &world.nodes[node] {
                Node::Waiting => "has not started".to_owned(),
                Node::Dead => "is dead".to_owned(),
                Node::Alive { proto, .. } => format!(
                    "{}: predecessors [{}], successors [{}], links to [{}]",
                    phase(proto.phase()),
                    self.names(proto.predecessors()),
                    self.names(proto.successors()),
                    self.names(&proto.peers().map(|peer| peer.id).collect::<Vec<_>>()),
                ),
            };
            let _ = write!(text, "\n    {name} {line}");
        }
        text
    }

    /// What an action does to a state.
    pub(super) fn describe_action(&self, world: &World, action: Action) -> String {
        let node_name = |node: usize| self.name(self.ids[node]);
        let ends = |wire: usize, end: usize| {
            let ends = &world.wires[wire].ends;
            (node_name(ends[end].node), node_name(ends[1 - end].node))
        };
        match action {
            Action::Start(node) => format!("{} starts", node_name(node)),
            Action::Fail(node) => format!("{} crashes", node_name(node)),
            Action::Members { node, through: Some(member) } => {
                format!(
                    "the signalling server sends {} to {}, which agrees to a link",
                    node_name(node),
                    node_name(member)
                )
            }
            Action::Members { node, through: None } => {
                format!("the signalling server has {} found a ring", node_name(node))
            }
            Action::Up { wire, end } => {
                let (here, there) = ends(wire, end);
                format!("{here}'s link to {there} opens")
            }
            Action::Down { wire, end } => {
                let (here, there) = ends(wire, end);
                format!("{here} notices that its link to {there} is gone")
            }
            Action::Break { wire } => {
                let (a, b) = ends(wire, 0);
                format!("the link between {a} and {b} fails")
            }
            Action::Deliver { wire, end } => {
                let (here, there) = ends(wire, end);
                let inbox = &world.wires[wire].ends[end].inbox;
                let first = inbox.front().map(|frame| self.message(frame.header.src, &frame.message));
                format!("{there} -> {here}: {}", first.unwrap_or_default())
            }
            Action::Due { node, deadline, .. } => format!("{} {}", node_name(node), self.deadline(deadline)),
        }
    }

    fn deadline(&self, deadline: Deadline) -> String {
        match deadline {
            Deadline::Join => "tries again to join".to_owned(),
            Deadline::Stabilize => "stabilizes".to_owned(),
            Deadline::Gossip => "tells its neighbours who they are".to_owned(),
            Deadline::Check => "checks its place by a lookup".to_owned(),
            Deadline::Dial(peer) => format!("gives up dialling {}", self.name(peer)),
            Deadline::Lookup(_) => "has no answer to a lookup".to_owned(),
            Deadline::Pause(peer) => format!("may dial {} again", self.name(peer)),
        }
    }

    fn message(&self, from: Id, message: &Message) -> String {
        let from = self.name(from);
        match message {
            Message::Neighbours(list) => format!("Neighbours [{}], {}", self.names(&list.ids), member(list.member)),
            Message::Ring(view) => format!("Ring {}", self.view(view)),
            Message::Leave(view) => format!("Leave {}", self.view(view)),
            Message::Find(_) => format!("Find from {from}"),
            Message::Found(found) => format!("Found from {from}: {}", self.view(&found.view)),
            Message::Dial(dial) => match &dial.step {
                Step::Seek { .. } => format!("Seek from {from}"),
                Step::Request { purpose, .. } => format!("Dial from {from}: request for {purpose:?}"),
                Step::Refuse { reason, .. } => format!("Dial from {from}: refuse, {reason:?}"),
                Step::Describe(_) => format!("Dial from {from}: describe"),
            },
            Message::Unreachable(body) => format!("Unreachable {} says {from}", self.name(body.peer)),
            other => format!("{other:?}"),
        }
    }

    fn view(&self, view: &RingView) -> String {
        let (before, after) = (self.names(&view.predecessors), self.names(&view.successors));
        format!("predecessors [{before}], successors [{after}], {}", member(view.member))
    }

    fn names(&self, ids: &[Id]) -> String {
        ids.iter().map(|&id| self.name(id)).collect::<Vec<_>>().join(" ")
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Joining => "joins",
        Phase::Member => "is a member",
        Phase::Attached => "is attached",
        Phase::Left => "has left",
    }
}

fn member(member: bool) -> &'static str {
    if member { "a member" } else { "not yet a member" }
}

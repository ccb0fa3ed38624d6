//! What the tests of the protocol's parts share: one node, and what it is told by hand.

use std::time::Duration;

use super::{Config, Input, LinkId, Output, Proto, Time};
use crate::id::Id;
use crate::wire::{Dial, Frame, Header, Message, Purpose, Role, Step};

/// When everything happens.
pub(super) const NOW: Time = Time(0);

/// The member with this id, the only one so far, and with so many links at most.
pub(super) fn member(id: u64, links: usize) -> Proto {
    let config = Config { heartbeat_every: Duration::ZERO, ..Config::with_links(links) };
    let mut proto = Proto::new(Id::new(id), config, 1, NOW);
    proto.handle(Input::Members { found: true, members: Vec::new() }, NOW);
    outputs(&mut proto);
    proto
}

/// What the node wants done.
pub(super) fn outputs(proto: &mut Proto) -> Vec<Output> {
    std::iter::from_fn(|| proto.poll_output()).collect()
}

/// A member asks the node for a link.
pub(super) fn asks(proto: &mut Proto, from: Id, attempt: u32, purpose: Purpose) {
    let step = Step::Request { role: Role::Member, purpose };
    proto.handle(Input::Signal { from, dial: Dial { attempt, step } }, NOW);
}

/// The link that the node is setting up. What else it wants done is dropped.
pub(super) fn connecting(proto: &mut Proto) -> LinkId {
    let connect = |output| if let Output::Connect { link, .. } = output { Some(link) } else { None };
    outputs(proto).into_iter().find_map(connect).expect("a link is being set up")
}

/// A link to a member that asked for it as a neighbour on the ring.
pub(super) fn linked(proto: &mut Proto, peer: Id) -> LinkId {
    asks(proto, peer, 1, Purpose::Ring);
    let link = connecting(proto);
    proto.handle(Input::LinkUp { link, role: Role::Member }, NOW);
    link
}

/// A frame comes over a link.
pub(super) fn hears(proto: &mut Proto, link: LinkId, from: Id, message: Message) {
    hears_at(proto, link, from, message, NOW);
}

/// A frame comes over a link at another moment.
pub(super) fn hears_at(proto: &mut Proto, link: LinkId, from: Id, message: Message, now: Time) {
    let frame = Frame { header: Header::new(message.kind(), from, proto.id()), message };
    proto.handle(Input::Frame { link, frame }, now);
}

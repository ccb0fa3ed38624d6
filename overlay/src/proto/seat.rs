//! What is asked of links most often, in a few bytes for each: who is at the other end, and whether frames can go there.
//!
//! A node that forwards looks at many of its links and takes one. All their seats together are four lines of the cache; the links
//! themselves are twenty.

use super::links::{Link, LinkId, State};
use crate::id::Id;
use crate::wire::{Purpose, Role};

/// What of a link is looked at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    pub(super) peer: Id,
    pub(super) link: LinkId,
    /// Links that the peer could still accept, as it said last.
    pub(super) room: u16,
    /// What the side that dialled wanted it for.
    pub(super) purpose: Purpose,
    flags: u8,
}

const TAKEN: u8 = 1;
const OPEN: u8 = 1 << 1;
/// The peer has said that it is a member of the ring.
const MEMBER: u8 = 1 << 2;
/// The peer is no leaf.
const NO_LEAF: u8 = 1 << 3;
const SUSPECT: u8 = 1 << 4;
const DIALLED: u8 = 1 << 5;

impl Seat {
    /// Stands where there is no link. The id that it gives is no link's, for its place is beyond every budget.
    pub(super) const FREE: Seat =
        Seat { peer: Id::new(0), link: LinkId(u32::MAX), room: 0, purpose: Purpose::Ring, flags: 0 };

    pub(super) fn of(link: &Link) -> Self {
        let flags = TAKEN
            | u8::from(link.state == State::Open) * OPEN
            | u8::from(link.member) * MEMBER
            | u8::from(link.role == Role::Member) * NO_LEAF
            | u8::from(link.suspect) * SUSPECT
            | u8::from(link.dialled) * DIALLED;
        Seat { peer: link.peer, link: link.id, room: link.room, purpose: link.purpose, flags }
    }

    pub(super) fn is_taken(self) -> bool {
        self.has(TAKEN)
    }

    /// Whether this is the link to that peer.
    pub(super) fn leads_to(self, peer: Id) -> bool {
        self.peer == peer && self.is_taken()
    }

    pub(super) fn is_open(self) -> bool {
        self.has(OPEN)
    }

    pub(super) fn role(self) -> Role {
        if self.has(NO_LEAF) { Role::Member } else { Role::Leaf }
    }

    pub(super) fn is_member(self) -> bool {
        self.has(MEMBER)
    }

    pub(super) fn is_suspect(self) -> bool {
        self.has(SUSPECT)
    }

    /// Whether this side dialled.
    pub(super) fn is_dialled(self) -> bool {
        self.has(DIALLED)
    }

    /// Whether frames of others may be sent there.
    pub(super) fn may_forward(self) -> bool {
        self.has(OPEN | MEMBER | NO_LEAF)
    }

    fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

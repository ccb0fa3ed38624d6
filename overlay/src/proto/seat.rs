//! What is asked of links most often, in a few bytes for each: who is at the other end, and whether frames can go there.
//!
//! A node that forwards looks at many of its links and takes one. All their seats together are six lines of the cache; the links
//! themselves are twenty.

use super::links::{Link, LinkId, State};
use super::timer::Time;
use crate::id::Id;
use crate::wire::{Purpose, Role};

/// What of a link is looked at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seat {
    pub(super) peer: Id,
    /// When the peer was heard last; until it is, since when there is the link. It stands here alone.
    pub(super) heard_at: Time,
    pub(super) link: LinkId,
    /// Links that the peer could still accept, as it said last. It stands here alone.
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
/// Something has come over the link.
const HEARD: u8 = 1 << 6;

impl Seat {
    /// Stands where there is no link. The id that it gives is no link's, for its place is beyond every budget.
    pub(super) const FREE: Seat =
        Seat { peer: Id::new(0), heard_at: Time(0), link: LinkId(u32::MAX), room: 0, purpose: Purpose::Ring, flags: 0 };

    pub(super) fn of(link: &Link) -> Self {
        let when = |holds: bool, flag: u8| if holds { flag } else { 0 };
        let flags = TAKEN
            | when(link.state == State::Open, OPEN)
            | when(link.member, MEMBER)
            | when(link.role == Role::Member, NO_LEAF)
            | when(link.suspect, SUSPECT)
            | when(link.dialled, DIALLED)
            | when(link.heard, HEARD);
        Seat { peer: link.peer, heard_at: link.since, link: link.id, room: 0, purpose: link.purpose, flags }
    }

    /// Says what holds of the link now. What stands here alone stays.
    pub(super) fn follow(&mut self, link: &Link) {
        *self = Seat { heard_at: self.heard_at, room: self.room, ..Seat::of(link) };
    }

    pub(super) fn is_taken(&self) -> bool {
        self.has(TAKEN)
    }

    /// Whether this is the link to that peer.
    pub(super) fn leads_to(&self, peer: Id) -> bool {
        self.peer == peer && self.is_taken()
    }

    pub(super) fn is_open(&self) -> bool {
        self.has(OPEN)
    }

    pub(super) fn role(&self) -> Role {
        if self.has(NO_LEAF) { Role::Member } else { Role::Leaf }
    }

    pub(super) fn is_member(&self) -> bool {
        self.has(MEMBER)
    }

    pub(super) fn is_open_to_member(&self) -> bool {
        self.has(OPEN | MEMBER)
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.has(SUSPECT)
    }

    /// Whether the peer has been heard, and has not been silent for long since.
    pub(super) fn is_lively(&self) -> bool {
        self.has(HEARD) && !self.is_suspect()
    }

    /// Whether this side dialled.
    pub(super) fn is_dialled(&self) -> bool {
        self.has(DIALLED)
    }

    /// Whether frames of others may be sent there.
    pub(super) fn may_forward(&self) -> bool {
        self.has(OPEN | MEMBER | NO_LEAF)
    }

    fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

//! The header of a frame: all that a forwarding hop looks at.
//!
//! ```text
//! 0        1      2       3     4         10        16              22
//! version  kind   flags   ttl   dst (6)   src (6)   bound (6)       [via: to (6) answer (6)] [trail: n (1) n × id (6)] body
//! ```
//!
//! The layout is the same in every version of the protocol, so that a node forwards what it does not understand.

use bytes::{BufMut, BytesMut};

use super::DecodeError;
use crate::id::Id;

/// The version of the protocol that this code speaks.
pub const VERSION: u8 = 1;

/// Hops that a frame may take at most.
pub const TTL: u8 = 64;

/// Ids in the trail of a frame that met a dead end, at most.
pub const MAX_TRAIL: usize = 48;

const FIXED: usize = 22;
const VIA: usize = 2 * Id::BYTES;

/// Bytes in a header with everything in it.
pub(super) const MAX_HEADER: usize = FIXED + VIA + 1 + MAX_TRAIL * Id::BYTES;

/// The flags of a header. Flags of a later version are kept when a frame is forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Flags(u8);

impl Flags {
    /// The header has a [`Via`].
    const VIA: u8 = 1;
    /// The header has a trail.
    const TRAIL: u8 = 2;
    /// Somebody waits: tell the source when the frame cannot be delivered.
    pub const REPORT: Flags = Flags(4);
    /// `dst` is a key: deliver to the node that owns it.
    pub const KEY: Flags = Flags(8);
    /// With `KEY`: deliver to the node before the key instead, whose successor owns it.
    pub const BEFORE: Flags = Flags(16);
    /// The greedy part of the way is over: only steps along the ring are left.
    pub const LAST: Flags = Flags(32);

    /// Whether all flags of `other` are set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These flags but for those of `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// How to reach nodes that own no arc of the ring: through a neighbour of theirs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Via {
    /// Route to this node first, which puts `dst` here and routes on. Equal to `dst` when `dst` is a member.
    pub to: Id,
    /// Answer through this node, which has a link to `src`. Equal to `src` when `src` is a member.
    pub answer: Id,
}

/// The header of a frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// The version of the sender's protocol.
    pub version: u8,
    /// What the body is: see [`kind`](super::kind).
    pub kind: u8,
    /// How to treat the frame.
    pub flags: Flags,
    /// Hops left.
    pub ttl: u8,
    /// Where the frame goes: a node's id, or with [`Flags::KEY`] any point of the ring.
    pub dst: Id,
    /// Who sent it.
    pub src: Id,
    /// How close to `dst` the way so far has promised to come; every further hop must do better ([`crate::proto`]).
    pub bound: u64,
    /// For frames from or to nodes that are not members.
    pub via: Option<Via>,
    /// The nodes where the frame met a dead end, in the order of its visits. Empty on nearly every frame.
    pub trail: Vec<Id>,
}

impl Header {
    /// A header for a frame that has not left yet.
    pub fn new(kind: u8, src: Id, dst: Id) -> Self {
        let bound = Id::MAX.number();
        Header {
            version: VERSION,
            kind,
            flags: Flags::default(),
            ttl: TTL,
            dst,
            src,
            bound,
            via: None,
            trail: Vec::new(),
        }
    }

    /// Reads the header at the front of a frame. Gives its length too: the body follows. Allocates only for a trail.
    pub fn decode(frame: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (fixed, mut rest) = frame.split_first_chunk::<FIXED>().ok_or(DecodeError::Truncated)?;
        let [version, kind, flags, ttl] = [fixed[0], fixed[1], fixed[2], fixed[3]];
        if version == 0 {
            return Err(DecodeError::Version);
        }
        let via = match flags & Flags::VIA {
            0 => None,
            _ => Some(Via { to: take_id(&mut rest)?, answer: take_id(&mut rest)? }),
        };
        let trail = match flags & Flags::TRAIL {
            0 => Vec::new(),
            _ => take_trail(&mut rest)?,
        };
        let header = Header {
            version,
            kind,
            flags: Flags(flags & !(Flags::VIA | Flags::TRAIL)),
            ttl,
            dst: id_at(fixed, 4),
            src: id_at(fixed, 10),
            bound: id_at(fixed, 16).number(),
            via,
            trail,
        };
        Ok((header, frame.len() - rest.len()))
    }

    /// Appends the header to a buffer.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[self.version, self.kind, self.wire_flags(), self.ttl]);
        out.put_slice(&self.dst.to_bytes());
        out.put_slice(&self.src.to_bytes());
        out.put_slice(&Id::new(self.bound).to_bytes());
        if let Some(via) = self.via {
            out.put_slice(&via.to.to_bytes());
            out.put_slice(&via.answer.to_bytes());
        }
        if !self.trail.is_empty() {
            debug_assert!(self.trail.len() <= MAX_TRAIL, "the router bounds the trail");
            out.put_u8(self.trail.len() as u8);
            self.trail.iter().for_each(|id| out.put_slice(&id.to_bytes()));
        }
    }

    /// Writes what a hop changes over the header of the frame that this header was read from, when its length has stayed
    /// the same: neither does the frame have a trail nor did it have one. Returns whether it could.
    pub fn patch(&self, frame: &mut [u8]) -> bool {
        if !self.trail.is_empty() || frame.len() < FIXED || frame[2] & Flags::TRAIL != 0 {
            return false;
        }
        frame[2] = self.wire_flags();
        frame[3] = self.ttl;
        frame[16..22].copy_from_slice(&Id::new(self.bound).to_bytes());
        if let Some(via) = self.via
            && let Some(to) = frame.get_mut(FIXED..FIXED + Id::BYTES)
        {
            to.copy_from_slice(&via.to.to_bytes());
        }
        true
    }

    /// The node that the frame is routed to: `dst`, or the member through which it is reached.
    pub fn target(&self) -> Id {
        self.via.map_or(self.dst, |via| via.to)
    }

    /// The neighbour to answer through, when the source is not a member.
    pub fn answer_through(&self) -> Option<Id> {
        self.via.map(|via| via.answer).filter(|&answer| answer != self.src)
    }

    /// From here on the frame goes to this member, not to the owner of a key.
    pub fn readdress(&mut self, member: Id) {
        self.dst = member;
        self.flags = self.flags.without(Flags::KEY).without(Flags::LAST);
        self.bound = Id::MAX.number();
        self.trail.clear();
        if let Some(via) = &mut self.via {
            via.to = member;
        }
    }

    fn wire_flags(&self) -> u8 {
        let via = if self.via.is_some() { Flags::VIA } else { 0 };
        let trail = if self.trail.is_empty() { 0 } else { Flags::TRAIL };
        self.flags.0 & !(Flags::VIA | Flags::TRAIL) | via | trail
    }
}

fn id_at(fixed: &[u8; FIXED], at: usize) -> Id {
    Id::from_bytes(std::array::from_fn(|i| fixed[at + i]))
}

fn take_id(rest: &mut &[u8]) -> Result<Id, DecodeError> {
    let (id, tail) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *rest = tail;
    Ok(Id::from_bytes(*id))
}

fn take_trail(rest: &mut &[u8]) -> Result<Vec<Id>, DecodeError> {
    let (&count, tail) = rest.split_first().ok_or(DecodeError::Truncated)?;
    let count = usize::from(count);
    if count == 0 || count > MAX_TRAIL {
        return Err(DecodeError::Trail);
    }
    *rest = tail;
    (0..count).map(|_| take_id(rest)).collect()
}

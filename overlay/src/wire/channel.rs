//! The bodies of frames that hold the tree of a channel together.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DecodeError;
use crate::id::Id;
use crate::key::{Identity, KeyError, PeerKey, Purpose};

/// Ids in the path from the root of a channel at most: no tree is deeper.
pub const MAX_PATH: usize = super::TTL as usize;

/// Dead nodes that a join names at most.
pub const MAX_LOST: usize = 4;

/// Streams that one frame tells of at most.
pub const MAX_HEADS: usize = 64;

/// Ranges of messages that are told of one stream at most.
pub const MAX_RANGES: usize = 8;

/// Names a channel: the first 16 bytes of a SHA-256 hash over its [`Terms`], so nobody can give one channel other terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ChannelId(pub [u8; 16]);

impl ChannelId {
    /// Bytes in it.
    pub const BYTES: usize = 16;

    /// The point of the ring whose owner is the root of the channel's tree.
    pub fn point(&self) -> Id {
        Id::hash(self.0)
    }
}

impl std::fmt::Display for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::key::hex(&self.0))
    }
}

/// What all that take part in a channel agree on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// Whether every message is signed by its publisher, and verified by each node that it comes to.
    pub signed: bool,
    /// Of a private channel: joins and publishers prove themselves with the other half of this key.
    pub gate: Option<PeerKey>,
    /// The SHA-256 hash of the channel's name: forwarders need not know it.
    pub name: [u8; 32],
}

impl Terms {
    /// The terms of the channel with this name.
    pub fn new(name: &str, signed: bool, gate: Option<PeerKey>) -> Self {
        Terms { signed, gate, name: Sha256::digest(name).into() }
    }

    /// The channel's id.
    pub fn id(&self) -> ChannelId {
        let flags = u8::from(self.signed) | u8::from(self.gate.is_some()) << 1;
        let gate = self.gate.map(|gate| gate.to_spki_der());
        let gate = gate.as_ref().map_or(&[][..], |der| &der[..]);
        let digest = Sha256::digest([b"atoll channel 1\0", &[flags][..], gate, &self.name].concat());
        ChannelId(std::array::from_fn(|at| digest[at]))
    }
}

/// That a member of a private channel wants to join: signed with the gate's key, good for one node and a short time. Forwarders
/// show it on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The member.
    pub member: Id,
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// The signature.
    pub signature: bytes::Bytes,
}

impl Proof {
    /// A proof for this member, made now.
    pub fn new(gate: &Identity, channel: ChannelId, member: Id, made: u64) -> Self {
        let signature = gate.sign(Purpose::Membership, &Self::signed_bytes(channel, member, made));
        Proof { member, made, signature: signature.to_vec().into() }
    }

    /// Whether the holder of the gate's key made it.
    pub fn verify(&self, gate: &PeerKey, channel: ChannelId) -> Result<(), KeyError> {
        gate.verify(Purpose::Membership, &Self::signed_bytes(channel, self.member, self.made), &self.signature)
    }

    fn signed_bytes(channel: ChannelId, member: Id, made: u64) -> Vec<u8> {
        [b"join", &channel.0[..], &member.to_bytes(), &made.to_be_bytes()].concat()
    }
}

/// What somebody has of one stream of messages.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Head {
    /// Who publishes it.
    pub publisher: Id,
    /// Which of its streams: the publisher's clock when it joined, in microseconds since 1970.
    pub stream: u64,
    /// All messages that are known of have smaller numbers.
    pub upper: u64,
    /// The messages that it has: from the first number to before the second, at most [`MAX_RANGES`].
    pub ranges: Vec<(u64, u64)>,
}

/// Why a join was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JoinRefusal {
    /// The node is not a member of the ring, or a leaf.
    #[error("the node takes no part in channels")]
    Closed,
    /// It takes part in as many channels as it may, or was asked to join too many at once.
    #[error("the node takes part in as many channels as it may")]
    Full,
    /// The one that asks is its own way to the root.
    #[error("the join would make a circle")]
    Circle,
    /// The proof of membership does not hold, or is too old.
    #[error("no proof of membership; check the channel's secret, and the clock")]
    Proof,
}

/// A request to be taken as a child.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Join {
    /// The channel's terms; its id follows from them.
    pub terms: Terms,
    /// Drawn at random for this edge; what the parent says of it comes with the same number.
    pub attempt: u32,
    /// Of a private channel.
    pub proof: Option<Proof>,
    /// Nodes above the sender that are dead, as it knows: no way to the root leads over them. At most [`MAX_LOST`].
    pub lost: Vec<Id>,
}

/// What neighbours in the tree of a channel tell each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Tree {
    /// Take me as a child. Or, as one that is a child already: here is a newer proof.
    Join(Join),
    /// I have taken you, and look for a parent myself.
    Pending {
        /// The channel.
        channel: ChannelId,
        /// The number of the join.
        attempt: u32,
    },
    /// I do not take you.
    Refused {
        /// The channel.
        channel: ChannelId,
        /// The number of the join.
        attempt: u32,
        /// Why not.
        reason: JoinRefusal,
    },
    /// The root lives, and this is the way from it: the root first, the sender last. Makes the receiver a child where it was none yet.
    Beat {
        /// The channel.
        channel: ChannelId,
        /// The number of the join.
        attempt: u32,
        /// At most [`MAX_PATH`] ids.
        path: Vec<Id>,
    },
    /// I am not your child any more.
    Leave {
        /// The channel.
        channel: ChannelId,
    },
    /// I am not your parent any more.
    Drop {
        /// The channel.
        channel: ChannelId,
        /// The number of the join; 0 where the sender knows of none.
        attempt: u32,
    },
    /// These messages I have: send me the others that you have.
    Have {
        /// The channel.
        channel: ChannelId,
        /// At most [`MAX_HEADS`].
        heads: Vec<Head>,
        /// More heads follow.
        more: bool,
        /// Say what you have, too: nothing came.
        ask: bool,
    },
    /// What I have taken of your messages of this channel, in bytes since we are neighbours in its tree.
    Credit {
        /// The channel.
        channel: ChannelId,
        /// So many have come.
        received: u64,
        /// So many may come in all.
        limit: u64,
    },
}

pub(super) fn check_tree(message: &Tree) -> Result<(), DecodeError> {
    let fits = match message {
        Tree::Join(Join { proof, lost, .. }) => {
            proof.as_ref().is_none_or(|proof| proof.signature.len() == SIGNATURE) && lost.len() <= MAX_LOST
        }
        Tree::Beat { path, .. } => path.len() <= MAX_PATH,
        Tree::Have { heads, .. } => {
            heads.len() <= MAX_HEADS && heads.iter().all(|head| head.ranges.len() <= MAX_RANGES)
        }
        _ => true,
    };
    if fits { Ok(()) } else { Err(DecodeError::Body) }
}

const SIGNATURE: usize = crate::key::SIGNATURE_BYTES;

//! What two nodes say to each other to open a link: ask, agree, and then exchange WebRTC's descriptions and candidates.
//!
//! The same messages travel as JSON through a signalling server and as postcard over the ring. A peer connection is created
//! only once the other side has agreed: browsers allow a tab about 500 of them in its life.

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::signalling::{MAX_CANDIDATE_BYTES, MAX_SDP_BYTES, MAX_TRY_INSTEAD, Role};

/// One message of the set-up of a link. `attempt` is drawn at random by the side that asks, and tells attempts apart.
///
/// postcard numbers the variants: add new ones at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkSetup {
    /// May I have a link with you?
    Request {
        /// Which attempt this is.
        attempt: u64,
        /// What the asking node is in the ring.
        role: Role,
        /// What the link is for: it decides who gives way when all places are taken.
        purpose: LinkPurpose,
    },
    /// Yes: send your offer.
    Accept {
        /// Which attempt this is about.
        attempt: u64,
    },
    /// No.
    Refuse {
        /// Which attempt this is about.
        attempt: u64,
        /// Why not.
        reason: RefuseReason,
        /// Whom to ask instead, at most [`MAX_TRY_INSTEAD`].
        try_instead: Vec<Id>,
    },
    /// The session description of the side that asked (RFC 8829).
    Offer {
        /// Which attempt this is about.
        attempt: u64,
        /// SDP, at most [`MAX_SDP_BYTES`].
        sdp: String,
    },
    /// The session description of the side that agreed.
    Answer {
        /// Which attempt this is about.
        attempt: u64,
        /// SDP, at most [`MAX_SDP_BYTES`].
        sdp: String,
    },
    /// An address that the sender may be reached at (trickle ICE, RFC 8838). An empty one: there are no more.
    Candidate {
        /// Which attempt this is about.
        attempt: u64,
        /// The candidate line, at most [`MAX_CANDIDATE_BYTES`].
        candidate: String,
    },
}

impl LinkSetup {
    /// Which attempt the message is about.
    pub fn attempt(&self) -> u64 {
        match self {
            LinkSetup::Request { attempt, .. }
            | LinkSetup::Accept { attempt }
            | LinkSetup::Refuse { attempt, .. }
            | LinkSetup::Offer { attempt, .. }
            | LinkSetup::Answer { attempt, .. }
            | LinkSetup::Candidate { attempt, .. } => *attempt,
        }
    }

    /// Whether every part keeps to its limit. To be asked of each message from outside.
    pub fn check(&self) -> Result<(), SetupError> {
        let (what, size, limit) = match self {
            LinkSetup::Refuse { try_instead, .. } => ("list of peers", try_instead.len(), MAX_TRY_INSTEAD),
            LinkSetup::Offer { sdp, .. } | LinkSetup::Answer { sdp, .. } => ("description", sdp.len(), MAX_SDP_BYTES),
            LinkSetup::Candidate { candidate, .. } => ("candidate", candidate.len(), MAX_CANDIDATE_BYTES),
            LinkSetup::Request { .. } | LinkSetup::Accept { .. } => return Ok(()),
        };
        if size > limit { Err(SetupError { what, size, limit }) } else { Ok(()) }
    }
}

/// What a link is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LinkPurpose {
    /// To join the ring through you, or to attach to you as a leaf.
    Join,
    /// You are my successor or predecessor, or next to it.
    Neighbour,
    /// To reach far round the ring.
    Finger,
    /// A busy session between the two of us.
    Direct,
}

/// Why a link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefuseReason {
    /// All places for links are taken.
    Full,
    /// There is a link between the two already.
    AlreadyLinked,
    /// Both asked at once: the attempt of the node with the smaller id goes on.
    Glare,
    /// The node is not a member of the ring yet.
    NotMember,
    /// The node is leaving.
    Leaving,
    /// The attempt is unknown, or too old.
    NoSuchAttempt,
}

/// A set-up message is larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {what} of a link's set-up has {size}; at most {limit} are allowed")]
pub struct SetupError {
    what: &'static str,
    size: usize,
    limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<LinkSetup> {
        let attempt = u64::MAX;
        vec![
            LinkSetup::Request { attempt, role: Role::Leaf, purpose: LinkPurpose::Direct },
            LinkSetup::Accept { attempt },
            LinkSetup::Refuse { attempt, reason: RefuseReason::Full, try_instead: vec![Id::new(7), Id::MAX] },
            LinkSetup::Offer { attempt, sdp: "v=0\r\n".into() },
            LinkSetup::Answer { attempt, sdp: "v=0\r\n\u{1}é".into() },
            LinkSetup::Candidate { attempt, candidate: "candidate:1 1 udp 1 127.0.0.1 9 typ host".into() },
        ]
    }

    #[test]
    fn every_message_survives_json_and_postcard() {
        for message in one_of_each() {
            let json = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<LinkSetup>(&json).unwrap(), message);
            let bytes = postcard::to_allocvec(&message).unwrap();
            assert_eq!(postcard::from_bytes::<LinkSetup>(&bytes).unwrap(), message);
            assert_eq!((message.check(), message.attempt()), (Ok(()), u64::MAX));
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = "x".repeat(MAX_SDP_BYTES + 1);
        assert!(LinkSetup::Offer { attempt: 1, sdp: long.clone() }.check().is_err());
        assert!(LinkSetup::Answer { attempt: 1, sdp: long.clone() }.check().is_err());
        assert!(LinkSetup::Candidate { attempt: 1, candidate: long }.check().is_err());
        let try_instead = vec![Id::MAX; MAX_TRY_INSTEAD + 1];
        assert!(LinkSetup::Refuse { attempt: 1, reason: RefuseReason::Full, try_instead }.check().is_err());
    }
}

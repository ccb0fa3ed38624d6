//! Bugs that others have made, to be committed on purpose: a checker that does not find them is worth nothing.
//!
//! Zave, "Using lightweight modeling to understand Chord" (SIGCOMM CCR 2012), shows the first two to break the ring of the papers
//! of 2001 and 2003. Built only with the feature `known-bugs`; nothing that ships has it.

use super::Proto;
use super::links::{LinkId, Links};
use super::route::Hop;
use crate::id::Id;
use crate::wire::{Flags, Header};

/// A bug that a node commits when [`Config::known_bug`](super::Config::known_bug) says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum KnownBug {
    /// The join of SIGCOMM 2001: a node learns its successor, and nothing more, and is a member at once. It has no list behind its
    /// successor, and no link to it. When that successor dies, it has lost the ring.
    Join2001,
    /// The `notify` of SIGCOMM 2001: a predecessor gives way to a nearer node only; nobody asks whether it lives. One that
    /// died keeps its place for ever.
    NotifyWithoutRectify,
    /// A lookup is handed to the neighbour at the target or past it, and that one takes itself for the owner, though a node
    /// nearer to the target may stand before it.
    ForwardPastTarget,
    /// The owner of a record says that its successors keep it before it has sent them anything, and does not.
    AcknowledgeWithoutCopies,
    /// The owner of a record answers whoever reads it as it answered the first, whatever was written since.
    AnswerFromCache,
}

impl KnownBug {
    /// All of them.
    pub const ALL: [KnownBug; 5] = [
        KnownBug::Join2001,
        KnownBug::NotifyWithoutRectify,
        KnownBug::ForwardPastTarget,
        KnownBug::AcknowledgeWithoutCopies,
        KnownBug::AnswerFromCache,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            KnownBug::Join2001 => "join-2001",
            KnownBug::NotifyWithoutRectify => "notify-without-rectify",
            KnownBug::ForwardPastTarget => "forward-past-target",
            KnownBug::AcknowledgeWithoutCopies => "acknowledge-without-copies",
            KnownBug::AnswerFromCache => "answer-from-cache",
        }
    }
}

impl std::fmt::Display for KnownBug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no known bug of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no known bug is called `{0}`; there are {known}", known = KnownBug::ALL.map(KnownBug::name).join(", "))]
pub struct UnknownBug(String);

impl std::str::FromStr for KnownBug {
    type Err = UnknownBug;

    fn from_str(name: &str) -> Result<Self, UnknownBug> {
        Self::ALL.into_iter().find(|bug| bug.name() == name).ok_or_else(|| UnknownBug(name.to_owned()))
    }
}

impl Proto {
    pub(super) fn has(&self, bug: KnownBug) -> bool {
        self.config.known_bug == Some(bug)
    }

    /// The join of the paper takes the successor and nothing behind it.
    pub(super) fn place_as_in_2001(&mut self, successor: Id) {
        self.joining.placed = true;
        self.ring.replace(Vec::new(), vec![successor]);
    }

    /// Whether the paper's `notify` lets this peer be the predecessor: the old one's life does not matter.
    pub(super) fn was_notified_in_2001(&self, peer: Id) -> bool {
        self.ring.predecessor().is_none_or(|old| peer.is_between(old, self.me))
    }

    /// With [`KnownBug::ForwardPastTarget`]: the hop past the target, and what the node there makes of it.
    pub(super) fn past_target(&self, header: &mut Header, target: Id, exact: bool, avoid: &[LinkId]) -> Option<Hop> {
        let before = header.flags.has(Flags::BEFORE) && !exact;
        if !self.has(KnownBug::ForwardPastTarget) || exact || before {
            return None;
        }
        if header.flags.has(Flags::LAST) {
            return Some(Hop::Deliver);
        }
        let owned = self.ring.predecessor().is_some_and(|predecessor| target.is_in_arc(predecessor, self.me));
        if owned {
            return None;
        }
        let past = |links: &Links| {
            let others = links.members().filter(|link| !avoid.contains(&link.link));
            others.min_by_key(|link| target.clockwise_to(link.peer)).map(|link| (link.link, link.peer))
        };
        let (link, peer) = past(&self.links)?;
        let is_past = target.clockwise_to(peer) < target.clockwise_to(self.me);
        is_past.then(|| {
            header.flags = header.flags.with(Flags::LAST);
            Hop::Forward(link)
        })
    }
}

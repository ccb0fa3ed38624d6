//! The messages of late, in the order in which they came: from here they go to neighbours, and are sent again to one that missed some.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::super::LinkId;
use super::super::timer::Time;
use crate::wire::Envelope;

/// Envelopes in the log of a channel at most.
const LOG_ENVELOPES: usize = 2048;

/// Bytes in the log of a channel at most, less where the node takes part in many channels ([`LOGS_BYTES`]).
const LOG_BYTES: usize = 1 << 20;

/// Bytes in the logs of all channels together, shared equally.
const LOGS_BYTES: usize = 16 << 20;

/// How long an envelope stays in the log.
const LOG_AGE: Duration = Duration::from_secs(60);

/// Bytes that an envelope takes in memory besides its own.
pub(super) const AROUND: usize = 256;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) envelope: Arc<Envelope>,
    /// The link that it came over; none, where it is this node's own.
    pub(super) from: Option<LinkId>,
    came: Time,
    /// Bytes that had come before it.
    before: u64,
}

/// Each entry has a number; a neighbour's place in the log is the number of the next entry for it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// Bytes of all that ever came.
    bytes: u64,
}

/// Bytes that each log may take in a node with so many channels.
pub(super) fn share(channels: usize) -> usize {
    LOG_BYTES.min(LOGS_BYTES / channels.max(1))
}

impl Log {
    pub(super) fn push(&mut self, envelope: Arc<Envelope>, from: Option<LinkId>, limit: usize, now: Time) {
        let size = (envelope.bytes().len() + AROUND) as u64;
        self.entries.push_back(Entry { envelope, from, came: now, before: self.bytes });
        self.bytes += size;
        while self.entries.len() > LOG_ENVELOPES || (self.held() > limit && self.entries.len() > 1) {
            self.pop();
        }
    }

    /// Drops what is old.
    pub(super) fn expire(&mut self, now: Time) {
        while self.entries.front().is_some_and(|entry| now.since(entry.came) >= LOG_AGE) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        self.first += u64::from(self.entries.pop_front().is_some());
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of the first entry that there is.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next entry that will come.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Bytes from this entry on.
    pub(super) fn bytes_from(&self, number: u64) -> usize {
        let from = self.get(number.max(self.first)).map_or(self.bytes, |entry| entry.before);
        (self.bytes - from) as usize
    }

    /// Bytes of all that ever came.
    pub(super) fn total(&self) -> u64 {
        self.bytes
    }

    /// Bytes of all entries.
    pub(super) fn held(&self) -> usize {
        self.bytes_from(self.first)
    }

    /// Bytes on the heap, the envelopes included though other nodes of the process may share them.
    pub(super) fn memory(&self) -> usize {
        self.held() + self.entries.capacity() * size_of::<Entry>()
    }
}

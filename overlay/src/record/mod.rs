//! What the ring stores: records that prove themselves, whoever keeps them.
//!
//! - A *value* never changes: its key is its hash, so whoever reads it sees that it is the right one.
//! - An *entry* is signed: its key is made of the writer's public key and a name, so nobody else can write it. Of two the one with
//!   the larger sequence number counts.
//! - A *claim* is signed as well, but its key is made of the name alone: the first that claims the name keeps it while the claim
//!   lives, and renews it.
//!
//! Every record has an end, at most [`MAX_TTL`] away: what nobody renews vanishes. Ends are seconds since 1970, so nodes need a
//! clock that is right within [`CLOCK_SKEW`]. Entries and claims are deleted by a newer record without a value.
//!
//! Plain data and functions over bytes: no sockets, no clock.

pub mod file;
mod key;
mod order;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use file::FileKey;
pub use key::{Key, KeyError, Place, Slot, check_claim_name};
pub use order::Judgement;

use crate::key::{Identity, PeerKey, Purpose, SIGNATURE_BYTES};

/// Bytes in a value at most. What is larger is stored in blocks: see [`mod@file`].
pub const MAX_VALUE: usize = 64 * 1024;

/// Bytes in the name of an entry at most.
pub const MAX_ENTRY_NAME: usize = 128;

/// Characters in a name that a node claims at most.
pub const MAX_CLAIM_NAME: usize = 63;

/// How long a record may live at most, from when it is stored.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// How far the clocks of two nodes may differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Seconds since the beginning of 1970 (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Seconds(pub u64);

impl Seconds {
    /// So much later, in whole seconds.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Seconds(self.0.saturating_add(duration.as_secs()))
    }
}

/// A record, as it is stored and sent. Its sizes hold; whether it proves itself says [`Record::verify`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Record(Kind);

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
enum Kind {
    Value { expires: Seconds, value: Bytes },
    Signed { content: Content, signature: Bytes },
}

/// What is signed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
struct Content {
    scope: Scope,
    writer: PeerKey,
    name: String,
    sequence: u64,
    expires: Seconds,
    value: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
enum Scope {
    /// The writer's own.
    Entry,
    /// The ring's. `since`: when the writer claimed the name first.
    Claim { since: Seconds },
}

/// A record that is not one, or not of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RecordError {
    /// A value over [`MAX_VALUE`].
    #[error("a value has at most {MAX_VALUE} bytes")]
    ValueSize,
    /// A name that is none.
    #[error("a name is 1 to {MAX_CLAIM_NAME} of a-z 0-9 . _ - and that of an entry 1 to {MAX_ENTRY_NAME} bytes")]
    Name,
    /// The signature is somebody else's, or over something else.
    #[error("the signature does not match the record")]
    Signature,
    /// Its time is over.
    #[error("the record has expired; is the clock right?")]
    Expired,
    /// It would live longer than [`MAX_TTL`], or begins in the future.
    #[error("the record lives for more than {} h or is of the future; is the clock right?", MAX_TTL.as_secs() / 3600)]
    TooLong,
}

impl Record {
    /// A value that never changes.
    pub fn value_of(value: impl Into<Bytes>, expires: Seconds) -> Result<Self, RecordError> {
        Record(Kind::Value { expires, value: value.into() }).sized()
    }

    /// An entry of the holder of `identity`; without a value it deletes what was there. The larger `sequence` counts: microseconds since 1970
    /// will do where nothing else is at hand.
    pub fn entry(
        identity: &Identity,
        name: impl Into<String>,
        sequence: u64,
        expires: Seconds,
        value: Option<Bytes>,
    ) -> Result<Self, RecordError> {
        Self::signed(identity, Scope::Entry, name.into(), sequence, expires, value)
    }

    /// A claim of a name by the holder of `identity`, since `since`; when `released`, its end.
    pub fn claim(
        identity: &Identity,
        name: impl Into<String>,
        since: Seconds,
        sequence: u64,
        expires: Seconds,
        released: bool,
    ) -> Result<Self, RecordError> {
        let value = (!released).then(Bytes::new);
        Self::signed(identity, Scope::Claim { since }, name.into(), sequence, expires, value)
    }

    fn signed(
        identity: &Identity,
        scope: Scope,
        name: String,
        sequence: u64,
        expires: Seconds,
        value: Option<Bytes>,
    ) -> Result<Self, RecordError> {
        let content = Content { scope, writer: identity.public(), name, sequence, expires, value };
        let signature = identity.sign(Purpose::Record, &encoded(&content));
        Record(Kind::Signed { content, signature: Bytes::copy_from_slice(&signature) }).sized()
    }

    /// Under which key it is stored.
    pub fn key(&self) -> Key {
        match &self.0 {
            Kind::Value { value, .. } => Key::of_value(value),
            Kind::Signed { content, .. } => match content.scope {
                Scope::Entry => Key::Entry { writer: content.writer, name: content.name.clone() },
                Scope::Claim { .. } => Key::Name(content.name.clone()),
            },
        }
    }

    /// What it holds; nothing where it deletes.
    pub fn value(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Value { value, .. } => Some(value),
            Kind::Signed { content, .. } => content.value.as_ref(),
        }
    }

    /// Who wrote it; a value is nobody's.
    pub fn writer(&self) -> Option<PeerKey> {
        match &self.0 {
            Kind::Value { .. } => None,
            Kind::Signed { content, .. } => Some(content.writer),
        }
    }

    /// The sequence number; that of a value is 0.
    pub fn sequence(&self) -> u64 {
        match &self.0 {
            Kind::Value { .. } => 0,
            Kind::Signed { content, .. } => content.sequence,
        }
    }

    /// When it ends.
    pub fn expires(&self) -> Seconds {
        match &self.0 {
            Kind::Value { expires, .. } => *expires,
            Kind::Signed { content, .. } => content.expires,
        }
    }

    /// Whether its time is not over yet.
    pub fn is_live(&self, now: Seconds) -> bool {
        self.expires() > now
    }

    /// Whether it proves itself, and is of now. Costs the check of a signature: look at what is cheap first.
    pub fn verify(&self, now: Seconds) -> Result<(), RecordError> {
        self.check_time(now)?;
        match &self.0 {
            Kind::Value { .. } => Ok(()),
            Kind::Signed { content, signature } => {
                let checked = content.writer.verify(Purpose::Record, &encoded(content), signature);
                checked.map_err(|_| RecordError::Signature)
            }
        }
    }

    /// Whether it ends neither before `now` nor too long after.
    pub fn check_time(&self, now: Seconds) -> Result<(), RecordError> {
        if !self.is_live(now) {
            return Err(RecordError::Expired);
        }
        let since = match &self.0 {
            Kind::Signed { content: Content { scope: Scope::Claim { since }, .. }, .. } => *since,
            _ => Seconds(0),
        };
        if self.expires() > now.after(MAX_TTL + CLOCK_SKEW) || since > now.after(CLOCK_SKEW) {
            return Err(RecordError::TooLong);
        }
        Ok(())
    }

    /// Whether its sizes are within their limits, as those of every record that was decoded.
    pub fn check_sizes(&self) -> Result<(), RecordError> {
        if self.value().is_some_and(|value| value.len() > MAX_VALUE) {
            return Err(RecordError::ValueSize);
        }
        match &self.0 {
            Kind::Signed { signature, .. } if signature.len() != SIGNATURE_BYTES => Err(RecordError::Signature),
            Kind::Signed { content, .. } => match content.scope {
                Scope::Entry if content.name.is_empty() || content.name.len() > MAX_ENTRY_NAME => {
                    Err(RecordError::Name)
                }
                Scope::Entry => Ok(()),
                Scope::Claim { .. } => check_claim_name(&content.name),
            },
            Kind::Value { .. } => Ok(()),
        }
    }

    /// Stands for this record and no other: equal where two nodes hold the same.
    pub fn version(&self) -> u64 {
        let digest = Sha256::digest(encoded(self));
        u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
    }

    /// Bytes that it counts for in quotas.
    pub fn cost(&self) -> usize {
        size_of::<Record>() + SIGNATURE_BYTES + self.name_bytes() + self.value().map_or(0, Bytes::len)
    }

    /// Bytes in its name; a value has none.
    pub(crate) fn name_bytes(&self) -> usize {
        match &self.0 {
            Kind::Signed { content, .. } => content.name.len(),
            Kind::Value { .. } => 0,
        }
    }

    fn sized(self) -> Result<Self, RecordError> {
        self.check_sizes().map(|()| self)
    }
}

fn encoded(what: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(what).expect("plain data always encodes")
}

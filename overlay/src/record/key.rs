//! Under which key a record is stored, and where on the ring that is.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{MAX_CLAIM_NAME, RecordError};
use crate::id::Id;
use crate::key::PeerKey;

/// What a record is stored under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// A value, by its SHA-256 hash.
    Value([u8; 32]),
    /// An entry, by its writer and its name.
    Entry {
        /// Who alone can write it.
        writer: PeerKey,
        /// Its name among those of the writer.
        name: String,
    },
    /// A claimed name, without the `@`.
    Name(String),
}

/// A key among those at one point of the ring: the first 16 bytes of a SHA-256 hash of all of it.
///
/// 48 bits can be ground by an attacker, so two keys may stand at one point; two of one slot cannot be made.
pub type Slot = [u8; 16];

impl Key {
    /// The key of a value.
    pub fn of_value(value: &[u8]) -> Self {
        Key::Value(Sha256::digest(value).into())
    }

    /// The point of the ring whose owner stores it.
    pub fn point(&self) -> Id {
        Id::hash(self.bytes())
    }

    /// Which of the keys at its point it is.
    pub fn slot(&self) -> Slot {
        let digest = Sha256::digest(self.bytes());
        std::array::from_fn(|at| digest[at])
    }

    /// Each kind has a prefix of its own, so that no key of one kind is that of another.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Key::Value(digest) => [b"atoll value 1\0", &digest[..]].concat(),
            Key::Entry { writer, name } => [b"atoll entry 1\0", &writer.to_spki_der()[..], name.as_bytes()].concat(),
            Key::Name(name) => [b"atoll name 1\0", name.as_bytes()].concat(),
        }
    }
}

/// Whether this can be claimed: 1 to [`MAX_CLAIM_NAME`] of `a-z 0-9 . _ -`, so that no two look alike.
pub fn check_claim_name(name: &str) -> Result<(), RecordError> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    match (1..=MAX_CLAIM_NAME).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(RecordError::Name),
    }
}

/// Where a record stands: its point, and its slot there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The point of the ring.
    pub point: Id,
    /// Which of the keys at that point.
    pub slot: Slot,
}

impl Place {
    /// Where a record under this key stands.
    pub fn of(key: &Key) -> Self {
        Place { point: key.point(), slot: key.slot() }
    }
}

//! Under which key a record is stored, and where on the ring that is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{MAX_CLAIM_NAME, RecordError};
use crate::id::Id;
use crate::key::{PeerKey, hex, unhex};

/// What a record is stored under. As text: 64 hexadecimal digits; the writer's key in hexadecimal digits, a slash and the name; `@` and the name.
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

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Value(hash) => f.write_str(&hex(hash)),
            Key::Entry { writer, name } => write!(f, "{}/{name}", hex(&writer.to_spki_der())),
            Key::Name(name) => write!(f, "@{name}"),
        }
    }
}

/// A text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key is 64 hexadecimal digits, or a node's key and the name of an entry with a slash between, or @ and a name"
)]
pub struct KeyError;

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = match text.split_once('/') {
            Some((writer, name)) => {
                let writer = unhex(writer).and_then(|der| PeerKey::from_spki_der(&der).ok());
                writer.filter(|_| !name.is_empty()).map(|writer| Key::Entry { writer, name: name.to_owned() })
            }
            None => match text.strip_prefix('@') {
                Some(name) => check_claim_name(name).ok().map(|()| Key::Name(name.to_owned())),
                None => unhex(text).and_then(|hash| hash.try_into().ok()).map(Key::Value),
            },
        };
        key.ok_or(KeyError)
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

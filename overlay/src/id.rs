//! Where a node stands on the ring: 48-bit ids, the arcs between them and their distances.
//!
//! The ring is the integers modulo 2^48. *Clockwise* is the direction of growing ids. A node owns the arc
//! `(predecessor, self]` (Stoica et al., "Chord", SIGCOMM 2001).

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha1::{Digest, Sha1};

/// A position on the ring: 48 bits, written as 12 hexadecimal digits.
///
/// The id of a node is the hash of its public key ([`crate::key::PeerKey::id`]); the id of anything else is a key that some
/// node owns. 48 bits can be ground by an attacker: an id is a route, never proof of who someone is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id(u64);

impl Id {
    /// Bits in an id, and rows in a full finger table.
    pub const BITS: u32 = 48;
    /// Bytes in an id on the wire.
    pub const BYTES: usize = 6;
    /// The largest id, 2^48 - 1.
    pub const MAX: Id = Id(Self::MASK);

    const MASK: u64 = (1 << Self::BITS) - 1;

    /// The id with this number, taken modulo 2^48.
    pub const fn new(number: u64) -> Self {
        Id(number & Self::MASK)
    }

    /// The first 6 bytes of the SHA-1 hash of `bytes`.
    pub fn hash(bytes: impl AsRef<[u8]>) -> Self {
        let digest = Sha1::digest(bytes.as_ref());
        Self::from_bytes(std::array::from_fn(|i| digest[i]))
    }

    /// An id drawn uniformly from the whole ring.
    pub fn random(rng: &mut impl Rng) -> Self {
        Id::new(rng.random())
    }

    /// The id as a number below 2^48.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id from its 6 bytes, most significant first.
    pub const fn from_bytes(b: [u8; Self::BYTES]) -> Self {
        Id(u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]))
    }

    /// The id as 6 bytes, most significant first.
    pub const fn to_bytes(self) -> [u8; Self::BYTES] {
        let b = self.0.to_be_bytes();
        [b[2], b[3], b[4], b[5], b[6], b[7]]
    }

    /// The id `distance` further clockwise.
    pub const fn plus(self, distance: u64) -> Self {
        Id::new(self.0.wrapping_add(distance))
    }

    /// The id `distance` further counter-clockwise.
    pub const fn minus(self, distance: u64) -> Self {
        Id::new(self.0.wrapping_sub(distance))
    }

    /// How far `to` lies clockwise of `self`: 0 to 2^48 - 1.
    pub const fn clockwise_to(self, to: Id) -> u64 {
        to.0.wrapping_sub(self.0) & Self::MASK
    }

    /// The distance to `other` the shorter way round: 0 to 2^47.
    pub const fn distance(self, other: Id) -> u64 {
        let clockwise = self.clockwise_to(other);
        let counter = other.clockwise_to(self);
        if clockwise < counter { clockwise } else { counter }
    }

    /// Whether `self` lies in the open arc `(from, to)`, clockwise. The arc `(x, x)` is the whole ring but `x`.
    pub const fn is_between(self, from: Id, to: Id) -> bool {
        let here = from.clockwise_to(self);
        let end = from.clockwise_to(to);
        here != 0 && (end == 0 || here < end)
    }

    /// Whether `self` lies in the half-open arc `(from, to]`, clockwise: whether `to`, whose predecessor is `from`, owns it.
    /// The arc `(x, x]` is the whole ring.
    pub const fn is_in_arc(self, from: Id, to: Id) -> bool {
        self.0 == to.0 || self.is_between(from, to)
    }

    /// The row of the finger table of `self` in whose arc `[self + 2^row, self + 2^(row + 1))` `other` lies; `None` for `self`.
    pub const fn row_of(self, other: Id) -> Option<u32> {
        self.clockwise_to(other).checked_ilog2()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is 12 hexadecimal digits, such as 00f3a1b2c4d5; this has {0}")]
pub struct ParseIdError(String);

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if let Some(other) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(ParseIdError(format!("the character '{}'", other.escape_debug())));
        }
        if text.len() != Self::BYTES * 2 {
            return Err(ParseIdError(format!("{} digits", text.len())));
        }
        let number = u64::from_str_radix(text, 16).map_err(|e| ParseIdError(e.to_string()))?;
        Ok(Id(number))
    }
}

/// In JSON and TOML an id is its 12 digits, in a binary format its 6 bytes.
impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; Self::BYTES]>::deserialize(deserializer).map(Id::from_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = Id> {
        any::<u64>().prop_map(Id::new)
    }

    #[test]
    fn the_hash_is_the_first_six_bytes_of_sha1() {
        // SHA-1("abc") = a9993e364706816aba3e25717850c26c9cd0d89d (FIPS 180-4, example)
        assert_eq!(Id::hash("abc").to_string(), "a9993e364706");
    }

    #[test]
    fn only_twelve_hexadecimal_digits_are_an_id() {
        for bad in ["", "abc", "00f3a1b2c4d5e", "00f3a1b2c4dg", "+0f3a1b2c4d5", "00f3a1b2c4dé"] {
            assert!(bad.parse::<Id>().is_err(), "{bad:?} was taken for an id");
        }
        assert_eq!("00F3a1b2c4d5".parse(), Ok(Id::new(0x00f3_a1b2_c4d5)));
    }

    #[test]
    fn the_arc_of_a_lone_node_is_the_whole_ring() {
        let (a, b) = (Id::new(5), Id::new(9));
        assert!(b.is_in_arc(a, a) && a.is_in_arc(a, a));
        assert!(b.is_between(a, a) && !a.is_between(a, a));
    }

    proptest! {
        #[test]
        fn bytes_text_and_json_give_the_id_back(a in id()) {
            prop_assert_eq!(Id::from_bytes(a.to_bytes()), a);
            prop_assert_eq!(a.to_string().parse::<Id>().unwrap(), a);
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Id>(&json).unwrap(), a);
            let bytes = postcard::to_allocvec(&a).unwrap();
            prop_assert_eq!(bytes.len(), Id::BYTES);
            prop_assert_eq!(postcard::from_bytes::<Id>(&bytes).unwrap(), a);
        }

        #[test]
        fn every_key_has_one_owner_of_two(a in id(), b in id(), key in id()) {
            prop_assume!(a != b);
            prop_assert!(key.is_in_arc(a, b) ^ key.is_in_arc(b, a));
        }

        #[test]
        fn distances_are_symmetric_and_at_most_half_the_ring(a in id(), b in id()) {
            prop_assert_eq!(a.distance(b), b.distance(a));
            prop_assert!(a.distance(b) <= 1 << 47);
            prop_assert_eq!(a.plus(a.clockwise_to(b)), b);
            prop_assert_eq!(a.minus(b.clockwise_to(a)), b);
        }

        #[test]
        fn a_row_is_the_power_of_two_below_the_distance(a in id(), b in id()) {
            prop_assume!(a != b);
            let row = a.row_of(b).unwrap();
            prop_assert!(b == a.plus(1 << row) || b.is_between(a.plus(1 << row), a.plus(2 << row)), "row {}", row);
        }
    }
}

//! The bodies of frames that store, find and copy records.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::DecodeError;
use crate::id::Id;
use crate::record::{Place, Record, RecordError, Slot};

/// Parts of an arc that are compared by one frame at most.
pub const MAX_PARTS: usize = 16;

/// Records that are named by one frame at most.
pub const MAX_LISTED: usize = 256;

/// Bytes of a message in one part of a [`Parcel`] at most: a frame, and what goes around it.
pub const PART_BYTES: usize = 15 * 1024;

/// Parts of a parcel at most: a record with the largest value needs all of them.
pub const MAX_PARCEL_PARTS: u8 = 5;

/// A request to the owner of the point that the frame is addressed to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Store {
    /// Drawn at random, and given back in the answer.
    pub request: u32,
    /// What to do.
    pub ask: Ask,
}

impl Store {
    pub(super) fn record(&self) -> Option<&Record> {
        if let Ask::Put(record) = &self.ask { Some(record) } else { None }
    }
}

/// What to do with the store.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Keep this record.
    Put(Record),
    /// Give the record in this slot of the point.
    Get(Slot),
}

/// The answer to [`Store`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The number of the request.
    pub request: u32,
    /// How it went.
    pub outcome: Outcome,
}

impl Stored {
    pub(super) fn record(&self) -> Option<&Record> {
        if let Outcome::Found(record) = &self.outcome { Some(record) } else { None }
    }
}

/// How a request went.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The record is kept by so many nodes, the owner among them.
    Kept(u8),
    /// The record.
    Found(Record),
    /// There is none.
    Absent,
    /// It is not kept.
    Refused(StoreRefusal),
}

/// Why a record is not kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StoreRefusal {
    /// The node has not heard yet what is stored in its arc. Ask again soon.
    #[error("the owner of the key is still taking over its arc")]
    NotReady,
    /// It is no valid record.
    #[error("{0}")]
    Invalid(RecordError),
    /// It belongs to another point of the ring.
    #[error("the record belongs elsewhere on the ring")]
    Misplaced,
    /// One with a larger sequence number is stored.
    #[error("a newer record is stored")]
    Older,
    /// The name is held by somebody else.
    #[error("the name is held by another node")]
    Taken,
    /// The node is at its limit.
    #[error("the owner of the key stores as much as it may")]
    Full,
    /// The writer is at its limit.
    #[error("the owner of the key stores as much of this writer as it may")]
    WriterFull,
    /// Too many writes are under way.
    #[error("too many writes at once at the owner of the key")]
    Busy,
    /// The arc of the ring is at its limit.
    #[error("as much as may be is stored around this point of the ring")]
    ArcFull,
    /// The disk of the node fails.
    #[error("the owner of the key cannot write to its disk")]
    Disk,
}

/// What the nodes that keep one arc's records tell each other. An arc is `(from, to]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Replicate {
    /// Keep this record as well. With a number other than 0, say whether you do.
    Copy {
        /// Given back in the answer.
        request: u32,
        /// The record.
        record: Record,
    },
    /// The answer to `Copy`.
    Copied {
        /// The number of the copy.
        request: u32,
        /// Whether the node that answers keeps this very record now.
        kept: bool,
    },
    /// Send me the records of an arc that I own from now on.
    Pull {
        /// Given back in the answer.
        request: u32,
        /// Where the arc begins.
        from: Id,
        /// Where it ends.
        to: Id,
        /// Go on after this record.
        after: Option<Place>,
    },
    /// The answer to `Pull`: as many as fit.
    Pulled {
        /// The number of the request.
        request: u32,
        /// Whether the sender knows all that is stored in the arc.
        ready: bool,
        /// In the order of their places.
        records: Vec<Record>,
        /// Ask again after this one: there are more.
        next: Option<Place>,
    },
    /// What the sender keeps of an arc, in parts, to be compared.
    Compare {
        /// Where the first part begins. Each begins where the one before it ends.
        from: Id,
        /// At most [`MAX_PARTS`].
        parts: Vec<Part>,
    },
    /// Everything that the sender keeps of an arc.
    List {
        /// Where the arc begins.
        from: Id,
        /// Where it ends.
        to: Id,
        /// At most [`MAX_LISTED`].
        entries: Vec<Listed>,
        /// Whether the sender has room for more.
        room: bool,
    },
    /// Records that the sender keeps, and of which it has not heard from their owner. Goes to the owner of one of them.
    Offer {
        /// Given back in the answer.
        request: u32,
        /// At most [`MAX_LISTED`].
        entries: Vec<Listed>,
    },
    /// Send me these. In the answer to an offer: I keep the others that were offered, in the arc that I own.
    Want {
        /// The number of the offer; 0 where this answers a list.
        request: u32,
        /// At most [`MAX_LISTED`].
        places: Vec<Place>,
        /// The arc that the sender owns, in the answer to an offer.
        owned: Option<(Id, Id)>,
    },
}

impl Replicate {
    pub(super) fn records(&self) -> &[Record] {
        match self {
            Replicate::Copy { record, .. } => std::slice::from_ref(record),
            Replicate::Pulled { records, .. } => records,
            _ => &[],
        }
    }
}

/// A message of the store that is larger than a frame travels in parts, each a frame of its own.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Parcel {
    /// A part. Its place in the message is `part` times [`PART_BYTES`]; all but the last are that long.
    Part {
        /// Drawn at random by the sender.
        number: u32,
        /// The kind of the message.
        of: u8,
        /// Which part it is, from 0.
        part: u8,
        /// How many there are: 1 to [`MAX_PARCEL_PARTS`].
        parts: u8,
        /// The bytes.
        bytes: Bytes,
    },
    /// What has come of a parcel: said when it is whole, and when its last part came before another.
    Have {
        /// The number of the parcel.
        number: u32,
        /// A bit for each part, the lowest for the first.
        have: u8,
    },
}

/// A part of an arc.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Where it ends.
    pub to: Id,
    /// Records in it.
    pub count: u32,
    /// Their versions, added up by exclusive or.
    pub digest: u64,
}

/// A record, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Where it stands.
    pub place: Place,
    /// Which it is: [`Record::version`].
    pub version: u64,
}

pub(super) fn check_store(store: &Store) -> Result<(), DecodeError> {
    if let Ask::Put(record) = &store.ask { check_record(record) } else { Ok(()) }
}

pub(super) fn check_stored(stored: &Stored) -> Result<(), DecodeError> {
    if let Outcome::Found(record) = &stored.outcome { check_record(record) } else { Ok(()) }
}

pub(super) fn check_replicate(replicate: &Replicate) -> Result<(), DecodeError> {
    let within = |length: usize, most: usize| if length > most { Err(DecodeError::Body) } else { Ok(()) };
    match replicate {
        Replicate::Copy { record, .. } => check_record(record),
        Replicate::Pulled { records, .. } => records.iter().try_for_each(check_record),
        Replicate::Compare { parts, .. } => within(parts.len(), MAX_PARTS),
        Replicate::List { entries, .. } | Replicate::Offer { entries, .. } => within(entries.len(), MAX_LISTED),
        Replicate::Want { places, .. } => within(places.len(), MAX_LISTED),
        Replicate::Copied { .. } | Replicate::Pull { .. } => Ok(()),
    }
}

pub(super) fn check_parcel(parcel: &Parcel) -> Result<(), DecodeError> {
    let Parcel::Part { part, parts, bytes, .. } = parcel else { return Ok(()) };
    let last = u16::from(*part) + 1 == u16::from(*parts);
    let length = if last { 1..=PART_BYTES } else { PART_BYTES..=PART_BYTES };
    match (1..=MAX_PARCEL_PARTS).contains(parts) && part < parts && length.contains(&bytes.len()) {
        true => Ok(()),
        false => Err(DecodeError::Body),
    }
}

fn check_record(record: &Record) -> Result<(), DecodeError> {
    record.check_sizes().map_err(|_| DecodeError::Body)
}

/// Bytes of a record on the wire.
pub fn record_bytes(record: &Record) -> usize {
    // Numbers, lengths and the key take less than this.
    const REST: usize = 224;
    REST + record.name_bytes() + record.value().map_or(0, Bytes::len)
}

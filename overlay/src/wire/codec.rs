//! Frames to bytes and back.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::channel::check_tree;
use super::envelope::Envelope;
use super::message::{Message, Neighbours, Step, kind};
use super::store::record_bytes;
use super::store::{check_parcel, check_replicate, check_store, check_stored};
use super::{Header, MAX_ALTERNATIVES, MAX_DESCRIPTION, MAX_FRAME, MAX_NEIGHBOURS, MAX_TRACE, Trace};
use crate::record::Record;

/// A frame: a header and a body.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    /// Who sends it to whom.
    pub header: Header,
    /// What it says.
    pub message: Message,
}

/// What a link carried is not a frame. The link is closed with this as the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than its header or its body says.
    #[error("truncated frame")]
    Truncated,
    /// Longer than [`MAX_FRAME`].
    #[error("frame over the limit of {MAX_FRAME} bytes")]
    TooLong,
    /// There is no version 0.
    #[error("frame of no version")]
    Version,
    /// A trail that is empty or too long.
    #[error("malformed trail")]
    Trail,
    /// The body is not what the kind says, or a list in it is too long.
    #[error("malformed body")]
    Body,
}

impl DecodeError {
    /// One word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            DecodeError::Truncated => "truncated",
            DecodeError::TooLong => "too_long",
            DecodeError::Version => "version",
            DecodeError::Trail => "trail",
            DecodeError::Body => "body",
        }
    }
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(128);
        debug_assert_eq!(self.header.kind, self.message.kind(), "the header says what the body is");
        self.header.encode(&mut out);
        match &self.message {
            Message::Ping | Message::Pong | Message::AskRing | Message::Close => {}
            Message::Neighbours(body) => put(&mut out, body),
            Message::Ring(body) | Message::Leave(body) => put(&mut out, body),
            Message::Tree(body) => put(&mut out, body),
            Message::Envelope(body) => out.put_slice(body.bytes()),
            Message::Find(body) => put(&mut out, body),
            Message::Found(body) => put(&mut out, body),
            Message::Dial(body) => put(&mut out, body),
            Message::Unreachable(body) => put(&mut out, body),
            Message::Trace(body) | Message::Traced(body) => put(&mut out, body),
            Message::Store(body) => put(&mut out, body),
            Message::Stored(body) => put(&mut out, body),
            Message::Replicate(body) => put(&mut out, body),
            Message::Parcel(body) => put(&mut out, body),
            Message::Datagram(body) | Message::Unknown { body, .. } => out.put_slice(body),
        }
        out
    }

    /// Reads a whole frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        if frame.len() > MAX_FRAME {
            return Err(DecodeError::TooLong);
        }
        let (header, length) = Header::decode(&frame)?;
        let message = decode_body(header.kind, frame.slice(length..))?;
        Ok(Frame { header, message })
    }
}

impl Message {
    /// Reads the body of a message of the store, put together from its parts; `None` for another kind.
    pub(crate) fn from_parts(kind: u8, body: Bytes) -> Option<Result<Self, DecodeError>> {
        matches!(kind, kind::STORE | kind::STORED | kind::REPLICATE).then(|| decode_body(kind, body))
    }

    /// The bytes of a message of the store, where they are more than one frame takes.
    pub(crate) fn beyond_a_frame(&self) -> Option<Bytes> {
        let body = match self {
            Message::Store(body) if body.record().is_some_and(is_large) => postcard::to_allocvec(body),
            Message::Stored(body) if body.record().is_some_and(is_large) => postcard::to_allocvec(body),
            Message::Replicate(body) if body.records().iter().map(record_bytes).sum::<usize>() > IN_A_FRAME => {
                postcard::to_allocvec(body)
            }
            _ => return None,
        };
        Some(body.expect("plain data always encodes").into())
    }
}

/// Bytes of records that a frame takes in any case, whatever else is in it.
const IN_A_FRAME: usize = super::MAX_DATAGRAM - 128;

fn is_large(record: &Record) -> bool {
    record_bytes(record) > IN_A_FRAME
}

/// Reads the body of a frame of this kind. Bytes behind what this version knows are left to later versions.
fn decode_body(kind: u8, body: Bytes) -> Result<Message, DecodeError> {
    let message = match kind {
        kind::PING => Message::Ping,
        kind::PONG => Message::Pong,
        kind::NEIGHBOURS => {
            let list: Neighbours = take(&body)?;
            at_most(list.ids.len(), MAX_NEIGHBOURS)?;
            Message::Neighbours(list)
        }
        kind::ASK_RING => Message::AskRing,
        kind::RING => Message::Ring(take(&body)?),
        kind::LEAVE => Message::Leave(take(&body)?),
        kind::CLOSE => Message::Close,
        kind::TREE => {
            let tree = take(&body)?;
            check_tree(&tree)?;
            Message::Tree(Box::new(tree))
        }
        kind::ENVELOPE => Message::Envelope(Arc::new(Envelope::decode(body)?)),
        kind::FIND => Message::Find(take(&body)?),
        kind::FOUND => Message::Found(take(&body)?),
        kind::DIAL => {
            let dial: super::Dial = take(&body)?;
            match &dial.step {
                Step::Refuse { alternatives, .. } => at_most(alternatives.len(), MAX_ALTERNATIVES)?,
                Step::Describe(description) => at_most(description.len(), MAX_DESCRIPTION)?,
                Step::Request { .. } | Step::Seek { .. } => {}
            }
            Message::Dial(dial)
        }
        kind::UNREACHABLE => Message::Unreachable(take(&body)?),
        kind::TRACE => Message::Trace(take_trace(&body)?),
        kind::TRACED => Message::Traced(take_trace(&body)?),
        kind::STORE => {
            let request = take(&body)?;
            check_store(&request)?;
            Message::Store(Box::new(request))
        }
        kind::STORED => {
            let answer = take(&body)?;
            check_stored(&answer)?;
            Message::Stored(Box::new(answer))
        }
        kind::REPLICATE => {
            let replicate = take(&body)?;
            check_replicate(&replicate)?;
            Message::Replicate(Box::new(replicate))
        }
        kind::PARCEL => {
            let parcel = take(&body)?;
            check_parcel(&parcel)?;
            Message::Parcel(Box::new(parcel))
        }
        kind::DATAGRAM => Message::Datagram(body),
        _ => Message::Unknown { kind, body },
    };
    Ok(message)
}

fn put(out: &mut BytesMut, body: &impl Serialize) {
    let bytes = postcard::to_allocvec(body).expect("plain data always encodes");
    out.put_slice(&bytes);
}

/// A body is at most a frame long, and postcard allocates no more than the input can hold: both bound the memory used.
fn take<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    postcard::take_from_bytes(body).map(|(value, _)| value).map_err(|_| DecodeError::Body)
}

fn take_trace(body: &[u8]) -> Result<Trace, DecodeError> {
    let trace: Trace = take(body)?;
    at_most(trace.hops.len(), MAX_TRACE)?;
    Ok(trace)
}

fn at_most(length: usize, limit: usize) -> Result<(), DecodeError> {
    if length > limit { Err(DecodeError::Body) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{
        Ask, ChannelId, Dial, Flags, Found, Head, Join, JoinRefusal, Label, Listed, MAX_HEADS, MAX_LISTED,
        MAX_PARCEL_PARTS, MAX_PARTS, MAX_PATH, MAX_PREDECESSORS, MAX_RANGES, MAX_SUCCESSORS, Outcome, PART_BYTES,
        Parcel, Part, Proof, Published, Purpose, Refusal, Replicate, RingView, Role, Store, StoreRefusal, Stored,
        Terms, Tree, Unreachable, Via,
    };
    use super::*;
    use crate::id::Id;
    use crate::key::Identity;
    use crate::record::{Place, Record, RecordError, Seconds};

    fn id() -> impl Strategy<Value = Id> {
        any::<u64>().prop_map(Id::new)
    }

    fn ids(most: usize) -> impl Strategy<Value = Vec<Id>> {
        prop::collection::vec(id(), 0..=most)
    }

    fn view() -> impl Strategy<Value = RingView> {
        (any::<bool>(), ids(MAX_PREDECESSORS), ids(MAX_SUCCESSORS)).prop_map(|(member, predecessors, successors)| {
            RingView {
                member,
                predecessors: predecessors.into_iter().collect(),
                successors: successors.into_iter().collect(),
            }
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Request { role: Role::Leaf, purpose: Purpose::Leaf }),
            ids(MAX_ALTERNATIVES).prop_map(|alternatives| Step::Refuse { reason: Refusal::Full, alternatives }),
            ".{0,300}".prop_map(Step::Describe),
        ]
    }

    fn a_record() -> impl Strategy<Value = Record> {
        // More goes in parts.
        let value = prop::collection::vec(any::<u8>(), 0..=PART_BYTES - 300);
        let identity = Identity::generate();
        (any::<bool>(), any::<u64>(), "[a-z]{1,63}", value).prop_map(move |(signed, number, name, value)| {
            let record = match signed {
                true => Record::entry(&identity, name, number, Seconds(number), Some(value.into())),
                false => Record::value_of(value, Seconds(number)),
            };
            record.expect("within its sizes")
        })
    }

    fn place() -> impl Strategy<Value = Place> {
        (id(), any::<[u8; 16]>()).prop_map(|(point, slot)| Place { point, slot })
    }

    fn listed() -> impl Strategy<Value = Vec<Listed>> {
        let one = (place(), any::<u64>()).prop_map(|(place, version)| Listed { place, version });
        prop::collection::vec(one, 0..=MAX_LISTED)
    }

    fn ask() -> impl Strategy<Value = Ask> {
        prop_oneof![a_record().prop_map(Ask::Put), any::<[u8; 16]>().prop_map(Ask::Get)]
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            any::<u8>().prop_map(Outcome::Kept),
            a_record().prop_map(Outcome::Found),
            Just(Outcome::Absent),
            Just(Outcome::Refused(StoreRefusal::Invalid(RecordError::Signature))),
        ]
    }

    fn replicate() -> impl Strategy<Value = Replicate> {
        let part = (id(), any::<u32>(), any::<u64>()).prop_map(|(to, count, digest)| Part { to, count, digest });
        let places = prop::collection::vec(place(), 0..=MAX_LISTED);
        prop_oneof![
            (any::<u32>(), a_record()).prop_map(|(request, record)| Replicate::Copy { request, record }),
            (any::<u32>(), any::<bool>()).prop_map(|(request, kept)| Replicate::Copied { request, kept }),
            (any::<u32>(), id(), id(), prop::option::of(place()))
                .prop_map(|(request, from, to, after)| Replicate::Pull { request, from, to, after }),
            (any::<u32>(), any::<bool>(), a_record(), prop::option::of(place())).prop_map(
                |(request, ready, record, next)| Replicate::Pulled { request, ready, records: vec![record], next }
            ),
            (id(), prop::collection::vec(part, 0..=MAX_PARTS))
                .prop_map(|(from, parts)| Replicate::Compare { from, parts }),
            (id(), id(), listed(), any::<bool>()).prop_map(|(from, to, entries, room)| Replicate::List {
                from,
                to,
                entries,
                room
            }),
            (any::<u32>(), listed()).prop_map(|(request, entries)| Replicate::Offer { request, entries }),
            (any::<u32>(), places, prop::option::of((id(), id())))
                .prop_map(|(request, places, owned)| Replicate::Want { request, places, owned }),
        ]
    }

    fn parcel() -> impl Strategy<Value = Parcel> {
        let bytes = prop::collection::vec(any::<u8>(), 1..=PART_BYTES);
        prop_oneof![
            (any::<u32>(), any::<u8>(), 0..MAX_PARCEL_PARTS, bytes).prop_map(|(number, of, part, bytes)| {
                Parcel::Part { number, of, part, parts: part + 1, bytes: bytes.into() }
            }),
            (any::<u32>(), any::<u8>()).prop_map(|(number, have)| Parcel::Have { number, have }),
        ]
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let gate = Identity::generate();
        let channel = any::<[u8; 16]>().prop_map(ChannelId);
        let range = (any::<u64>(), any::<u64>());
        let head = (id(), any::<u64>(), any::<u64>(), prop::collection::vec(range, 0..=MAX_RANGES))
            .prop_map(|(publisher, stream, upper, ranges)| Head { publisher, stream, upper, ranges });
        prop_oneof![
            (".{0,20}", any::<bool>(), any::<u32>(), id()).prop_map(move |(name, private, attempt, member)| {
                let terms = Terms::new(&name, true, private.then_some(gate.public()));
                let proof = private.then(|| Proof::new(&gate, terms.id(), member, 1));
                Tree::Join(Join { terms, attempt, proof, lost: vec![member] })
            }),
            (channel.clone(), any::<u32>()).prop_map(|(channel, attempt)| Tree::Pending { channel, attempt }),
            (channel.clone(), any::<u32>())
                .prop_map(|(channel, attempt)| { Tree::Refused { channel, attempt, reason: JoinRefusal::Circle } }),
            (channel.clone(), any::<u32>(), ids(MAX_PATH)).prop_map(|(channel, attempt, path)| Tree::Beat {
                channel,
                attempt,
                path
            }),
            channel.clone().prop_map(|channel| Tree::Leave { channel }),
            (channel.clone(), any::<u32>()).prop_map(|(channel, attempt)| Tree::Drop { channel, attempt }),
            (channel.clone(), prop::collection::vec(head, 0..=MAX_HEADS), any::<bool>(), any::<bool>())
                .prop_map(|(channel, heads, more, ask)| Tree::Have { channel, heads, more, ask }),
            (channel, any::<u64>(), any::<u64>()).prop_map(|(channel, received, limit)| Tree::Credit {
                channel,
                received,
                limit
            }),
        ]
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let publisher = Identity::generate();
        let payload = prop::collection::vec(any::<u8>(), 0..500);
        (any::<bool>(), any::<u32>(), ".{0,30}", payload).prop_map(move |(signed, number, scope, payload)| {
            let channel = ChannelId([1; 16]);
            let label = Label { channel, stream: 1, sent: 2, first: number.into(), pass: None };
            Envelope::seal(&publisher, signed, label, &[Published { scope, payload: payload.into() }])
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let trace = || (any::<u32>(), ids(MAX_TRACE)).prop_map(|(request, hops)| Trace { request, hops });
        prop_oneof![
            Just(Message::Ping),
            Just(Message::Close),
            Just(Message::AskRing),
            (any::<bool>(), any::<u16>(), ids(MAX_NEIGHBOURS))
                .prop_map(|(member, room, ids)| Message::Neighbours(Neighbours { member, room, ids: ids.into() })),
            view().prop_map(|view| Message::Ring(view.into())),
            view().prop_map(|view| Message::Leave(view.into())),
            tree().prop_map(|tree| Message::Tree(Box::new(tree))),
            envelope().prop_map(|envelope| Message::Envelope(Arc::new(envelope))),
            any::<u32>().prop_map(Message::Find),
            (any::<u32>(), any::<u8>(), view()).prop_map(|(request, hops, view)| Message::Found(Found {
                request,
                hops,
                view: view.into()
            })),
            (any::<u32>(), step()).prop_map(|(attempt, step)| Message::Dial(Dial { attempt, step })),
            (id(), any::<bool>()).prop_map(|(peer, nobody)| Message::Unreachable(Unreachable { peer, nobody })),
            trace().prop_map(Message::Trace),
            trace().prop_map(Message::Traced),
            (any::<u32>(), ask()).prop_map(|(request, ask)| Message::Store(Box::new(Store { request, ask }))),
            (any::<u32>(), outcome())
                .prop_map(|(request, outcome)| Message::Stored(Box::new(Stored { request, outcome }))),
            replicate().prop_map(|replicate| Message::Replicate(Box::new(replicate))),
            parcel().prop_map(|parcel| Message::Parcel(Box::new(parcel))),
            prop::collection::vec(any::<u8>(), 0..2000).prop_map(|bytes| Message::Datagram(bytes.into())),
            prop::collection::vec(any::<u8>(), 0..200)
                .prop_map(|bytes| Message::Unknown { kind: 200, body: bytes.into() }),
        ]
    }

    prop_compose! {
        fn frame()(
            message in message(), dst in id(), src in id(), to in id(), answer in id(),
            with_via: bool, ttl: u8, report: bool, trail in ids(super::super::MAX_TRAIL),
        ) -> Frame {
            let flags = if report { Flags::REPORT } else { Flags::default() };
            let via = with_via.then_some(Via { to, answer });
            let header = Header { ttl, flags, via, trail, ..Header::new(message.kind(), src, dst) };
            Frame { header, message }
        }
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_wire_and_keeps_to_its_size(frame in frame()) {
            prop_assert!(frame.encode().len() <= MAX_FRAME, "{} bytes", frame.encode().len());
            prop_assert_eq!(Frame::decode(frame.encode().freeze()), Ok(frame));
        }

        #[test]
        fn a_truncated_frame_is_refused_or_shorter_but_never_a_panic(frame in frame(), keep in 0.0..1.0f64) {
            let bytes = frame.encode().freeze();
            let kept = (bytes.len() as f64 * keep) as usize;
            let _ = Frame::decode(bytes.slice(..kept));
            prop_assert!(Frame::decode(bytes.slice(..kept.min(21))).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::decode(bytes.into());
        }

        #[test]
        fn a_patched_header_reads_as_the_header_that_was_written(frame in frame(), ttl: u8, bound in id()) {
            let mut bytes = frame.encode();
            let header = Header { ttl, bound: bound.number(), ..frame.header.clone() };
            if header.patch(&mut bytes) {
                prop_assert_eq!(Frame::decode(bytes.freeze()), Ok(Frame { header, message: frame.message }));
            } else {
                prop_assert!(!frame.header.trail.is_empty());
            }
        }

        #[test]
        fn what_a_later_version_appends_to_a_body_is_ignored(frame in frame(), extra in prop::collection::vec(any::<u8>(), 1..9)) {
            let is_all_body = |message: &Message| matches!(message, Message::Datagram(_) | Message::Envelope(_) | Message::Unknown { .. });
            prop_assume!(!is_all_body(&frame.message));
            let mut bytes = frame.encode();
            bytes.extend_from_slice(&extra);
            prop_assert_eq!(Frame::decode(bytes.freeze()), Ok(frame));
        }
    }

    #[test]
    fn lists_over_their_limits_are_refused() {
        let (a, b) = (Id::new(1), Id::new(2));
        let list = Message::Neighbours(Neighbours { member: true, room: 1, ids: vec![a; MAX_NEIGHBOURS + 1].into() });
        let frame = Frame { header: Header::new(list.kind(), a, b), message: list };
        assert_eq!(Frame::decode(frame.encode().freeze()), Err(DecodeError::Body));
        assert_eq!(Frame::decode(vec![1; MAX_FRAME + 1].into()), Err(DecodeError::TooLong));
        let part = Part { to: a, count: 0, digest: 0 };
        let compare = Message::Replicate(Box::new(Replicate::Compare { from: a, parts: vec![part; MAX_PARTS + 1] }));
        let frame = Frame { header: Header::new(compare.kind(), a, b), message: compare };
        assert_eq!(Frame::decode(frame.encode().freeze()), Err(DecodeError::Body));
    }
}

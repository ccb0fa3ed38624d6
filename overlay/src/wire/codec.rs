//! Frames to bytes and back.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Found, Message, Neighbours, RingView, Step, kind};
use super::{Header, MAX_ALTERNATIVES, MAX_DESCRIPTION, MAX_FRAME, MAX_NEIGHBOURS, MAX_SUCCESSORS, MAX_TRACE, Trace};

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
            Message::Find(body) => put(&mut out, body),
            Message::Found(body) => put(&mut out, body),
            Message::Dial(body) => put(&mut out, body),
            Message::Unreachable(body) => put(&mut out, body),
            Message::Trace(body) | Message::Traced(body) => put(&mut out, body),
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
        kind::RING => Message::Ring(take_view(&body)?),
        kind::LEAVE => Message::Leave(take_view(&body)?),
        kind::CLOSE => Message::Close,
        kind::FIND => Message::Find(take(&body)?),
        kind::FOUND => {
            let found: Found = take(&body)?;
            check_view(&found.view)?;
            Message::Found(found)
        }
        kind::DIAL => {
            let dial: super::Dial = take(&body)?;
            match &dial.step {
                Step::Refuse { alternatives, .. } => at_most(alternatives.len(), MAX_ALTERNATIVES)?,
                Step::Describe(description) => at_most(description.len(), MAX_DESCRIPTION)?,
                Step::Request { .. } | Step::Seek { .. } | Step::Accept => {}
            }
            Message::Dial(dial)
        }
        kind::UNREACHABLE => Message::Unreachable(take(&body)?),
        kind::TRACE => Message::Trace(take_trace(&body)?),
        kind::TRACED => Message::Traced(take_trace(&body)?),
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

fn take_view(body: &[u8]) -> Result<Arc<RingView>, DecodeError> {
    let view: Arc<RingView> = take(body)?;
    check_view(&view)?;
    Ok(view)
}

fn take_trace(body: &[u8]) -> Result<Trace, DecodeError> {
    let trace: Trace = take(body)?;
    at_most(trace.hops.len(), MAX_TRACE)?;
    Ok(trace)
}

fn check_view(view: &RingView) -> Result<(), DecodeError> {
    at_most(view.predecessors.len(), 2)?;
    at_most(view.successors.len(), MAX_SUCCESSORS)
}

fn at_most(length: usize, limit: usize) -> Result<(), DecodeError> {
    if length > limit { Err(DecodeError::Body) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Dial, Flags, Purpose, Refusal, Role, Unreachable, Via};
    use super::*;
    use crate::id::Id;

    fn id() -> impl Strategy<Value = Id> {
        any::<u64>().prop_map(Id::new)
    }

    fn ids(most: usize) -> impl Strategy<Value = Vec<Id>> {
        prop::collection::vec(id(), 0..=most)
    }

    fn view() -> impl Strategy<Value = RingView> {
        (any::<bool>(), ids(2), ids(MAX_SUCCESSORS)).prop_map(|(member, predecessors, successors)| RingView {
            member,
            predecessors,
            successors,
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Request { role: Role::Leaf, purpose: Purpose::Leaf }),
            Just(Step::Accept),
            ids(MAX_ALTERNATIVES).prop_map(|alternatives| Step::Refuse { reason: Refusal::Full, alternatives }),
            ".{0,300}".prop_map(Step::Describe),
        ]
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
        fn a_frame_survives_the_wire(frame in frame()) {
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
            prop_assume!(!matches!(frame.message, Message::Datagram(_) | Message::Unknown { .. }));
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
    }
}

//! Bodies of every kind behind a proper header: lists within their limits, or refused.
//!
//! The input is one byte that picks the kind, and the body.
#![no_main]

use atoll::Id;
use atoll::wire::{
    Frame, Header, MAX_ALTERNATIVES, MAX_BATCH, MAX_DESCRIPTION, MAX_HEADS, MAX_LOST, MAX_NEIGHBOURS, MAX_PATH,
    MAX_RANGES, MAX_SUCCESSORS, MAX_TRACE, Message, Published, RingView, Step, Tree, kind,
};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

const KINDS: [u8; 20] = [
    kind::PING,
    kind::PONG,
    kind::NEIGHBOURS,
    kind::ASK_RING,
    kind::RING,
    kind::LEAVE,
    kind::CLOSE,
    kind::TREE,
    kind::ENVELOPE,
    kind::FIND,
    kind::FOUND,
    kind::DIAL,
    kind::UNREACHABLE,
    kind::TRACE,
    kind::TRACED,
    kind::STORE,
    kind::STORED,
    kind::REPLICATE,
    kind::PARCEL,
    kind::DATAGRAM,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, body)) = bytes.split_first() else { return };
    // What is over stands for the kinds that nobody has given a meaning yet.
    let kind = KINDS.get(usize::from(first)).copied().unwrap_or(first);
    let mut frame = BytesMut::new();
    Header::new(kind, Id::new(1), Id::new(2)).encode(&mut frame);
    frame.extend_from_slice(body);
    let Ok(frame) = Frame::decode(frame.freeze()) else { return };
    assert_eq!(frame.message.kind(), kind);
    check(&frame.message);
    assert_eq!(Frame::decode(frame.encode().freeze()), Ok(frame));
});

fn check(message: &Message) {
    match message {
        Message::Neighbours(list) => assert!(list.ids.len() <= MAX_NEIGHBOURS),
        Message::Ring(view) | Message::Leave(view) => check_view(view),
        Message::Found(found) => check_view(&found.view),
        Message::Trace(trace) | Message::Traced(trace) => assert!(trace.hops.len() <= MAX_TRACE),
        Message::Dial(dial) => match &dial.step {
            Step::Refuse { alternatives, .. } => assert!(alternatives.len() <= MAX_ALTERNATIVES),
            Step::Describe(description) => assert!(description.len() <= MAX_DESCRIPTION),
            Step::Request { .. } | Step::Seek { .. } => {}
        },
        Message::Envelope(envelope) => {
            assert!((1..=MAX_BATCH).contains(&envelope.messages().len()));
            assert!(envelope.messages().iter().all(Published::fits));
        }
        Message::Tree(tree) => match &**tree {
            Tree::Join(join) => assert!(join.lost.len() <= MAX_LOST),
            Tree::Beat { path, .. } => assert!(path.len() <= MAX_PATH),
            Tree::Have { heads, .. } => {
                assert!(heads.len() <= MAX_HEADS && heads.iter().all(|head| head.ranges.len() <= MAX_RANGES));
            }
            _ => {}
        },
        _ => {}
    }
}

fn check_view(view: &RingView) {
    assert!(view.predecessors.len() <= 2 && view.successors.len() <= MAX_SUCCESSORS);
}

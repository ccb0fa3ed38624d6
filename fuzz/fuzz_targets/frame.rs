//! Whole frames from hostile bytes: refused with a reason, or taken and given back unchanged; and patched as a hop does.
#![no_main]

use atoll::Id;
use atoll::wire::{Frame, Header, MAX_FRAME};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let decoded = Frame::decode(Bytes::copy_from_slice(bytes));
    let Ok((header, length)) = Header::decode(bytes) else {
        assert!(decoded.is_err(), "a frame without a header was taken");
        return;
    };
    assert!(length <= bytes.len(), "the header is longer than the frame");
    assert_eq!(Header::decode(&bytes[..length]), Ok((header.clone(), length)), "the header needs its body");

    // As a hop forwards it: by the header alone.
    let mut passed = BytesMut::from(bytes);
    let onward = Header { ttl: header.ttl.wrapping_sub(1), bound: Id::new(header.bound / 2).number(), ..header };
    if onward.patch(&mut passed) {
        assert_eq!(Header::decode(&passed), Ok((onward, length)));
        assert_eq!(passed[length..], bytes[length..], "the body was touched");
    } else {
        assert!(!onward.trail.is_empty());
    }

    if let Ok(frame) = decoded {
        assert_eq!(frame.header.kind, frame.message.kind());
        let again = frame.encode().freeze();
        assert!(again.len() <= bytes.len() && bytes.len() <= MAX_FRAME, "longer than it came");
        assert_eq!(Frame::decode(again), Ok(frame));
    }
});

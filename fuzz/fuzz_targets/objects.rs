//! The messages of objects: requests, results, errors, frames. What can be read can be written, and is then read the same.
//!
//! The input is one byte that picks what it is, and the body.
#![no_main]

use atoll::object::{
    Function, Handle, Kind, MAX_MESSAGE, Request, Value, ValueError, decode_error, decode_value, encode_error,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Without the feature `net` there are no functions: a message with one is refused where it stands.
fn take(_: Handle) -> Result<Function, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fn offer(_: &Function) -> Result<Handle, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&what, body)) = bytes.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    match what % 4 {
        0 => {
            let Ok((request, terms)) = Request::decode(&body, &mut take) else { return };
            if let Request::Call { arguments, .. } = &request {
                arguments.iter().for_each(check);
            }
            let again = request.encode(terms, &mut offer).expect("what was read can be written").freeze();
            let (read, _) = Request::decode(&again.slice(4..), &mut take).expect("what was written can be read");
            assert_eq!(read.encode(terms, &mut offer).expect("as before").freeze(), again);
        }
        1 => {
            let Ok(value) = decode_value(&body, &mut take) else { return };
            check(&value);
            let again = Kind::Value.encode_value(&value, &mut offer).expect("what was read can be written").freeze();
            // By bytes: a NaN does not equal itself.
            let read = decode_value(&again.slice(5..), &mut take).expect("what was written can be read");
            assert_eq!(Kind::Value.encode_value(&read, &mut offer).expect("as before").freeze(), again);
            let _ = Value::of(&value).expect("a value is one");
            let _ = value.at(text(&body)).map(check);
        }
        2 => {
            let Ok(error) = decode_error(&body, &mut take) else { return };
            let again = encode_error(&error, &mut offer).freeze();
            decode_error(&again.slice(5..), &mut take).expect("what was written can be read");
        }
        _ => {
            let Some(head) = body.first_chunk() else { return };
            if let Ok((_, length)) = Kind::decode(*head) {
                assert!(length <= MAX_MESSAGE);
            }
        }
    }
});

/// The end of the body as a path.
fn text(body: &Bytes) -> &str {
    let end = &body[body.len().saturating_sub(8)..];
    std::str::from_utf8(end).unwrap_or_default()
}

fn check(value: &Value) {
    assert_eq!(value.check(), Ok(()));
}

//! Values as payloads, so that a subscriber in another language gets what was published.
//!
//! A text goes as it is, in UTF-8; any other value as CBOR that describes itself (RFC 8949, section 3.4.6): it begins with three bytes
//! that no UTF-8 begins with.

use bytes::{Bytes, BytesMut};

use super::ChannelError;
use crate::object::{Value, ValueError, decode_plain, encode_plain};

/// The tag 55799, which says that CBOR follows.
const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// Why a value was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishValueError {
    /// The value cannot be a payload.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It was not published.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

pub(super) fn encode(value: &Value) -> Result<Bytes, ValueError> {
    match value {
        Value::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        other => encode_plain(other, BytesMut::from(&SELF_DESCRIBED[..])),
    }
}

/// Every payload stands for some value: what is no CBOR after all is bytes.
pub(super) fn decode(payload: &Bytes) -> Value {
    let described = payload.strip_prefix(&SELF_DESCRIBED).map(|value| payload.slice_ref(value));
    match described.map(|value| decode_plain(&value)) {
        Some(Ok(value)) => value,
        _ => match std::str::from_utf8(payload) {
            Ok(text) => text.into(),
            Err(_) => payload.clone().into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::object::{Failure, Function};

    #[test]
    fn every_value_comes_back_as_what_it_was() {
        let map =
            BTreeMap::from([("x".to_owned(), Value::from(1.5)), ("b".to_owned(), Bytes::from_static(b"hi").into())]);
        let values = [
            Value::Null,
            7.into(),
            "text".into(),
            "".into(),
            Bytes::from_static(b"text").into(),
            Value::Array(vec![Value::Map(map)]),
        ];
        for value in values {
            assert_eq!(decode(&encode(&value).unwrap()), value);
        }
        assert_eq!(encode(&"text".into()).unwrap(), "text");
    }

    #[test]
    fn what_was_published_as_bytes_is_a_text_or_bytes() {
        assert_eq!(decode(&"3:1".into()), "3:1".into());
        for bytes in [&[0xff, 0][..], &SELF_DESCRIBED, &[0xd9, 0xd9, 0xf7, 0x81], &[0xd9, 0xd9, 0xf7, 1, 2]] {
            let bytes = Bytes::copy_from_slice(bytes);
            assert_eq!(decode(&bytes), bytes.clone().into());
        }
    }

    #[test]
    fn a_function_is_not_published() {
        let function = Function::new(|_| async { Ok::<Value, Failure>(Value::Null) });
        assert!(matches!(encode(&Value::Array(vec![function.into()])), Err(ValueError::Type(_))));
    }
}

//! The codec on anything that can be sent, and on anything that can be received.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::codec::{Decoder, Encoder, Handle};
use super::value::Callable;
use super::*;

struct Nothing;

impl Callable for Nothing {}

fn no_function(_: &Function) -> Result<Handle, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fn no_handle(_: Handle) -> Result<Function, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fn encode(value: &Value) -> Result<Bytes, ValueError> {
    let mut offer = no_function;
    let mut encoder = Encoder::new(Default::default(), &mut offer);
    encoder.value(value)?;
    Ok(encoder.finish().freeze())
}

fn decode(bytes: &Bytes) -> Result<Value, ValueError> {
    let mut decoder = Decoder::new(bytes)?;
    let value = decoder.value(&mut no_handle)?;
    decoder.finish()?;
    Ok(value)
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("equals itself", |number| !number.is_nan()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..100).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(8, 200, 10, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..10).prop_map(Value::Array),
            btree_map(any::<String>(), inner, 0..10).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_as_it_went(value in values()) {
        let bytes = encode(&value).unwrap();
        prop_assert_eq!(decode(&bytes), Ok(value));
    }

    #[test]
    fn serde_takes_every_value_apart_and_puts_it_together(value in values()) {
        prop_assert_eq!(Value::of(&value), Ok(value.clone()));
        prop_assert_eq!(value.clone().to::<Value>(), Ok(value));
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(value) = decode(&bytes) {
            // A NaN does not equal itself, its bytes do.
            let again = encode(&value).unwrap();
            prop_assert_eq!(encode(&decode(&again).unwrap()), Ok(again));
        }
        let _ = Request::decode(&bytes, &mut no_handle);
        let _ = decode_error(&bytes, &mut no_handle);
    }

    #[test]
    fn a_value_that_is_cut_off_or_followed_is_refused(value in values(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&value).unwrap();
        prop_assert!(decode(&bytes.slice(..cut.index(bytes.len()))).is_err());
        prop_assert!(decode(&[&bytes[..], &[0xf6]].concat().into()).is_err());
    }

    #[test]
    fn requests_come_back_as_they_went(
        service in "[a-z]{1,20}",
        path in "[a-z.]{0,20}",
        arguments in vec(values(), 0..5),
        handle: u64,
        within_ms: u64,
        window: u64,
    ) {
        let targets = [
            Target::Member { service: service.clone(), path: path.clone() },
            Target::Function(handle),
            Target::Scope(service.clone()),
        ];
        let calls = targets.map(|target| Request::Call { target, arguments: arguments.clone() });
        let get = Request::Get { service: service.clone(), path: path.clone() };
        let watch = Request::Watch { service: service.clone(), path };
        let others = [get, watch, Request::Services, Request::Describe { service }, Request::Hold, Request::Ping];
        let terms = Terms { within_ms, window };
        for request in calls.into_iter().chain(others) {
            let bytes = request.encode(terms, &mut no_function).unwrap().freeze();
            let (length, body) = bytes.split_at(4);
            prop_assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, body.len());
            let body = bytes.slice_ref(body);
            prop_assert_eq!(Request::decode(&body, &mut no_handle), Ok((request, terms)));
        }
    }

    #[test]
    fn errors_come_back_as_they_went(text in ".{0,100}", data in proptest::option::of(values())) {
        let errors = [
            CallError::Failed { message: text.clone(), data },
            CallError::NoSuchFunction(text.clone()),
            CallError::NoSuchValue(text.clone()),
            CallError::WrongArguments(text.clone()),
            CallError::NoSuchService(text.clone()),
            CallError::Refused,
            CallError::TimedOut,
            CallError::Cancelled,
            CallError::TooLarge(text.clone()),
            CallError::TooManyCalls,
            CallError::Protocol(text),
        ];
        for error in errors {
            let frame = encode_error(&error, &mut no_function).freeze();
            prop_assert_eq!(decode_error(&frame.slice(5..), &mut no_handle), Ok(error));
        }
    }
}

/// The examples of RFC 8949, appendix A, as far as they are values here.
#[test]
fn the_encoding_is_that_of_the_rfc() {
    let examples: [(Value, &[u8]); 12] = [
        (0.into(), &[0x00]),
        (23.into(), &[0x17]),
        (1_000_000.into(), &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
        (u64::MAX.into(), &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ((-1).into(), &[0x20]),
        ((-1000).into(), &[0x39, 0x03, 0xe7]),
        (1.1.into(), &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
        (true.into(), &[0xf5]),
        (Value::Null, &[0xf6]),
        ("ü".into(), &[0x62, 0xc3, 0xbc]),
        (Value::Bytes(Bytes::from_static(&[1, 2])), &[0x42, 0x01, 0x02]),
        (Value::Array(vec![1.into(), Value::Array(vec![2.into()])]), &[0x82, 0x01, 0x81, 0x02]),
    ];
    for (value, bytes) in examples {
        assert_eq!(encode(&value).unwrap(), bytes, "{value:?}");
    }
    let floats: [(&[u8], f64); 6] = [
        (&[0xf9, 0x3c, 0x00], 1.0),
        (&[0xf9, 0x00, 0x01], 5.960464477539063e-8),
        (&[0xf9, 0xc4, 0x00], -4.0),
        (&[0xf9, 0x7c, 0x00], f64::INFINITY),
        (&[0xf9, 0x7b, 0xff], 65504.0),
        (&[0xfa, 0x47, 0xc3, 0x50, 0x00], 100_000.0),
    ];
    for (bytes, number) in floats {
        assert_eq!(decode(&Bytes::from_static(bytes)), Ok(number.into()));
    }
}

#[test]
fn what_is_not_taken_says_why() {
    let refused: [(&[u8], ValueError); 9] = [
        (&[], ValueError::Malformed("it ends too early")),
        (&[0x62, 0xff, 0xff], ValueError::Malformed("a text is not UTF-8")),
        (&[0x9f, 0x01, 0xff], ValueError::Malformed("its length is indefinite")),
        (&[0xbf, 0xff], ValueError::Malformed("its length is indefinite")),
        (&[0xa2, 0x61, 0x61, 0x01, 0x61, 0x61, 0x02], ValueError::Malformed("a map has a name twice")),
        (&[0xa1, 0x01, 0x01], ValueError::Malformed("it is not of the type that must stand there")),
        (&[0xc0, 0x61, 0x61], ValueError::Malformed("it has a tag that is not known here")),
        (&[0xe0], ValueError::Malformed("it has a simple value that is not known here")),
        (&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], ValueError::Malformed("a number is out of range")),
    ];
    for (bytes, error) in refused {
        assert_eq!(decode(&Bytes::from_static(bytes)), Err(error), "{bytes:x?}");
    }
}

#[test]
fn limits_hold_before_anything_is_allocated() {
    let nested = |depth| [vec![0x81; depth], vec![0xf6]].concat();
    assert!(decode(&nested(MAX_DEPTH).into()).is_ok());
    assert_eq!(decode(&nested(MAX_DEPTH + 1).into()), Err(ValueError::TooDeep));
    assert_eq!(decode(&nested(10_000).into()), Err(ValueError::TooDeep));
    // Lists in a list that each claim all values that a message may have.
    let claim = [&[0x9a][..], &(MAX_VALUES as u32 - 10).to_be_bytes()].concat();
    let claims = [claim.repeat(3), vec![0; MAX_VALUES]].concat();
    assert_eq!(decode(&claims.into()), Err(ValueError::TooMany));
    assert_eq!(decode(&vec![0; MAX_MESSAGE + 1].into()), Err(ValueError::TooLarge));

    let many = Value::Array(vec![Value::Null; MAX_VALUES]);
    assert_eq!(encode(&many), Err(ValueError::TooMany));
    assert_eq!(encode(&Value::Text("x".repeat(MAX_MESSAGE))), Err(ValueError::TooLarge));
    let deep = (0..10_000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert_eq!((encode(&deep), deep.check()), (Err(ValueError::TooDeep), Err(ValueError::TooDeep)));
    assert_eq!(Value::of(&deep), Err(ValueError::TooDeep));
    // Types that only wrap each other are no deep value, and no deep stack.
    #[derive(serde::Serialize)]
    struct Wrap(Option<Box<Wrap>>);
    let wrapped = |times| (0..times).fold(Wrap(None), |inner, _| Wrap(Some(Box::new(inner))));
    assert_eq!(Value::of(&wrapped(100)), Ok(Value::Null));
    assert_eq!(Value::of(&wrapped(10_000)), Err(ValueError::TooDeep));
}

/// All that speak of depth mean the same.
#[test]
fn an_empty_list_may_lie_at_the_deepest_place() {
    let nested = |depth| (0..depth).fold(Value::Array(Vec::new()), |inner, _| Value::Array(vec![inner]));
    let deepest = nested(MAX_DEPTH);
    assert_eq!(deepest.check(), Ok(()));
    assert_eq!(decode(&encode(&deepest).unwrap()), Ok(deepest.clone()));
    assert_eq!(Value::of(&deepest), Ok(deepest));
    let deeper = nested(MAX_DEPTH + 1);
    let refused = Err(ValueError::TooDeep);
    assert_eq!(
        (deeper.check(), encode(&deeper).map(drop), Value::of(&deeper).map(drop)),
        (refused.clone(), refused.clone(), refused)
    );
}

#[test]
fn functions_travel_as_handles_and_nowhere_else() {
    let function = Function(Arc::new(Nothing));
    let value = Value::Array(vec![function.clone().into(), "$0".into()]);
    let frame = Kind::Value.encode_value(&value, &mut |_| Ok(Handle::Offered(7))).unwrap().freeze();
    let mut seen = None;
    let taken = decode_value(&frame.slice(5..), &mut |handle| {
        seen = Some(handle);
        Ok(function.clone())
    });
    assert_eq!((taken, seen), (Ok(value.clone()), Some(Handle::Offered(7))));

    let many = Value::Array(vec![function.clone().into(); MAX_FUNCTIONS + 1]);
    assert_eq!(many.check(), Err(ValueError::TooManyFunctions));
    let refused = Kind::Value.encode_value(&many, &mut |_| Ok(Handle::Returned(7)));
    assert_eq!(refused.unwrap_err(), ValueError::TooManyFunctions);

    let json = serde_json::to_string(&value).unwrap_err();
    assert!(json.to_string().contains("only be passed in a call"), "{json}");
    assert!(serde_json::from_str::<Function>("null").is_err());
    assert!(Value::from("text").to::<Function>().is_err());
    assert!(Value::from(function.clone()).to::<String>().is_err());
    // Nothing is left behind by those.
    assert_eq!(Value::of(&Some(function.clone())), Ok(function.clone().into()));
    assert_eq!(Value::from(function.clone()).to::<Option<Function>>(), Ok(Some(function)));
}

#[test]
fn frames_of_no_kind_or_too_long_are_refused() {
    assert_eq!(Kind::decode([0, 0, 0, 0, 9]), Ok((Kind::Value, 9)));
    assert_eq!(Kind::decode([6, 0, 0, 1, 0]), Ok((Kind::Error, 256)));
    assert!(matches!(Kind::decode([7, 0, 0, 0, 0]), Err(ValueError::Malformed(_))));
    assert_eq!(Kind::decode([0, 0xff, 0, 0, 0]), Err(ValueError::TooLarge));
}

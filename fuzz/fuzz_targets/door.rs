//! The daemon's door: a whole life of a program. Lines of any kind go in; its requests end and calls to it begin in between.
#![no_main]

use atoll::Id;
use atoll::object::{Function, Value, ValueError};
use atoll_door::body::{self, Mention};
use atoll_door::limits::{MAX_DEPTH, MAX_REQUESTS};
use atoll_door::{ChannelItem, ChannelRequest, FromProgram, Lines, Session};
use libfuzzer_sys::fuzz_target;

/// Without the feature `net` there are no functions.
fn take(_: Mention) -> Result<Function, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fn offer(_: &Function) -> Result<Mention, ValueError> {
    Err(ValueError::TooManyFunctions)
}

fuzz_target!(|bytes: &[u8]| {
    let (mut lines, mut session) = (Lines::default(), Session::default());
    // One that is past its hello: a first line that is a byte less than most.
    if bytes.first().is_some_and(|first| first & 1 == 0) {
        let hello = br#"{"type":"hello","name":"Fuzz"}"#;
        session.receive(hello, &mut take).expect("a hello is one");
    }
    let mut under_way = Vec::new();
    for piece in bytes.get(1..).unwrap_or_default().chunks(97) {
        lines.buffer().extend_from_slice(piece);
        while let Ok(Some(line)) = lines.next_line() {
            let received = session.receive(&line, &mut take);
            assert!(session.requests() <= MAX_REQUESTS);
            match received {
                Ok(Some(message)) => {
                    under_way.extend(message.request());
                    values(&message);
                }
                Ok(None) => {}
                Err(refusal) => {
                    let answer = refusal.answer.encode().expect("an answer is short");
                    assert_eq!(answer.iter().filter(|byte| **byte == b'\n').count(), 1);
                    if refusal.close {
                        return;
                    }
                }
            }
            match line.len() % 3 {
                0 => {
                    session.call();
                }
                1 => {
                    if let Some(uid) = under_way.pop() {
                        assert!(session.finished(uid));
                    }
                }
                _ => {}
            }
        }
    }
});

/// What was read can be written, and is then read the same.
fn values(message: &FromProgram) {
    match message {
        FromProgram::Provide { body, .. } => check(body),
        FromProgram::Set { value, .. } | FromProgram::Item { value, .. } => check(value),
        FromProgram::Call { args, .. } => args.iter().for_each(check),
        FromProgram::Response { result: Ok(value), .. } => check(value),
        FromProgram::Channel { request: ChannelRequest::Publish { scope, payload }, .. } => {
            let publisher = Id::new(payload.len() as u64);
            let (scope, payload) = (scope.clone(), payload.clone().into());
            check(&ChannelItem { publisher, stream: 1, number: 2, sent: 3, scope, payload }.into());
        }
        _ => {}
    }
}

fn check(value: &Value) {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
            Value::Map(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    assert!(depth(value) <= MAX_DEPTH);
    let written = body::encode(value, &mut offer).expect("what was read can be written");
    let read = body::decode(&written, &mut take).expect("what was written can be read");
    // By its text: a NaN does not equal itself.
    assert_eq!(body::encode(&read, &mut offer).expect("as before"), written);
}

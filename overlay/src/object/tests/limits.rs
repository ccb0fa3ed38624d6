//! What is too large is refused, on both sides.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn messages_that_are_too_large_are_refused_by_whoever_would_send_them() {
    let pair = Pair::new();
    let object =
        echo().function("large", |call: Call| async move { Ok::<_, ArgumentError>("x".repeat(call.arg::<usize>(0)?)) });
    pair.bob.objects.provide("Echo", object).unwrap();
    let remote = pair.remote("Echo").await;
    let large = "x".repeat(50 << 20);
    let refused = soon(remote.call::<String>("echo", (large,))).await;
    assert!(matches!(refused, Err(CallError::TooLarge(_))), "{refused:?}");
    let refused = soon(remote.call::<String>("large", (50 << 20,))).await;
    assert!(matches!(refused, Err(CallError::TooLarge(_))), "{refused:?}");
    // What is just not too large passes.
    let most = "x".repeat(MAX_MESSAGE - 100);
    assert_eq!(soon(remote.call::<String>("echo", (most.clone(),))).await.unwrap().len(), most.len());
}

#[tokio::test]
async fn arguments_nested_too_deep_are_refused() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let remote = pair.remote("Echo").await;
    let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let refused = soon(remote.call::<Value>("echo", vec![nested(10_000)])).await;
    assert_eq!(refused, Err(CallError::TooLarge("nested deeper than 128".to_owned())));
    assert_eq!(soon(remote.call::<Value>("echo", vec![nested(MAX_DEPTH)])).await, Ok(nested(MAX_DEPTH)));
    let local = pair.bob.objects.peer(pair.bob.id()).remote("Echo");
    let refused = soon(local.call::<Value>("echo", vec![nested(10_000)])).await;
    assert_eq!(refused, Err(CallError::TooLarge("nested deeper than 128".to_owned())));
    let refused = pair.bob.objects.provide("Deep", Object::new().value("x", nested(10_000))).unwrap_err();
    assert_eq!(refused, ProvideError::Value(ValueError::TooDeep));
}

/// Sends what no honest node does, and gives the error that comes back.
async fn answer_to(pair: &Pair, request: &[u8]) -> CallError {
    let session = pair.alice.sessions.connect(pair.bob.id()).await.unwrap();
    let mut socket = session.open_with(OBJECT, request).await.unwrap();
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    let body = Bytes::from(answer).slice(5..);
    decode_error(&body, &mut |_| unreachable!()).expect("an error")
}

fn with_length(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn hostile_requests_are_answered_with_an_error_and_the_node_lives() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let head = [0x86, 0x00, 0x19, 0x27, 0x10, 0x00, 0x64, b'E', b'c', b'h', b'o', 0x64, b'e', b'c', b'h', b'o'];

    let mut deep = BytesMut::from(&head[..]);
    deep.put_bytes(0x81, 10_000);
    deep.put_u8(0xf6);
    assert_eq!(answer_to(&pair, &with_length(&deep)).await, CallError::TooLarge("nested deeper than 128".to_owned()));

    // A list that claims 2^32 entries, and lists in it that claim as much.
    let claims = [&head[..], &[0x81, 0x9a, 0xff, 0xff, 0xff, 0xff].repeat(100)].concat();
    let error = answer_to(&pair, &with_length(&claims)).await;
    assert!(matches!(error, CallError::TooLarge(_)), "{error:?}");

    // A text that claims to be long, and a request that does.
    let text = [&head[..], &[0x81, 0x7a, 0x03, 0x00, 0x00, 0x00]].concat();
    assert_eq!(answer_to(&pair, &with_length(&text)).await, CallError::Protocol("it ends too early".to_owned()));
    let error = answer_to(&pair, &(50u32 << 20).to_be_bytes()).await;
    assert!(matches!(error, CallError::TooLarge(_)), "{error:?}");

    // A type that is not known, a function that was never given, a request of no kind.
    let tagged = [&head[..], &[0x81, 0xc2, 0x41, 0x00]].concat();
    let error = answer_to(&pair, &with_length(&tagged)).await;
    assert_eq!(error, CallError::Protocol("it has a tag that is not known here".to_owned()));
    let target = Target::Function(1);
    let terms = Terms { within_ms: 1000, window: 0 };
    let request = Request::Call { target, arguments: vec![] }.encode(terms, &mut |_| unreachable!()).unwrap();
    assert_eq!(answer_to(&pair, &request).await, CallError::NoSuchFunction("released".to_owned()));
    let error = answer_to(&pair, &with_length(&[0x83, 0x18, 0x63, 0x00, 0x00])).await;
    assert!(matches!(error, CallError::Protocol(_)), "{error:?}");

    let remote = pair.remote("Echo").await;
    assert_eq!(remote.call::<i64>("echo", (1,)).await, Ok(1));
}

/// A function that tells that it was called, and waits to be released.
fn waiting() -> (Function, tokio::sync::mpsc::Receiver<()>, Arc<Notify>) {
    let (called, calls) = tokio::sync::mpsc::channel(1);
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let wait = Function::new(move |_call: Call| {
        let (released, called) = (released.clone(), called.clone());
        async move {
            let _ = called.send(()).await;
            released.notified().await;
            Ok::<_, Failure>(())
        }
    });
    (wait, calls, release)
}

#[tokio::test]
async fn large_requests_that_wait_for_memory_hold_up_no_others() {
    let pair = Pair::with(Limits { memory_per_peer: 1 << 20, ..Limits::default() });
    let (wait, mut calls, release) = waiting();
    pair.bob.objects.provide("S", echo().function("wait", wait)).unwrap();
    let remote = pair.remote("S").await;
    let call = |bytes: usize| {
        let remote = remote.clone();
        tokio::spawn(async move { remote.call::<()>("wait", (Bytes::from(vec![0; bytes]),)).await })
    };
    // It takes all the memory that this peer has.
    let first = call(1 << 20);
    soon(calls.recv()).await.unwrap();
    // What would fill the way of others is refused; a smaller one waits.
    for _ in 0..4 {
        assert_eq!(soon(call(6 << 20)).await.unwrap(), Err(CallError::TooManyCalls));
    }
    let second = call(1 << 20);
    assert_eq!(soon(remote.call::<i64>("echo", (1,))).await, Ok(1));
    release.notify_one();
    assert_eq!(soon(first).await.unwrap(), Ok(()));
    soon(calls.recv()).await.unwrap();
    release.notify_one();
    assert_eq!(soon(second).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn large_arguments_have_the_time_of_the_call_to_go_out() {
    let limits = Limits { memory_per_peer: 1 << 20, ..Limits::default() };
    let handshake_timeout = Duration::from_secs(1);
    let pair =
        Pair::with_settings(limits, Settings { socket_window: 128 << 10, handshake_timeout, ..Settings::default() });
    let (wait, mut calls, release) = waiting();
    pair.bob.objects.provide("S", Object::new().function("wait", wait)).unwrap();
    let remote = pair.remote("S").await;
    let call = || {
        let remote = remote.clone();
        tokio::spawn(async move { remote.call::<()>("wait", (Bytes::from(vec![0; 1 << 20]),)).await })
    };
    let first = call();
    soon(calls.recv()).await.unwrap();
    // An eighth of it is on its way, and the rest waits until the first has done.
    let second = call();
    tokio::time::sleep(2 * handshake_timeout).await;
    assert!(!second.is_finished(), "{:?}", second.await);
    release.notify_one();
    assert_eq!(soon(first).await.unwrap(), Ok(()));
    soon(calls.recv()).await.unwrap();
    release.notify_one();
    assert_eq!(soon(second).await.unwrap(), Ok(()));
}

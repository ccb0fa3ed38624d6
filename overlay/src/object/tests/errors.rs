//! Every kind of error, provoked for real.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

/// Tells when it is dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A function that never answers, and tells when it was called and when it was dropped.
fn stuck() -> (Function, Arc<Notify>, Arc<Notify>) {
    let (called, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell_called, tell_dropped) = (called.clone(), dropped.clone());
    let function = Function::new(move |_call: Call| {
        let guard = Dropped(tell_dropped.clone());
        tell_called.notify_one();
        async move {
            let _guard = guard;
            std::future::pending::<()>().await;
            Ok::<_, Failure>(())
        }
    });
    (function, called, dropped)
}

#[tokio::test]
async fn a_function_that_fails_says_why_and_gives_data() {
    let pair = Pair::new();
    let object = Object::new()
        .function("fail", |_call: Call| async { Err::<(), _>(Failure::new("no cheese").with(Value::from("gouda"))) })
        .function("io", |_call: Call| async { std::fs::read("/nonexistent/file").map(|_| ()) })
        .function("panics", |call: Call| async move {
            assert!(call.arguments().is_empty(), "this is meant to panic");
            Ok::<_, Failure>(())
        });
    pair.bob.objects.provide("S", object).unwrap();
    let remote = pair.remote("S").await;
    let failed = remote.call::<()>("fail", ()).await;
    let data = Some("gouda".into());
    assert_eq!(failed, Err(CallError::Failed { message: "no cheese".to_owned(), data }));
    assert_eq!(failed.unwrap_err().to_string(), "the function failed: no cheese");
    let Err(CallError::Failed { message, data: None }) = remote.call::<()>("io", ()).await else {
        panic!("not failed")
    };
    assert!(message.contains("No such file"), "{message}");
    let message = "the function panicked".to_owned();
    assert_eq!(remote.call::<()>("panics", (1,)).await, Err(CallError::Failed { message, data: None }));
    assert_eq!(remote.call::<()>("panics", ()).await, Ok(()));
}

#[tokio::test]
async fn what_is_not_there_is_told_by_its_kind() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let none = pair.peer().service("Nothing").await;
    assert_eq!(none.unwrap_err(), CallError::NoSuchService("Nothing".to_owned()));
    let remote = pair.remote("Echo").await;
    for path in ["nothing", "deep.nothing", "a", "deep", "", "echo.x"] {
        let none = remote.call::<Value>(path, ()).await;
        assert_eq!(none, Err(CallError::NoSuchFunction(path.to_owned())));
    }
    for path in ["nothing", "echo", "a.x", "deep.y"] {
        assert_eq!(remote.get::<Value>(path).await, Err(CallError::NoSuchValue(path.to_owned())));
        let watched = remote.watch::<Value>(path).await;
        assert_eq!(watched.unwrap_err(), CallError::NoSuchValue(path.to_owned()));
    }
}

#[tokio::test]
async fn wrong_arguments_are_told() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let remote = pair.remote("Echo").await;
    let wrong = async |arguments: Vec<Value>| match remote.call::<i64>("deep.f", arguments).await {
        Err(CallError::WrongArguments(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(vec![]).await, "it takes 1 (x), and got 0");
    assert_eq!(wrong(vec![1.into(), 2.into()]).await, "it takes 1 (x), and got 2");
    assert_eq!(wrong(vec!["x".into()]).await, r#"argument 1: invalid type: string "x", expected i64"#);
    let result = remote.call::<i64>("echo", ("text",)).await;
    assert!(matches!(result, Err(CallError::WrongResult(_))), "{result:?}");
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_told() {
    let pair = Pair::new();
    let nobody = async |who: PeerRef| match pair.alice.objects.peer(who).services().await {
        Err(CallError::NoSuchPeer { peer, reason }) => (peer, reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(nobody("@carol".into()).await, ("@carol".to_owned(), "names are not available".to_owned()));
    let (peer, reason) = nobody("carol".into()).await;
    assert_eq!((peer.as_str(), reason.as_str()), ("carol", "neither an id of 12 hexadecimal digits nor an @name"));
    // On this ring nobody tells that an id is not held: the handshake is not answered.
    let (peer, _) = soon(nobody(Id::new(5).into())).await;
    assert_eq!(peer, "000000000005");
}

#[tokio::test]
async fn the_deadline_of_a_call_stops_the_provider() {
    let pair = Pair::new();
    let (function, _, dropped) = stuck();
    pair.bob.objects.provide("S", Object::new().function("stuck", function)).unwrap();
    let remote = pair.remote("S").await.timeout(Duration::from_millis(100));
    assert_eq!(soon(remote.call::<()>("stuck", ())).await, Err(CallError::TimedOut));
    soon(dropped.notified()).await;
}

/// The provider keeps the deadline also when the caller, a bad one, does not.
#[tokio::test]
async fn the_provider_keeps_the_deadline_by_itself() {
    use tokio::io::AsyncReadExt;

    let pair = Pair::new();
    let (function, _, dropped) = stuck();
    pair.bob.objects.provide("S", Object::new().function("stuck", function)).unwrap();
    let target = Target::Member { service: "S".to_owned(), path: "stuck".to_owned() };
    let terms = Terms { within_ms: 50, window: 0 };
    let request = Request::Call { target, arguments: Vec::new() }.encode(terms, &mut |_| unreachable!()).unwrap();
    let session = pair.alice.sessions.connect(pair.bob.id()).await.unwrap();
    let mut socket = session.open_with(OBJECT, &request).await.unwrap();
    soon(dropped.notified()).await;
    let mut answer = Vec::new();
    soon(socket.read_to_end(&mut answer)).await.unwrap();
    let body = bytes::Bytes::from(answer).slice(5..);
    assert_eq!(decode_error(&body, &mut |_| unreachable!()), Ok(CallError::TimedOut));
}

#[tokio::test]
async fn dropping_a_call_stops_the_provider() {
    let pair = Pair::new();
    let (function, called, dropped) = stuck();
    pair.bob.objects.provide("S", Object::new().function("stuck", function)).unwrap();
    let remote = pair.remote("S").await;
    let call = tokio::spawn(async move { remote.call::<()>("stuck", ()).await });
    soon(called.notified()).await;
    call.abort();
    soon(dropped.notified()).await;
}

#[tokio::test]
async fn withdrawing_a_service_cancels_its_calls() {
    let pair = Pair::new();
    let (function, called, dropped) = stuck();
    let service = pair.bob.objects.provide("S", Object::new().function("stuck", function)).unwrap();
    let remote = pair.remote("S").await;
    let call = tokio::spawn(async move { remote.call::<()>("stuck", ()).await });
    soon(called.notified()).await;
    service.withdraw();
    assert_eq!(soon(call).await.unwrap(), Err(CallError::Cancelled));
    soon(dropped.notified()).await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_fails_its_calls_within_five_seconds() {
    let pair = Pair::new();
    let (function, called, _) = stuck();
    pair.bob.objects.provide("S", echo().function("stuck", function)).unwrap();
    let remote = pair.remote("S").await.timeout(Duration::from_secs(60));
    let call = tokio::spawn({
        let remote = remote.clone();
        async move { remote.call::<()>("stuck", ()).await }
    });
    soon(called.notified()).await;
    let silent = Instant::now();
    pair.ring.part(pair.bob.id());
    pair.ring.part(pair.alice.id());
    let failed = soon(call).await.unwrap();
    assert!(matches!(failed, Err(CallError::PeerLost(_))), "{failed:?}");
    let took = silent.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Later ones need not wait as long.
    let begun = Instant::now();
    let failed = soon(remote.call::<Value>("echo", (1,))).await;
    assert!(matches!(failed, Err(CallError::PeerLost(_))), "{failed:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_function_is_no_lost_peer() {
    let pair = Pair::new();
    pair.bob
        .objects
        .provide(
            "S",
            Object::new().function("slow", |_call: Call| async {
                tokio::time::sleep(LOST_AFTER + Duration::from_secs(2)).await;
                Ok::<_, Failure>("done")
            }),
        )
        .unwrap();
    let remote = pair.remote("S").await;
    assert_eq!(soon(remote.call::<String>("slow", ())).await.unwrap(), "done");
}

#[tokio::test]
async fn a_node_that_closes_ends_its_calls() {
    let pair = Pair::new();
    let (function, called, _) = stuck();
    pair.bob.objects.provide("S", Object::new().function("stuck", function)).unwrap();
    let remote = pair.remote("S").await;
    let call = tokio::spawn({
        let remote = remote.clone();
        async move { remote.call::<()>("stuck", ()).await }
    });
    soon(called.notified()).await;
    pair.bob.sessions.close().await;
    let lost = soon(call).await.unwrap();
    assert!(matches!(lost, Err(CallError::PeerLost(_))), "{lost:?}");
    pair.alice.sessions.close().await;
    assert_eq!(soon(remote.call::<()>("stuck", ())).await, Err(CallError::Closed));
}

#[tokio::test]
async fn too_many_calls_are_refused_and_others_served() {
    let pair = Pair::with(Limits { calls_per_peer: 3, ..Limits::default() });
    let running = Arc::new(AtomicUsize::new(0));
    let release = Arc::new(Notify::new());
    let (count, released) = (running.clone(), release.clone());
    let wait = Function::new(move |_call: Call| {
        count.fetch_add(1, Ordering::Relaxed);
        let released = released.clone();
        async move {
            released.notified().await;
            Ok::<_, Failure>(())
        }
    });
    pair.bob.objects.provide("S", echo().function("wait", wait)).unwrap();
    let carol = node(&pair.ring, &Identity::generate(), pair.bob.id(), Limits::default());
    let remote = pair.remote("S").await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.call::<()>("wait", ()).await })
        })
        .collect();
    until("three run", || match running.load(Ordering::Relaxed) {
        3 => Ok(()),
        other => Err(format!("{other} run")),
    })
    .await;
    assert_eq!(soon(remote.call::<Value>("echo", (1,))).await, Err(CallError::TooManyCalls));
    // Nobody else is held up.
    let other = carol.objects.peer(pair.bob.id()).service("S").await.unwrap();
    assert_eq!(soon(other.call::<i64>("echo", (1,))).await, Ok(1));
    release.notify_waiters();
    for call in calls {
        assert_eq!(soon(call).await.unwrap(), Ok(()));
    }
    assert_eq!(soon(remote.call::<i64>("echo", (1,))).await, Ok(1));
}

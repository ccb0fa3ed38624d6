//! Results that come one by one, and bytes that are never whole in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;

use super::*;

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// Counts what it gives, and tells by its count being dropped when it ends.
fn counting(given: Arc<AtomicUsize>) -> Object {
    let pieces = given.clone();
    Object::new()
        .function("count", |call: Call| async move {
            Ok::<_, ArgumentError>(Items::new(stream::iter(0..call.arg::<u32>(0)?)))
        })
        .function("forever", move |_call: Call| {
            let given = given.clone();
            async move {
                let numbers = stream::iter(0u64..).map(move |number| {
                    given.fetch_add(1, Ordering::Relaxed);
                    number
                });
                Ok::<_, Failure>(Items::new(numbers))
            }
        })
        .function("breaks", |_call: Call| async move {
            let items = [Ok(1), Ok(2), Err(Failure::new("no more"))];
            Ok::<_, Failure>(Items::fallible(stream::iter(items)))
        })
        .function("bytes", move |call: Call| {
            let pieces = pieces.clone();
            async move {
                let count: usize = call.arg(0)?;
                Ok::<_, ArgumentError>(Reply::bytes(stream::iter(0..count).map(move |number| {
                    pieces.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Failure>(Bytes::from(vec![number as u8; PIECE]))
                })))
            }
        })
}

async fn provided() -> (Pair, Remote, Arc<AtomicUsize>) {
    let pair = Pair::new();
    let given = Arc::new(AtomicUsize::new(0));
    pair.bob.objects.provide("S", counting(given.clone())).unwrap();
    let remote = pair.remote("S").await;
    (pair, remote, given)
}

#[tokio::test]
async fn results_come_one_by_one_in_order() {
    let (_pair, remote, _) = provided().await;
    let numbers: Vec<u32> = soon(remote.stream::<u32>("count", (1000,)).await.unwrap().try_collect()).await.unwrap();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    // Called as one result they are a list.
    assert_eq!(soon(remote.call::<Vec<u32>>("count", (3,))).await.unwrap(), [0, 1, 2]);
    let none: Vec<u32> = soon(remote.stream::<u32>("count", (0,)).await.unwrap().try_collect()).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn an_error_among_the_results_comes_after_those_before_it() {
    let (_pair, remote, _) = provided().await;
    let mut results = remote.stream::<i32>("breaks", ()).await.unwrap();
    assert_eq!(soon(results.next()).await, Some(Ok(1)));
    assert_eq!(soon(results.next()).await, Some(Ok(2)));
    let message = "no more".to_owned();
    assert_eq!(soon(results.next()).await, Some(Err(CallError::Failed { message, data: None })));
    assert_eq!(soon(results.next()).await, None);
}

#[tokio::test]
async fn the_reader_sets_the_pace_and_dropping_the_results_ends_them() {
    let (_pair, remote, given) = provided().await;
    let mut results = remote.stream::<u64>("forever", ()).await.unwrap();
    assert_eq!(soon(results.next()).await, Some(Ok(0)));
    // Unread, they stop where the windows are full.
    stands("the provider waits", &given).await;
    drop(results);
    assert_eq!(soon(remote.call::<Vec<u32>>("count", (1,))).await.unwrap(), [0]);
}

#[tokio::test]
async fn large_results_stream_with_flow_control() {
    let (_pair, remote, given) = provided().await;
    let count = (100 << 20) / PIECE;
    let mut bytes = remote.bytes("bytes", (count,)).await.unwrap();
    let mut read = 0;
    while let Some(piece) = soon(bytes.next()).await {
        let piece = piece.unwrap();
        assert!(piece.iter().enumerate().all(|(at, &byte)| byte == ((read + at) / PIECE) as u8), "after {read} bytes");
        read += piece.len();
        // Never more on the way than the windows of both sides hold.
        let ahead = (given.load(Ordering::Relaxed) * PIECE).saturating_sub(read);
        assert!(ahead < 24 << 20, "{ahead} bytes ahead of the reader");
    }
    assert_eq!(read, count * PIECE);
}

#[tokio::test]
async fn bytes_are_read_as_from_a_file_and_collected_up_to_a_message() {
    let (_pair, remote, _) = provided().await;
    let mut all = Vec::new();
    soon(remote.bytes("bytes", (3,)).await.unwrap().read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 3 * PIECE);
    assert_eq!(soon(remote.call::<Bytes>("bytes", (3,))).await.unwrap(), all);
    let refused = soon(remote.call::<Bytes>("bytes", (MAX_MESSAGE / PIECE + 1,))).await;
    assert!(matches!(refused, Err(CallError::TooLarge(_))), "{refused:?}");
}

/// Waits until a count stands still.
async fn stands(what: &str, count: &AtomicUsize) -> usize {
    let (mut last, mut unchanged) = (usize::MAX, 0);
    until(what, || {
        let now = count.load(Ordering::Relaxed);
        unchanged = if std::mem::replace(&mut last, now) == now { unchanged + 1 } else { 0 };
        if unchanged < 20 { Err(format!("{now} given")) } else { Ok(()) }
    })
    .await;
    last
}

#[tokio::test]
async fn results_left_unread_do_not_hold_up_other_calls() {
    let (pair, remote, given) = provided().await;
    let large = "x".repeat(MAX_MESSAGE - 100);
    pair.bob.objects.provide("Large", Object::new().value("text", large.clone())).unwrap();
    let large_remote = pair.peer().remote("Large");
    let mut unread = Vec::new();
    let mut unwatched = Vec::new();
    for _ in 0..16 {
        let mut bytes = soon(remote.bytes("bytes", (1000,))).await.unwrap();
        // Its window grows.
        for _ in 0..64 {
            soon(bytes.next()).await.unwrap().unwrap();
        }
        unread.push(bytes);
        unwatched.push(soon(large_remote.watch::<String>("text")).await.unwrap());
    }
    let stand = stands("the providers wait", &given).await;
    assert_eq!(soon(remote.call::<Vec<u32>>("count", (1,))).await.unwrap(), [0]);
    assert_eq!(soon(large_remote.get::<String>("text")).await.unwrap().len(), large.len());
    let mut bytes = soon(remote.bytes("bytes", (100,))).await.unwrap();
    let mut read = 0;
    while let Some(piece) = soon(bytes.next()).await {
        read += piece.unwrap().len();
    }
    assert_eq!(read, 100 * PIECE);
    // Those that were left go on where they were.
    assert_eq!(given.load(Ordering::Relaxed), stand + 100);
    for mut watched in unwatched {
        assert_eq!(soon(watched.next()).await.unwrap().unwrap().len(), large.len());
    }
    for mut bytes in unread {
        let mut rest = 0;
        while let Some(piece) = soon(bytes.next()).await {
            rest += piece.unwrap().len();
        }
        assert!(rest > 900 * PIECE, "{rest} bytes of the rest");
    }
}

#[tokio::test]
async fn as_many_streams_as_there_are_windows_for_are_open_at_once() {
    let limits = Limits { calls_per_peer: 4096, ..Limits::default() };
    let pair = Pair::with(limits);
    pair.bob.objects.provide("S", counting(Arc::default())).unwrap();
    let remote = pair.remote("S").await;
    let mut unread = Vec::new();
    let refused = loop {
        match soon(remote.bytes("bytes", (10,))).await {
            Ok(bytes) => unread.push(bytes),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, CallError::TooManyCalls);
    assert!(unread.len() >= 512, "{} streams", unread.len());
    assert_eq!(soon(remote.call::<Vec<u32>>("count", (1,))).await.unwrap(), [0]);
    unread.pop();
    assert!(soon(remote.bytes("bytes", (10,))).await.is_ok());
}

#[tokio::test]
async fn many_results_are_put_together_up_to_a_message_and_those_of_all_calls_up_to_a_limit() {
    let pair = Pair::with(Limits { results_per_peer: 3 << 20, ..Limits::default() });
    let object = Object::new()
        .function("items", |call: Call| async move {
            let count: usize = call.arg(0)?;
            Ok::<_, ArgumentError>(Items::new(stream::iter(0..count).map(|_| "x".repeat(1 << 20))))
        })
        .function("half", |_call: Call| async move {
            let begun = stream::iter([Ok::<_, Failure>(Bytes::from(vec![0; 2 << 20]))]);
            Ok::<_, Failure>(Reply::bytes(begun.chain(stream::pending())))
        });
    pair.bob.objects.provide("S", object).unwrap();
    let remote = pair.remote("S").await;
    let refused = soon(remote.call::<Vec<String>>("items", (4,))).await;
    assert_eq!(refused, Err(CallError::TooManyCalls));
    // At the node's own there is no way to keep free, but a result is a result.
    let own = pair.bob.objects.peer(pair.bob.id()).remote("S");
    let refused = soon(own.call::<Vec<String>>("items", (9,))).await;
    assert!(matches!(refused, Err(CallError::TooLarge(_))), "{refused:?}");
    // Two thirds are taken by one that does not end. It may be the one that is refused, at first.
    let half = tokio::spawn({
        let remote = remote.clone();
        async move {
            loop {
                let _ = remote.call::<Bytes>("half", ()).await;
            }
        }
    });
    let error = soon(async {
        loop {
            match remote.call::<Vec<String>>("items", (2,)).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error,
            }
        }
    })
    .await;
    assert_eq!(error, CallError::TooManyCalls);
    assert_eq!(soon(remote.call::<Vec<String>>("items", (0,))).await, Ok(vec![]));
    half.abort();
    soon(async {
        while remote.call::<Vec<String>>("items", (2,)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_served_piece_by_piece() {
    let pair = Pair::new();
    let object = Object::new().function("read", |_call: Call| async {
        let content: &[u8] = b"the content of a file";
        Ok::<_, Failure>(Reply::read(content))
    });
    pair.bob.objects.provide("File", object).unwrap();
    let bytes: Bytes = pair.remote("File").await.call("read", ()).await.unwrap();
    assert_eq!(&bytes[..], b"the content of a file");
}

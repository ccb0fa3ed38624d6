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
    let (mut last, mut unchanged) = (usize::MAX, 0);
    until("the provider waits", || {
        let now = given.load(Ordering::Relaxed);
        unchanged = if std::mem::replace(&mut last, now) == now { unchanged + 1 } else { 0 };
        if unchanged < 20 { Err(format!("{now} given")) } else { Ok(()) }
    })
    .await;
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
        // Never more on the way than QUIC's windows of both sides hold.
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

#[tokio::test]
async fn a_result_left_unread_does_not_hold_up_other_calls() {
    let (_pair, remote, _) = provided().await;
    let unread = remote.bytes("bytes", (1000,)).await.unwrap();
    for _ in 0..10 {
        assert_eq!(soon(remote.call::<Vec<u32>>("count", (1,))).await.unwrap(), [0]);
    }
    drop(unread);
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

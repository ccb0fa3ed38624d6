//! What the measured nodes offer to each other: an echo behind `dial`, and a sink that counts the bytes that came right.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::ensure;
use atoll::Id;
use atoll::net::session::{Sessions, Socket};
use atoll::node::SOCKET;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::samples::Samples;

/// The streams that are swallowed.
const SINK: &str = "measure/sink/1";

/// Bytes of a small message.
pub(super) const MESSAGE: usize = 64;

/// Bytes that a stream writes at once.
const CHUNK: usize = 64 << 10;

/// Bytes after which the pattern of every stream repeats itself: a prime, so that nothing lost or doubled goes unnoticed.
const PERIOD: usize = 251;

/// Enough of the pattern for a chunk that begins anywhere in it.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| (0..CHUNK + PERIOD).map(|i| (i % PERIOD) as u8).collect());

/// `length` bytes of the pattern, from the byte numbered `from` on. At most [`CHUNK`].
fn pattern(from: u64, length: usize) -> &'static [u8] {
    let begin = (from % PERIOD as u64) as usize;
    &PATTERN[begin..begin + length]
}

/// Echoes what is dialled to this node, and swallows what is sent to its sink.
pub(super) fn serve(node: &Sessions) -> anyhow::Result<()> {
    let (mut echo, mut sink) = (node.listen(SOCKET)?, node.listen(SINK)?);
    tokio::spawn(async move {
        while let Some(socket) = echo.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.into_split();
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            });
        }
    });
    tokio::spawn(async move {
        while let Some(socket) = sink.accept().await {
            tokio::spawn(swallow(socket));
        }
    });
    Ok(())
}

/// Counts the bytes up to the first that is wrong, and says how many there were once the stream has ended.
async fn swallow(socket: Socket) {
    let (mut reader, mut writer) = socket.into_split();
    let (mut right, mut broken) = (0, false);
    while let Ok(Some(bytes)) = reader.read_bytes(CHUNK).await {
        broken |= bytes[..] != *pattern(right, bytes.len());
        if !broken {
            right += bytes.len() as u64;
        }
    }
    if writer.write_u64(right).await.is_ok() {
        let _ = writer.shutdown().await;
    }
}

/// How long it takes to dial a peer, send it 64 bytes and have them back.
pub(super) async fn call(node: &Sessions, peer: Id) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut socket = node.open(peer, SOCKET).await?;
    let message = pattern(0, MESSAGE);
    socket.write_all(message).await?;
    let mut echo = [0; MESSAGE];
    socket.read_exact(&mut echo).await?;
    let took = begun.elapsed();
    ensure!(echo == message, "the echo differs from what was sent");
    socket.shutdown().await?;
    Ok(took)
}

/// Times of `count` [calls](call), one after the other.
pub(super) async fn calls(node: &Sessions, peer: Id, count: usize) -> anyhow::Result<Samples> {
    let mut times = Samples::default();
    for _ in 0..count {
        times.push_time(call(node, peer).await?);
    }
    Ok(times)
}

/// Times of `count` round trips of 64 bytes on one socket.
pub(super) async fn round_trips(node: &Sessions, peer: Id, count: usize) -> anyhow::Result<Samples> {
    let mut socket = node.open(peer, SOCKET).await?;
    let (mut times, mut echo) = (Samples::default(), [0; MESSAGE]);
    for _ in 0..count {
        let begun = Instant::now();
        socket.write_all(pattern(0, MESSAGE)).await?;
        socket.read_exact(&mut echo).await?;
        times.push_time(begun.elapsed());
    }
    socket.shutdown().await?;
    Ok(times)
}

/// Messages of 64 bytes a second that arrive on one socket, each written by itself.
pub(super) async fn messages_a_second(node: &Sessions, peer: Id, count: usize) -> anyhow::Result<f64> {
    let rate = send(node, peer, count * MESSAGE, MESSAGE).await?;
    Ok(rate / MESSAGE as f64)
}

/// Bytes a second of one stream.
pub(super) async fn bytes_a_second(node: &Sessions, peer: Id, bytes: usize) -> anyhow::Result<f64> {
    send(node, peer, bytes, CHUNK).await
}

/// Bytes a second, from the first write until the peer says that it has them all.
async fn send(node: &Sessions, peer: Id, bytes: usize, chunk: usize) -> anyhow::Result<f64> {
    let mut socket = node.open(peer, SINK).await?;
    let begun = Instant::now();
    let mut sent = 0;
    while sent < bytes {
        let length = chunk.min(bytes - sent);
        socket.write_all(pattern(sent as u64, length)).await?;
        sent += length;
    }
    socket.shutdown().await?;
    let arrived = socket.read_u64().await?;
    let took = begun.elapsed();
    ensure!(arrived == bytes as u64, "{arrived} of {bytes} bytes arrived");
    Ok(bytes as f64 / took.as_secs_f64())
}

/// What became of a stream.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Flow {
    /// Bytes that were written.
    pub(super) sent: u64,
    /// Bytes that arrived, all right and in their order; none if the stream broke.
    pub(super) arrived: u64,
    /// Why it broke.
    pub(super) broken: Option<String>,
}

/// How a stream goes on.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Pace {
    /// Bytes written at once, at most 64 KiB.
    pub(super) chunk: usize,
    /// Milliseconds from one chunk to the next.
    pub(super) every_ms: u64,
    /// Milliseconds after which it ends.
    pub(super) for_ms: u64,
}

/// A stream that goes on for a time, whatever happens meanwhile.
pub(super) async fn flow(node: &Sessions, peer: Id, pace: Pace) -> Flow {
    let mut flow = Flow { sent: 0, arrived: 0, broken: None };
    let going = async {
        let mut socket = node.open(peer, SINK).await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(pace.every_ms));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(pace.for_ms) {
            ticks.tick().await;
            let chunk = pattern(flow.sent, pace.chunk.min(CHUNK));
            socket.write_all(chunk).await?;
            flow.sent += chunk.len() as u64;
        }
        socket.shutdown().await?;
        anyhow::Ok(socket.read_u64().await?)
    };
    match going.await {
        Ok(arrived) => flow.arrived = arrived,
        Err(error) => flow.broken = Some(error.to_string()),
    }
    flow
}

//! `node-cli bench`: latency and throughput to a peer, beside those of a raw data channel of the same run.
//!
//! The raw channel is a link between two ends in this process, over loopback: without routing, without sessions. The peer
//! serves the other end on the stream [`STREAM`], which begins with one byte: what it is to do.

mod raw;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::Id;
use atoll::net::session::Socket;
use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::args::{NodeArgs, PeerArgs};
use crate::dial;
use crate::join::Visit;
use crate::output::Output;
use crate::trace;

/// The stream whose far end echoes or counts.
pub(crate) const STREAM: &str = "atoll/bench/1";

/// The peer sends everything back.
const ECHO: u8 = b'e';

/// The peer counts the bytes to the end, and then sends their number, 8 bytes, the most significant first.
const COUNT: u8 = b'c';

/// Bytes of a small message.
const SMALL: usize = 64;

/// Bytes written at a time where throughput is measured.
const LARGE: usize = 64 * 1024;

/// Bytes that the far end takes at a time.
const CHUNK: usize = 256 * 1024;

/// Round trips before those that count.
const WARM_UP: usize = 200;

/// Round trips that count, at most.
const ROUND_TRIPS: usize = 5000;

/// How long each part takes at most.
const PART: Duration = Duration::from_secs(1);

/// How long the peer may take to answer, once a part is done.
const ANSWER: Duration = Duration::from_secs(10);

/// The three figures, of a session or of a raw channel.
#[derive(Debug, Default)]
struct Figures {
    /// Median and 99th percentile of a round trip of 64 bytes.
    latency: (Duration, Duration),
    /// Messages of 64 bytes a second, one way.
    messages: f64,
    /// MiB a second, one way.
    throughput: f64,
}

pub(crate) async fn run(args: &PeerArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    Visit::run(node, Some(&args.peer), async |visit: &Visit| {
        let peer = visit.find(&args.peer).await?.id;
        let hops = trace::hops(visit, peer).await?.len();
        let session = Figures {
            latency: latency(open(visit, peer, ECHO).await?).await?,
            messages: flow(open(visit, peer, COUNT).await?, SMALL).await? * (1 << 20) as f64 / SMALL as f64,
            throughput: flow(open(visit, peer, COUNT).await?, LARGE).await?,
        };
        // A busy session gets a link of its own.
        let hops_after = visit.node.trace(peer).await.map_or(hops, |hops| hops.len());
        let raw = raw::measure().await.context("cannot measure a raw data channel")?;
        output.line(
            format_args!("peer {peer}: {hops} hops at first, {hops_after} at the end"),
            &json!({ "figure": "hops", "value": hops, "at_the_end": hops_after, "peer": peer }),
        )?;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        for (figure, what, unit, value, raw) in [
            ("latency-p50", "round trip of 64 bytes, p50", "µs", micros(session.latency.0), micros(raw.latency.0)),
            ("latency-p99", "round trip of 64 bytes, p99", "µs", micros(session.latency.1), micros(raw.latency.1)),
            ("messages", "messages of 64 bytes, one way", "/s", session.messages, raw.messages),
            ("throughput", "stream, one way", "MiB/s", session.throughput, raw.throughput),
        ] {
            let ratio = value / raw;
            output.line(
                format_args!("{what:<30} {value:>9.0} {unit:<5}  raw data channel {raw:>9.0}   ratio {ratio:.2}"),
                &json!({ "figure": figure, "value": value, "unit": unit, "raw": raw, "ratio": ratio, "peer": peer }),
            )?;
        }
        Ok(())
    })
    .await
}

/// The far end of a bench.
pub(crate) async fn serve(mut socket: Socket) -> anyhow::Result<()> {
    let task = socket.read_u8().await?;
    let (mut reader, mut writer) = socket.into_split();
    let mut count = 0;
    match task {
        ECHO => {
            while let Some(bytes) = reader.read_bytes(CHUNK).await? {
                writer.write_bytes(bytes).await?;
            }
        }
        COUNT => {
            while let Some(bytes) = reader.read_bytes(CHUNK).await? {
                count += bytes.len() as u64;
            }
            writer.write_bytes(Bytes::copy_from_slice(&count.to_be_bytes())).await?;
        }
        other => bail!("no such task: {other}"),
    }
    Ok(writer.finish().await?)
}

async fn open(visit: &Visit, peer: Id, task: u8) -> anyhow::Result<Socket> {
    let mut socket = match visit.node.sessions().get(peer) {
        Some(session) => session.open(STREAM).await?,
        None => dial::open(visit, peer, STREAM).await?,
    };
    socket.write_u8(task).await?;
    Ok(socket)
}

/// Median and 99th percentile of the round trips of a small message.
async fn latency(mut socket: Socket) -> anyhow::Result<(Duration, Duration)> {
    let mut times = Vec::with_capacity(WARM_UP + ROUND_TRIPS);
    let begun = Instant::now();
    let ping = async {
        let mut message = [0; SMALL];
        while times.len() < WARM_UP + ROUND_TRIPS && (begun.elapsed() < PART || times.len() <= WARM_UP) {
            let sent = Instant::now();
            socket.write_all(&message).await?;
            socket.read_exact(&mut message).await?;
            times.push(sent.elapsed());
        }
        std::io::Result::Ok(())
    };
    timeout(PART + ANSWER, ping).await.context("the peer fell silent")?.context("the peer does not take part")?;
    times.drain(..WARM_UP);
    Ok(percentiles(times))
}

/// MiB a second through a stream, written in pieces of this size.
async fn flow(mut socket: Socket, piece: usize) -> anyhow::Result<f64> {
    let bytes = vec![0; piece];
    let begun = Instant::now();
    let count = async {
        let mut sent = 0;
        while begun.elapsed() < PART {
            socket.write_all(&bytes).await?;
            sent += piece as u64;
        }
        socket.shutdown().await?;
        std::io::Result::Ok((sent, socket.read_u64().await?))
    };
    let (sent, counted) =
        timeout(PART + ANSWER, count).await.context("the peer fell silent")?.context("the peer does not take part")?;
    let time = begun.elapsed();
    if counted != sent {
        bail!("the peer counted {counted} bytes of {sent}");
    }
    Ok(sent as f64 / time.as_secs_f64() / (1 << 20) as f64)
}

/// The median and the 99th percentile of at least one time.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

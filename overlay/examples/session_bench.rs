//! What sessions cost and carry, over a ring in memory: `cargo run --release -p atoll-overlay --example session_bench`.
//!
//! The carrier is one bounded queue and one task a node, as a driver has, without WebRTC: so this is the upper bound that QUIC sets.

use std::time::{Duration, Instant};

use atoll::Identity;
use atoll::net::session::memory::{Conditions, MemoryRing};
use atoll::net::session::{Congestion, Sessions, Settings, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ECHO: &str = "bench/echo/1";
const SINK: &str = "bench/sink/1";

/// Bytes in a small message.
const MESSAGE: usize = 64;

/// Bytes that a stream writes at once.
const CHUNK: usize = 64 << 10;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let clean = Conditions::default();
    let dropping = |queue| Conditions { pushes_back: false, queue, ..Conditions::default() };
    // The rate of a raw data channel on this kind of machine, and the way of a WAN.
    let link = |pushes_back| Conditions { rate: Some(150 << 20), pushes_back, queue: 64, ..Conditions::default() };
    let wan = |loss_ppm| Conditions {
        rate: Some(20 << 20),
        delay: Duration::from_millis(15),
        loss_ppm,
        pushes_back: false,
        ..Conditions::default()
    };

    let (alice, bob) = pair(clean.clone(), Congestion::Cubic).await?;
    let trips = round_trips(&alice, bob.id(), 20_000).await?;
    let (p50, p99) = (percentile(&trips, 50), percentile(&trips, 99));
    println!("round trip of {MESSAGE} B on an open socket   p50 {p50:>9.1?}   p99 {p99:>9.1?}");
    let calls = calls(&alice, bob.id(), 5_000).await?;
    let (p50, p99) = (percentile(&calls, 50), percentile(&calls, 99));
    println!("call of {MESSAGE} B on a socket of its own    p50 {p50:>9.1?}   p99 {p99:>9.1?}");
    let rate = messages_a_second(&alice, bob.id(), 500_000).await?;
    println!("one-way messages of {MESSAGE} B               {rate:>9.0} a second");

    for congestion in [Congestion::Cubic, Congestion::Bbr] {
        for (name, conditions, megabytes) in [
            ("no bound but the CPU, queue of 256 pushes back", clean.clone(), 512),
            ("no bound but the CPU, queue of 256 drops", dropping(256), 512),
            ("150 MiB/s, queue of 64 pushes back", link(true), 256),
            ("150 MiB/s, queue of 64 drops", link(false), 256),
            ("20 MiB/s, 30 ms, queue of 256 drops", wan(0), 40),
            ("20 MiB/s, 30 ms, and 0.5 % lost", wan(5_000), 20),
        ] {
            let (alice, bob) = pair(conditions, congestion).await?;
            let stream = stream(&alice, bob.id(), megabytes << 20).await?;
            println!(
                "stream, {congestion:?}: {name:<48} {:>7.1} MiB/s   {} lost of {} packets of {} B, {} back, round trip {:.1?}",
                stream.mebibytes_a_second,
                stream.lost,
                stream.packets,
                stream.packet_size,
                stream.answers,
                stream.round_trip
            );
        }
    }
    Ok(())
}

/// Two nodes; the second echoes and swallows.
async fn pair(conditions: Conditions, congestion: Congestion) -> Result<(Sessions, Sessions), Failure> {
    let ring = MemoryRing::new(conditions, 1);
    let settings = Settings { congestion, ..Settings::default() };
    let alice = ring.join(&Identity::generate(), settings.clone())?;
    let bob = ring.join(&Identity::generate(), settings)?;
    serve_echo(&bob)?;
    serve_sink(&bob)?;
    Ok((alice, bob))
}

/// How long each of `count` round trips of a small message takes, one after the other on one socket.
async fn round_trips(node: &Sessions, peer: atoll::Id, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut socket = node.open(peer, ECHO).await?;
    let mut message = [7; MESSAGE];
    let mut trips = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        socket.write_all(&message).await?;
        socket.read_exact(&mut message).await?;
        trips.push(start.elapsed());
    }
    socket.shutdown().await?;
    Ok(trips)
}

/// The same with a socket for each, opened and shut down: what an object call costs.
async fn calls(node: &Sessions, peer: atoll::Id, count: usize) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let mut socket = node.open(peer, ECHO).await?;
        socket.write_all(&[7; MESSAGE]).await?;
        socket.shutdown().await?;
        let mut answer = Vec::with_capacity(MESSAGE);
        socket.read_to_end(&mut answer).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// How many small messages a second arrive, each written by itself.
async fn messages_a_second(node: &Sessions, peer: atoll::Id, count: usize) -> Result<f64, Failure> {
    let mut socket = node.open(peer, SINK).await?;
    let start = Instant::now();
    for _ in 0..count {
        socket.write_all(&[7; MESSAGE]).await?;
    }
    until_swallowed(&mut socket, count * MESSAGE).await?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

struct Stream {
    mebibytes_a_second: f64,
    lost: u64,
    packets: u64,
    /// Packets that came back: acknowledgements, all but a few.
    answers: u64,
    packet_size: u16,
    round_trip: Duration,
}

/// How fast `bytes` arrive at the other end, handshake and growing packets excluded: those come with the first eighth.
async fn stream(node: &Sessions, peer: atoll::Id, bytes: usize) -> Result<Stream, Failure> {
    let mut warm_up = node.open(peer, SINK).await?;
    send(&mut warm_up, bytes / 8).await?;
    let mut socket = node.open(peer, SINK).await?;
    let session = socket.session().clone();
    let before = session.stats();
    let start = Instant::now();
    send(&mut socket, bytes).await?;
    let took = start.elapsed();
    let after = session.stats();
    Ok(Stream {
        mebibytes_a_second: bytes as f64 / f64::from(1 << 20) / took.as_secs_f64(),
        lost: after.lost_packets - before.lost_packets,
        packets: after.sent_packets - before.sent_packets,
        answers: after.received_packets - before.received_packets,
        packet_size: after.packet_size,
        round_trip: after.round_trip,
    })
}

async fn send(socket: &mut Socket, bytes: usize) -> Result<(), Failure> {
    let chunk = vec![7; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK);
        socket.write_all(&chunk[..now]).await?;
        left -= now;
    }
    until_swallowed(socket, bytes).await
}

/// Shuts down and waits for the sink to say how many bytes it got.
async fn until_swallowed(socket: &mut Socket, bytes: usize) -> Result<(), Failure> {
    socket.shutdown().await?;
    let arrived = socket.read_u64().await?;
    if arrived != bytes as u64 {
        return Err(format!("{arrived} of {bytes} bytes arrived").into());
    }
    Ok(())
}

fn serve_echo(node: &Sessions) -> Result<(), Failure> {
    let mut listener = node.listen(ECHO)?;
    tokio::spawn(async move {
        while let Some(socket) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.into_split();
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            });
        }
    });
    Ok(())
}

fn serve_sink(node: &Sessions) -> Result<(), Failure> {
    let mut listener = node.listen(SINK)?;
    tokio::spawn(async move {
        while let Some(socket) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = socket.into_split();
                let mut arrived = 0;
                while let Ok(Some(bytes)) = reader.read_bytes(CHUNK).await {
                    arrived += bytes.len() as u64;
                }
                if writer.write_u64(arrived).await.is_ok() {
                    let _ = writer.shutdown().await;
                }
            });
        }
    });
    Ok(())
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

//! What one link does on loopback: how fast it opens, its round trip, its throughput, its memory.
//!
//! `cargo run --release -p atoll-overlay --example link_bench`

#![expect(clippy::unwrap_used, reason = "a link that cannot be opened on loopback ends the measurement")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use atoll::net::link::{
    Channel, Link, LinkEvent, LinkKey, LinkSender, LinkSettings, MAX_MESSAGE, SendError, Transport, native,
};
use bytes::BytesMut;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    if wants("open") {
        let (median, p99, worst) = open_times(100).await;
        println!("open, one after another:   median {median:.1?}  p99 {p99:.1?}  worst {worst:.1?}");
    }
    if wants("many") {
        let (all, cpu, fds) = open_many(32, 200).await;
        println!(
            "200 links of 32 nodes at once: {all:.2?}, CPU a link {:.2} ms, {fds:.1} sockets a link and end",
            cpu * 1e3
        );
    }
    if wants("rtt") {
        for channel in Channel::ALL {
            let (p50, p99) = round_trip(channel, 5000).await;
            println!("round trip of 64 B, {:4}: p50 {p50:.1?}  p99 {p99:.1?}", channel.label());
        }
    }
    if wants("flow") {
        for (size, total) in [(MAX_MESSAGE, 256 << 20), (1200, 64 << 20), (100, 16 << 20)] {
            for channel in Channel::ALL {
                let cpu = cpu_seconds();
                let (sent, received, time) = flow(channel, size, total).await;
                let cpu = (cpu_seconds() - cpu) * 1e6 / received as f64;
                let rate = received as f64 / time.as_secs_f64();
                println!(
                    "{size:5} B messages, {:4}: {:8.0} a second, {:6.1} MiB/s, CPU {cpu:.1} µs a message, lost {:.3} %",
                    channel.label(),
                    rate,
                    rate * size as f64 / 1048576.0,
                    100.0 * (sent - received) as f64 / sent as f64
                );
            }
        }
    }
    if wants("idle") {
        let (memory, cpu) = idle(100).await;
        println!("idle: {:.0} KiB a link and end, {:.3} % of a core a link and end", memory / 1024.0, cpu * 100.0);
    }
}

/// A transport on loopback.
fn transport() -> Transport {
    native::transport(LinkSettings { bind: vec![Ipv4Addr::LOCALHOST.into()], ..Default::default() }).unwrap()
}

/// Both ends of a link.
async fn link(a: &Transport, b: &Transport) -> (Link, Link) {
    let (dialling, offer) = a.offer().await.unwrap();
    let (answering, answer) = b.answer(&offer).await.unwrap();
    dialling.accept(&answer).await.unwrap();
    let (near, far) = tokio::join!(dialling.open(), answering.open());
    (near.unwrap(), far.unwrap())
}

/// Median, 99th percentile and worst time from the offer to both channels open at both ends.
async fn open_times(count: usize) -> (Duration, Duration, Duration) {
    let (a, b) = (transport(), transport());
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let ends = link(&a, &b).await;
        times.push(begun.elapsed());
        drop(ends);
    }
    times.sort();
    (times[count / 2], times[count * 99 / 100], times[count - 1])
}

/// Time until all links are open, seconds of CPU a link, sockets of one end.
async fn open_many(nodes: usize, links: usize) -> (Duration, f64, f64) {
    let transports: Vec<Transport> = (0..nodes).map(|_| transport()).collect();
    let (fds, cpu, begun) = (descriptors(), cpu_seconds(), Instant::now());
    let mut openings = tokio::task::JoinSet::new();
    for i in 0..links {
        let (a, b) = (transports[i % nodes].clone(), transports[(i * 7 + 1 + i / nodes) % nodes].clone());
        openings.spawn(async move { link(&a, &b).await });
    }
    let open = openings.join_all().await;
    let all = begun.elapsed();
    let used = (cpu_seconds() - cpu) / links as f64;
    let fds = (descriptors() - fds) as f64 / (2 * links) as f64;
    drop(open);
    (all, used, fds)
}

/// Median and 99th percentile of a message of 64 bytes and its answer.
async fn round_trip(channel: Channel, count: usize) -> (Duration, Duration) {
    let (near, far) = link(&transport(), &transport()).await;
    let (near_events, mut near_queue) = mpsc::channel(256);
    let (far_events, mut far_queue) = mpsc::channel(256);
    let near = near.forward(LinkKey(0), near_events);
    let far = far.forward(LinkKey(1), far_events);
    tokio::spawn(async move {
        while let Some(event) = far_queue.recv().await {
            if let LinkEvent::Frame { channel, bytes, .. } = event {
                far.try_send(channel, bytes).unwrap();
            }
        }
    });
    let ping = tokio::spawn(async move {
        let mut times = Vec::new();
        for _ in 0..count + 500 {
            let begun = Instant::now();
            near.try_send(channel, BytesMut::zeroed(64)).unwrap();
            while !matches!(near_queue.recv().await, Some(LinkEvent::Frame { .. })) {}
            times.push(begun.elapsed());
        }
        times.drain(..500);
        times
    });
    let mut times = ping.await.unwrap();
    times.sort();
    (times[count / 2], times[count * 99 / 100])
}

/// Messages sent and received, and the time it took.
async fn flow(channel: Channel, size: usize, total: usize) -> (usize, usize, Duration) {
    let (near, far) = link(&transport(), &transport()).await;
    let (events, mut queue) = mpsc::channel(256);
    let _far = far.forward(LinkKey(1), events);
    let near: LinkSender = near.sender().clone();
    let count = total / size;
    let begun = Instant::now();
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            loop {
                match near.try_send(channel, BytesMut::zeroed(size)) {
                    Ok(()) => break,
                    Err(SendError::Full) => near.ready(channel).await.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        near
    });
    let receiver = tokio::spawn(async move {
        let (mut received, mut last) = (0, Instant::now());
        while received < count {
            match tokio::time::timeout(Duration::from_secs(2), queue.recv()).await {
                Ok(Some(LinkEvent::Frame { .. })) => (received, last) = (received + 1, Instant::now()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        (received, last)
    });
    let _near = sender.await.unwrap();
    let (received, last) = receiver.await.unwrap();
    (count, received, last - begun)
}

/// Bytes of memory and share of a core of one end of a link that carries nothing.
async fn idle(links: usize) -> (f64, f64) {
    let (a, b) = (transport(), transport());
    let mut held = vec![link(&a, &b).await];
    let before = resident();
    for _ in 0..links {
        held.push(link(&a, &b).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = (resident() - before) / (2 * links) as f64;
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let cpu = (cpu_seconds() - cpu) / begun.elapsed().as_secs_f64() / (2 * links) as f64;
    drop(held);
    (memory, cpu)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count())
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// Seconds of CPU that this process has used; the kernel counts in hundredths.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

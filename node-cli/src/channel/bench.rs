//! `node-cli bench-channel`: a ring of nodes in this process, a channel on it, and what its messages take.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::Node;
use atoll::channel::{Channel, ChannelOptions, Subscription};
use atoll_signalling::Settings;
use serde_json::json;

use super::Pace;
use crate::args::BenchChannelArgs;
use crate::listen::Door;
use crate::output::Output;

/// How long a message may take before the bench counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The scope of the messages before it begins.
const SETTLING: &str = "settling";

/// How long such a message may take before the next one is tried.
const SETTLES_WITHIN: Duration = Duration::from_millis(200);

/// A ring of nodes in this process, a channel on it, one publisher, and what its messages take.
pub(crate) async fn bench(args: &BenchChannelArgs, output: Output) -> anyhow::Result<()> {
    let door = Door::open(Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() }).await?;
    let mut nodes = Vec::new();
    for _ in 0..args.nodes {
        let node = Node::builder().signalling(door.url.as_str()).bind(IpAddr::V4(Ipv4Addr::LOCALHOST));
        nodes.push(node.start().await?);
    }
    let mut options = ChannelOptions::new("bench");
    if args.unsigned {
        options = options.unsigned();
    }
    let channels = futures::future::try_join_all(nodes.iter().map(|node| node.join(options.clone()))).await?;
    tokio::time::timeout(PATIENCE, settle(&channels)).await.context("the channel does not reach all nodes")??;
    let readers: Vec<_> =
        channels[1..].iter().map(|channel| tokio::spawn(read(channel.subscribe(""), args.count))).collect();
    let begun = Instant::now();
    flood(&channels[0], args).await?;
    let (mut times, mut lost) = (Vec::new(), 0);
    for reader in readers {
        let (seen, missed) = tokio::time::timeout(PATIENCE, reader).await.context("messages are missing")???;
        times.extend(seen);
        lost += missed;
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0.0, |micros| *micros as f64 / 1e3);
    let (p50, p99, rate) = (at(50), at(99), times.len() as f64 / seconds);
    let came = times.len();
    output.line(
        format_args!("{came} deliveries, {lost} lost: {rate:.0} a second, p50 {p50:.2} ms, p99 {p99:.2} ms"),
        &json!({ "deliveries": came, "lost": lost, "a_second": rate, "p50_ms": p50, "p99_ms": p99, "nodes": args.nodes }),
    )?;
    futures::future::join_all(nodes.iter().map(Node::close)).await;
    door.close().await;
    Ok(())
}

/// Waits until a message of the first reaches all others: nodes that have just started may still find their places on the ring, and a member gets what
/// is published once it stands in one tree with the publisher.
async fn settle(channels: &[Channel]) -> anyhow::Result<()> {
    let mut others: Vec<Subscription> = channels[1..].iter().map(|channel| channel.subscribe(SETTLING)).collect();
    while !others.is_empty() {
        channels[0].publish(SETTLING, Vec::new()).await?;
        let heard = others.iter_mut().map(|other| tokio::time::timeout(SETTLES_WITHIN, other.recv()));
        let mut missing = futures::future::join_all(heard).await.into_iter().map(|heard| heard.is_err());
        others.retain(|_| missing.next().unwrap_or_default());
    }
    Ok(())
}

/// Publishes messages that say when they were made; without a rate, several at once.
async fn flood(channel: &Channel, args: &BenchChannelArgs) -> anyhow::Result<()> {
    const AT_ONCE: u64 = 64;
    let stamped = || {
        let mut payload = since_1970().to_be_bytes().to_vec();
        payload.resize(usize::from(args.bytes), 0);
        payload
    };
    let mut pace = Pace::new(args.rate);
    let mut number = 0;
    while number < args.count {
        let together = if args.rate.is_some() { 1 } else { AT_ONCE.min(args.count - number) };
        pace.wait().await;
        let publishing = (0..together).map(|_| channel.publish("", stamped()));
        futures::future::try_join_all(publishing).await?;
        number += together;
    }
    Ok(())
}

/// How long each message took, in microseconds, and how many are lost.
async fn read(mut messages: Subscription, count: u64) -> anyhow::Result<(Vec<u64>, u64)> {
    let (mut times, mut lost) = (Vec::new(), 0);
    while times.len() as u64 + lost < count {
        match messages.recv().await.context("the channel ended")? {
            Ok(message) => {
                let stamp = message.payload.get(..8).and_then(|bytes| bytes.try_into().ok());
                let made = u64::from_be_bytes(stamp.context("a message without a stamp")?);
                times.push(since_1970().saturating_sub(made));
            }
            Err(lagged) => lost += lagged.count,
        }
    }
    Ok((times, lost))
}

fn since_1970() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

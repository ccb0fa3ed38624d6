//! The store among real nodes: how soon records are written and read, files beside a stream, and what is there when a third is killed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atoll::Node;
use atoll::proto::Quotas;
use atoll::record::Key;
use futures::stream::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::child::NodeOptions;
use super::children::{NodeProcess, ServerProcess, await_ring};
use super::report::{Figure, Report};
use super::samples::Samples;
use super::{services, sim};
use crate::{TestServer, await_one_ring};

/// Nodes in one process.
const NODES: usize = 32;

/// Links of a node at most: few, so that requests take several hops.
const LINKS: usize = 16;

/// Records that are written and read one after the other, and then so many at once.
const RECORDS: u32 = 500;
const MANY_RECORDS: u32 = 4000;
const AT_ONCE: usize = 64;

/// Bytes of a record.
const BYTES: usize = 1024;

/// Bytes of the file.
const FILE: usize = 100_000_000;

/// Processes, and how many of them are killed.
const PROCESSES: usize = 16;
const KILLED: usize = 5;

/// Milliseconds between two writings while processes are killed, and for how long.
const EVERY_MS: u64 = 20;
const WRITING: Duration = Duration::from_secs(8);

/// How long anything may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long after the kill all must be there.
const COMPLETE_WITHIN: f64 = 10.0;

const TTL: Duration = Duration::from_secs(3600);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let server = TestServer::start().await;
    // The file is copied six times, and one in 32 nodes may be the owner of a tenth of the ring.
    let quotas = Quotas::of(65_536, 1 << 30);
    let spawn = |_| server.node().max_links(LINKS).quotas(quotas).spawn();
    let nodes = (0..NODES).map(spawn).collect::<Result<Vec<_>, _>>()?;
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    records(report, &nodes).await?;
    file(report, &nodes).await?;
    futures::future::join_all(nodes.iter().map(Node::close)).await;
    while_a_third_is_killed(report).await?;
    sim::store(report).await
}

fn value(number: u32) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(BYTES, 7);
    value
}

async fn records(report: &mut Report, nodes: &[Node]) -> anyhow::Result<()> {
    report.progress(&format!("records among {NODES} nodes"));
    let (mut puts, mut gets) = (Samples::default(), Samples::default());
    for number in 0..RECORDS {
        let (writer, reader) = (&nodes[number as usize % NODES], &nodes[(number as usize * 7 + 3) % NODES]);
        let begun = Instant::now();
        let put = writer.put(value(number), TTL).await?;
        puts.push_time(begun.elapsed());
        let begun = Instant::now();
        ensure!(reader.get(&put.key).await?.is_some(), "a record that was acknowledged is not read");
        gets.push_time(begun.elapsed());
    }
    for (name, times) in [("put, kept by 6", &puts), ("get", &gets)] {
        let figure = Figure::new(format!("one after the other: {name}, p50"), times.median() * 1e3, "ms");
        report.add(figure.with_number("p99_ms", times.percentile(99) * 1e3).with("nodes", NODES).with("bytes", BYTES));
    }
    let numbers = RECORDS..RECORDS + MANY_RECORDS;
    let begun = Instant::now();
    let put =
        |number: u32| async move { anyhow::Ok(nodes[number as usize % NODES].put(value(number), TTL).await?.key) };
    let keys: Vec<Key> =
        futures::stream::iter(numbers).map(put).buffer_unordered(AT_ONCE).try_collect().await.context("put")?;
    let puts_a_second = f64::from(MANY_RECORDS) / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let get = |(at, key): (usize, Key)| async move { anyhow::Ok(nodes[at % NODES].get(&key).await?.is_some()) };
    let found: Vec<bool> = futures::stream::iter(keys.into_iter().enumerate())
        .map(get)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("get")?;
    let gets_a_second = f64::from(MANY_RECORDS) / begun.elapsed().as_secs_f64();
    let missing = found.iter().filter(|found| !**found).count();
    let figure = Figure::new(format!("{AT_ONCE} at once: puts, kept by 6"), puts_a_second, "a second");
    report.add(figure.with("nodes", NODES).with("bytes", BYTES));
    let figure = Figure::new(format!("{AT_ONCE} at once: gets"), gets_a_second, "a second");
    report.add(figure.with("missing", missing));
    Ok(())
}

/// A file beside a stream between two of the nodes.
async fn file(report: &mut Report, nodes: &[Node]) -> anyhow::Result<()> {
    report.progress(&format!("a file of {} MB", FILE / 1_000_000));
    let (writer, reader) = (&nodes[0], &nodes[NODES / 2]);
    services::serve(reader.sessions())?;
    let stream = services::bytes_a_second(writer.sessions(), reader.id(), FILE).await?;
    let mib = |rate: f64| rate / f64::from(1 << 20);
    // Blocks that are alike would be one record.
    let bytes: Vec<u8> = (0..FILE as u64 / 8).flat_map(|number| number.to_be_bytes()).collect();
    let begun = Instant::now();
    let put = writer.put_file(&bytes[..], TTL).await?;
    let put_rate = bytes.len() as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let mut copy = Vec::with_capacity(bytes.len());
    reader.get_file(&put.key, &mut copy).await?;
    let get_rate = bytes.len() as f64 / begun.elapsed().as_secs_f64();
    ensure!(copy == bytes, "the file that came is not the one that was stored");
    for (name, rate) in [("put, each block kept by 6", put_rate), ("get", get_rate)] {
        let figure = Figure::new(format!("a file of {} MB: {name}", FILE / 1_000_000), mib(rate), "MiB/s");
        let figure = figure.with_number("of_a_stream", rate / stream).with_number("stream_MiB/s", mib(stream));
        report.add(figure.with("values", put.values).with("copies_at_least", put.copies));
    }
    Ok(())
}

/// What a process wrote: the keys that were acknowledged, and how many were not.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub(super) struct Wrote {
    keys: Vec<String>,
    refused: u32,
}

/// Writes a record every so often, as long as that.
pub(super) async fn write(node: &Node, every: Duration, lasts: Duration) -> Wrote {
    let begun = tokio::time::Instant::now();
    let mut wrote = Wrote::default();
    for number in 0.. {
        tokio::time::sleep_until(begun + every * number).await;
        if begun.elapsed() >= lasts {
            break;
        }
        let mut value = node.id().to_bytes().to_vec();
        value.extend_from_slice(&number.to_be_bytes());
        match node.put(value, TTL).await {
            Ok(put) => wrote.keys.push(put.key.to_string()),
            Err(_) => wrote.refused += 1,
        }
    }
    wrote
}

/// Reads all of these, each again and again until it is there, until the time is over. Gives how many are missing.
pub(super) async fn read(node: &Node, keys: &[String], within: Duration) -> anyhow::Result<usize> {
    let until = Instant::now() + within;
    let keys: Vec<Key> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let read = |key: Key| async move {
        loop {
            if matches!(node.get(&key).await, Ok(Some(_))) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found: Vec<bool> = futures::stream::iter(keys).map(read).buffer_unordered(AT_ONCE / 4).collect().await;
    Ok(found.iter().filter(|found| !**found).count())
}

/// Two processes write while a third of all is killed.
async fn while_a_third_is_killed(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("kill -9 of a third of {PROCESSES} nodes while records are written"));
    let server = ServerProcess::start(0).await?;
    let options = NodeOptions { max_links: 8, ..NodeOptions::new(&server.url) };
    let mut nodes = NodeProcess::start_all(PROCESSES, &options)?;
    await_ring(&nodes, PATIENCE).await?;
    let dead = nodes.split_off(PROCESSES - KILLED);
    let writing = futures::future::try_join_all(nodes[..2].iter().map(|node| node.write(EVERY_MS, WRITING)));
    let killing = async {
        tokio::time::sleep(WRITING / 3).await;
        futures::future::try_join_all(dead.into_iter().map(NodeProcess::kill)).await?;
        Ok(Instant::now())
    };
    let (wrote, killed) = tokio::try_join!(writing, killing)?;
    let keys: Vec<String> = wrote.iter().flat_map(|wrote| wrote.keys.iter().cloned()).collect();
    let refused: u32 = wrote.iter().map(|wrote| wrote.refused).sum();
    let left = Duration::from_secs_f64(COMPLETE_WITHIN).saturating_sub(killed.elapsed());
    let missing = futures::future::try_join_all(nodes.iter().map(|node| node.read(keys.clone(), left))).await?;
    let missing: usize = missing.iter().sum();
    let name = format!("kill -9 of {KILLED} of {PROCESSES}: acknowledged records missing at survivors after 10 s");
    let figure = Figure::new(name, missing as f64, "records").exactly(0.0);
    let figure = figure.with("acknowledged", keys.len()).with("not_acknowledged", refused).with("readers", nodes.len());
    report.add(figure.with_number("all_read_after_s", killed.elapsed().as_secs_f64()));
    Ok(())
}

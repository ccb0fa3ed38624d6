//! Channels among real nodes: how soon messages arrive, how many, what each costs, and what arrives when a third of all is killed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atoll::channel::{Channel, ChannelOptions, Subscription};
use atoll::proto::ChannelStats;
use atoll::wire::{ChannelId, Envelope, Frame, Header, Label, Message, Published, Terms, kind};
use atoll::{Id, Identity, Node};
use serde::{Deserialize, Serialize};

use super::child::NodeOptions;
use super::children::{NodeProcess, PestProcess, ServerProcess, await_ring, places};
use super::process::cpu_seconds;
use super::report::{Figure, Report};
use super::samples::Samples;
use crate::{TestServer, await_one_ring};

/// Nodes in one process.
const NODES: usize = 32;

/// Bytes of a message.
const BYTES: usize = 256;

/// Messages a second, and how long they flow.
type Pace = (u64, Duration);

/// Where delivery is timed.
const STEADY: Pace = (200, Duration::from_secs(10));

/// The same beside a hostile member: few enough that the nodes, which share the machine with each other and with it, are not busy
/// without it.
const AMONG_HOSTILE: Pace = (50, Duration::from_secs(10));

/// How long messages are published as fast as it goes.
const FLOOD: Duration = Duration::from_secs(5);

/// Messages that are being published at once then.
const AT_ONCE: usize = 128;

/// Links of a node at most: few, so that messages take several hops.
const LINKS: usize = 16;

/// Processes, and how many of them are killed.
const PROCESSES: usize = 16;

/// Messages of each publisher while processes are killed, and the milliseconds between two.
const WHILE_KILLING: (u32, u64) = (600, 20);

/// How long anything may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long after the kill all must be there.
const COMPLETE_WITHIN: f64 = 10.0;

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let server = TestServer::start().await;
    let spawn = |_| server.node().max_links(LINKS).spawn();
    let nodes = (0..NODES).map(spawn).collect::<Result<Vec<_>, _>>()?;
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    in_one_process(report, &nodes, "signed", ChannelOptions::new("measured")).await?;
    in_one_process(report, &nodes, "unsigned", ChannelOptions::new("measured").unsigned()).await?;
    among_hostile(report, &server, &nodes).await?;
    futures::future::join_all(nodes.iter().map(Node::close)).await;
    parts(report);
    while_a_third_is_killed(report).await
}

/// What one reader saw.
#[derive(Default)]
struct Seen {
    times: Samples,
    came: u64,
    lost: u64,
}

async fn in_one_process(
    report: &mut Report,
    nodes: &[Node],
    name: &str,
    options: ChannelOptions,
) -> anyhow::Result<()> {
    report.progress(&format!("{NODES} nodes on a channel, {name}"));
    let channels = join_all(nodes, &options).await?;
    let (rate, _) = STEADY;
    let cpu = cpu_seconds();
    let (seen, expected) = publish_steadily(&channels, STEADY).await?;
    let cpu = cpu_seconds() - cpu;
    let delivered = 100.0 * seen.came as f64 / expected as f64;
    let target = |figure: Figure, target: fn(Figure) -> Figure| if name == "signed" { target(figure) } else { figure };
    let figure = Figure::new(format!("{name}, {rate} messages a second: delivered"), delivered, "%");
    report.add(target(figure, |figure| figure.exactly(100.0)).with("expected", expected).with("lost", seen.lost));
    let figure =
        Figure::new(format!("{name}, {rate} messages a second: delivery, p99"), seen.times.percentile(99) * 1e3, "ms");
    let figure = target(figure, |figure| figure.at_most(100.0)).with_number("p50_ms", seen.times.median() * 1e3);
    report.add(figure.with("nodes", NODES).with("links", LINKS).with("bytes", BYTES));
    let each = cpu * 1e6 / seen.came.max(1) as f64;
    report.add(Figure::new(format!("{name}, {rate} messages a second: CPU of all nodes a delivery"), each, "µs"));

    let readers = read_all(&channels[1..]);
    let cpu = cpu_seconds();
    let begun = Instant::now();
    let publishing = (0..AT_ONCE).map(|_| {
        let channel = channels[0].clone();
        tokio::spawn(async move {
            let mut published = 0u64;
            while begun.elapsed() < FLOOD {
                channel.publish("measure", stamped()).await?;
                published += 1;
            }
            anyhow::Ok(published)
        })
    });
    let mut published = 0;
    for publisher in futures::future::join_all(publishing).await {
        published += publisher??;
    }
    let seen = finish(&channels[0], readers).await?;
    let took = begun.elapsed();
    let cpu = cpu_seconds() - cpu;
    let figure = Figure::new(
        format!("{name}, as fast as it goes: deliveries"),
        seen.came as f64 / took.as_secs_f64(),
        "a second",
    );
    let figure =
        target(figure, |figure| figure.at_least(25_000.0)).with("published", published).with("lost", seen.lost);
    let figure = figure.with_number("delivered_%", 100.0 * seen.came as f64 / (published * (NODES as u64 - 1)) as f64);
    report.add(figure.with_number("cpu_µs", cpu * 1e6 / seen.came.max(1) as f64));
    futures::future::join_all(channels.into_iter().map(Channel::leave)).await;
    Ok(())
}

/// The first publishes at its pace; what the others saw, and how much there was to be seen.
async fn publish_steadily(channels: &[Channel], (rate, time): Pace) -> anyhow::Result<(Seen, u64)> {
    let count = rate * time.as_secs();
    let readers = read_all(&channels[1..]);
    let begun = Instant::now();
    for number in 0..count {
        let due = begun + Duration::from_secs_f64(number as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        channels[0].publish("measure", stamped()).await?;
    }
    Ok((finish(&channels[0], readers).await?, count * (NODES as u64 - 1)))
}

/// Without somebody who breaks every rule, with one that does so at links to all nodes in turn, and after that.
async fn among_hostile(report: &mut Report, server: &TestServer, nodes: &[Node]) -> anyhow::Result<()> {
    report.progress("a hostile member");
    let channels = join_all(nodes, &ChannelOptions::new("harassed")).await?;
    let (calm, _, calm_cpu) = publish_among_hostile(&channels).await?;
    let before = counts(nodes).await;
    let victims: Vec<Id> = nodes.iter().map(Node::id).collect();
    ensure!(channels[0].id() == Terms::new("harassed", true, None).id(), "the pest is on another channel");
    let pest = PestProcess::start(&server.url, "harassed", &victims)?;
    let (seen, expected, cpu) = publish_among_hostile(&channels).await?;
    let pest = pest.end().await?;
    let counts = counts(nodes).await;
    let (after, ..) = publish_among_hostile(&channels).await?;
    let delivered =
        Figure::new("with a hostile member: delivered", 100.0 * seen.came as f64 / expected as f64, "%").exactly(100.0);
    let delivered = delivered.with("links", pest.links).with("frames", pest.frames).with("bytes", pest.bytes);
    let delivered = delivered.with("forged", counts.forged - before.forged);
    let delivered = delivered.with("refused", counts.refused - before.refused);
    report.add(delivered.with("dropped", counts.dropped - before.dropped));
    let [p99, calm, after] = [seen, calm, after].map(|seen| seen.times.percentile(99) * 1e3);
    let figure = Figure::new("with a hostile member: delivery, p99, against without", p99 / calm, "×");
    report.add(figure.at_most(1.5).with_number("p99_ms", p99).with_number("calm_p99_ms", calm));
    let figure = Figure::new("after a hostile member: delivery, p99, against before", after / calm, "×");
    report.add(figure.with_number("p99_ms", after));
    let figure = Figure::new("with a hostile member: CPU of all nodes more", cpu - calm_cpu, "s");
    report.add(figure.with_number("calm_s", calm_cpu).with_number("its_own_s", pest.cpu));
    futures::future::join_all(channels.into_iter().map(Channel::leave)).await;
    Ok(())
}

/// What the others saw, how much there was to be seen, and how many seconds of CPU that took.
async fn publish_among_hostile(channels: &[Channel]) -> anyhow::Result<(Seen, u64, f64)> {
    let cpu = cpu_seconds();
    let (seen, expected) = publish_steadily(channels, AMONG_HOSTILE).await?;
    Ok((seen, expected, cpu_seconds() - cpu))
}

/// What nodes have counted, together.
async fn counts(nodes: &[Node]) -> ChannelStats {
    let mut sum = ChannelStats::default();
    for status in futures::future::join_all(nodes.iter().map(Node::status)).await.into_iter().flatten() {
        let stats = status.counters.channels;
        sum.forged += stats.forged;
        sum.refused += stats.refused;
        sum.dropped += stats.dropped;
    }
    sum
}

async fn join_all(nodes: &[Node], options: &ChannelOptions) -> anyhow::Result<Vec<Channel>> {
    Ok(futures::future::try_join_all(nodes.iter().map(|node| node.join(options.clone()))).await?)
}

/// A message that says when it was made.
fn stamped() -> Vec<u8> {
    let mut payload = now().to_be_bytes().to_vec();
    payload.resize(BYTES, 7);
    payload
}

fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

type Reader = tokio::task::JoinHandle<anyhow::Result<Seen>>;

fn read_all(channels: &[Channel]) -> Vec<Reader> {
    let read = |mut subscription: Subscription| async move {
        let mut seen = Seen::default();
        while let Some(item) = subscription.recv().await {
            match item {
                Ok(message) if message.scope == "end" => return Ok(seen),
                Ok(message) if message.scope != "measure" => {}
                Ok(message) => {
                    let made = message.payload.first_chunk().context("a message without a stamp")?;
                    seen.times.push_time(Duration::from_micros(now().saturating_sub(u64::from_be_bytes(*made))));
                    seen.came += 1;
                }
                Err(lagged) => seen.lost += lagged.count,
            }
        }
        anyhow::bail!("the channel ended")
    };
    channels.iter().map(|channel| tokio::spawn(read(channel.subscribe_all()))).collect()
}

async fn finish(channel: &Channel, readers: Vec<Reader>) -> anyhow::Result<Seen> {
    channel.publish("end", "").await?;
    let mut all = Seen::default();
    for reader in tokio::time::timeout(PATIENCE, futures::future::join_all(readers)).await? {
        let seen = reader??;
        all.times.append(seen.times);
        (all.came, all.lost) = (all.came + seen.came, all.lost + seen.lost);
    }
    Ok(all)
}

/// What the parts of a message cost by themselves.
fn parts(report: &mut Report) {
    const TIMES: u32 = 2000;
    let identity = Identity::generate();
    let label = Label { channel: ChannelId([1; 16]), stream: 1, sent: 2, first: 3, pass: None };
    let message = Published { scope: "measure".into(), payload: vec![7; BYTES].into() };
    let time = |act: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..TIMES).for_each(|_| act());
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
    };
    let sign = time(&mut || drop(black_box(Envelope::seal(&identity, true, label, std::slice::from_ref(&message)))));
    let envelope = Arc::new(Envelope::seal(&identity, true, label, &[message]));
    let verify = time(&mut || {
        let _ = black_box(envelope.verify(&identity.public()));
    });
    let frame = || {
        let header = Header::new(kind::ENVELOPE, identity.id(), identity.id());
        Frame { header, message: Message::Envelope(Arc::clone(&envelope)) }
    };
    let encode = time(&mut || drop(black_box(frame().encode())));
    let bytes = frame().encode().freeze();
    let decode = time(&mut || drop(black_box(Frame::decode(bytes.clone()))));
    for (name, value) in
        [("signing", sign), ("verifying", verify), ("writing a frame", encode), ("reading a frame", decode)]
    {
        report.add(Figure::new(format!("parts of a message: {name}"), value, "µs").with("bytes", BYTES));
    }
}

/// What has come to a process: by publisher the numbers, as ranges, and how many the channel says to be lost.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub(super) struct Came {
    /// By publisher: how many different messages, how many twice or out of order.
    publishers: BTreeMap<Id, (u32, u32)>,
    lost: u64,
}

static CAME: Mutex<(Came, BTreeMap<Id, u32>)> =
    Mutex::new((Came { publishers: BTreeMap::new(), lost: 0 }, BTreeMap::new()));

fn lock() -> std::sync::MutexGuard<'static, (Came, BTreeMap<Id, u32>)> {
    CAME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has this process's node join the channel, and notes what comes. Gives the point of its root.
pub(super) async fn join(node: &Node) -> anyhow::Result<Id> {
    let channel = node.join("measured").await?;
    let mut messages = channel.subscribe_all();
    let root = channel.id().point();
    tokio::spawn(async move {
        while let Some(item) = messages.recv().await {
            let (came, next) = &mut *lock();
            match item {
                Ok(message) => {
                    let number = message.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                    let (count, wrong) = came.publishers.entry(message.publisher).or_default();
                    let next = next.entry(message.publisher).or_default();
                    *count += 1;
                    *wrong += u32::from(number < *next);
                    *next = number + 1;
                }
                Err(lagged) => came.lost += lagged.count,
            }
        }
    });
    Ok(root)
}

pub(super) async fn publish(node: &Node, count: u32, every: Duration) -> anyhow::Result<()> {
    let channel = node.join("measured").await?;
    let begun = tokio::time::Instant::now();
    for number in 0..count {
        tokio::time::sleep_until(begun + every * number).await;
        channel.publish("", number.to_be_bytes().to_vec()).await?;
    }
    Ok(())
}

pub(super) fn came() -> Came {
    lock().0.clone()
}

/// Two processes publish while a third of all is killed, the channel's root among them.
async fn while_a_third_is_killed(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("kill -9 of a third of {PROCESSES} members, the root included"));
    let server = ServerProcess::start(0).await?;
    let options = NodeOptions { max_links: 8, ..NodeOptions::new(&server.url) };
    let nodes = NodeProcess::start_all(PROCESSES, &options)?;
    await_ring(&nodes, PATIENCE).await?;
    let places = places(&nodes).await?;
    let point = futures::future::try_join_all(nodes.iter().map(NodeProcess::join)).await?[0];
    let ids: Vec<Id> = places.iter().map(|place| place.id).collect();
    let mut order = ids.clone();
    order.sort_unstable_by_key(|id| point.clockwise_to(*id));
    // The root and every third behind it.
    let doomed: Vec<Id> = order.iter().copied().step_by(3).collect();
    let (dead, alive): (Vec<_>, Vec<_>) = nodes.into_iter().zip(ids).partition(|(_, id)| doomed.contains(id));
    let (count, every) = WHILE_KILLING;
    let publishing = futures::future::try_join_all(alive[..2].iter().map(|(node, _)| node.publish(count, every)));
    let killing = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        futures::future::try_join_all(dead.into_iter().map(|(node, _)| node.kill())).await?;
        Ok(Instant::now())
    };
    let (_, killed) = tokio::try_join!(publishing, killing)?;
    let whole = |came: &Came| came.publishers.values().filter(|(got, _)| *got == count).count() == 2;
    let (came, complete) = loop {
        let came = futures::future::try_join_all(alive.iter().map(|(node, _)| node.came())).await?;
        if came.iter().all(whole) || killed.elapsed() > PATIENCE {
            break (came, killed.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(!came.is_empty(), "nobody is left");
    let expected = 2 * u64::from(count) * came.len() as u64;
    let got: u64 = came.iter().flat_map(|came| came.publishers.values()).map(|(got, _)| u64::from(*got)).sum();
    let wrong: u64 = came.iter().flat_map(|came| came.publishers.values()).map(|(_, wrong)| u64::from(*wrong)).sum();
    let lost: u64 = came.iter().map(|came| came.lost).sum();
    let name = format!("kill -9 of a third of {PROCESSES}, the root included: messages missing at survivors");
    let figure = Figure::new(name, expected.saturating_sub(got) as f64, "messages").exactly(0.0);
    report.add(figure.with("expected", expected).with("told_lost", lost).with("twice_or_out_of_order", wrong));
    // The last was published so long after the kill.
    let after_last = complete.as_secs_f64() - (f64::from(count) * every as f64 / 1e3 - 2.0);
    let figure = Figure::new("the same: all is there, after the kill", complete.as_secs_f64(), "s");
    report.add(figure.at_most(COMPLETE_WITHIN + 1.0).with_number("after_the_last_message_s", after_last.max(0.0)));
    Ok(())
}

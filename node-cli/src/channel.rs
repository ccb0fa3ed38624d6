//! `node-cli pub`, `sub` and `bench-channel`: messages of a channel, from standard input and to standard output.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::Node;
use atoll::channel::{Channel, ChannelMessage, ChannelOptions, Subscription};
use atoll::object::Value;
use atoll_signalling::Settings;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::args::{BenchChannelArgs, ChannelArgs, NodeArgs, PubArgs, SubArgs};
use crate::join::Visit;
use crate::listen::Door;
use crate::objects;
use crate::output::Output;
use crate::secrets;

/// How long a message of the bench may take before the bench counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

impl ChannelArgs {
    fn options(&self) -> anyhow::Result<ChannelOptions> {
        let mut options = ChannelOptions::new(&self.channel);
        if self.unsigned {
            options = options.unsigned();
        }
        if let Some(file) = &self.channel_secret_file {
            options = options.secret(secrets::read("channel secret", file)?);
        }
        Ok(options)
    }
}

pub(crate) async fn publish(args: &PubArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let options = args.channel.options()?;
    Visit::run(node, None, async |visit: &Visit| {
        let channel = visit.node.join(options).await?;
        let scope = args.channel.scope.clone().unwrap_or_default();
        let (begun, mut published) = (Instant::now(), 0);
        let mut pace = Pace::new(args.rate);
        if let Some(message) = args.message.as_ref().filter(|message| *message != "-") {
            for _ in 0..args.count.unwrap_or(1) {
                pace.wait().await;
                channel.publish(&scope, message.clone().into_bytes()).await?;
                published += 1;
            }
        } else {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while args.count.is_none_or(|count| published < count)
                && let Some(line) = lines.next_line().await.context("cannot read standard input")?
            {
                pace.wait().await;
                channel.publish(&scope, line.into_bytes()).await?;
                published += 1;
            }
        }
        channel.leave().await;
        let seconds = begun.elapsed().as_secs_f64();
        output.event(
            format_args!("{published} messages published"),
            &json!({ "event": "published", "messages": published, "seconds": seconds }),
        );
        Ok(())
    })
    .await
}

pub(crate) async fn subscribe(args: &SubArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let options = args.channel.options()?;
    Visit::run(node, None, async |visit: &Visit| {
        let channel = visit.node.join(options).await?;
        let messages = match &args.channel.scope {
            Some(scope) => channel.subscribe(scope),
            None => channel.subscribe_all(),
        };
        let id = channel.id().to_string();
        output.event(format_args!("joined channel {id}"), &json!({ "event": "joined", "channel": id }));
        print(messages, args.count, output).await?;
        channel.leave().await;
        Ok(())
    })
    .await
}

async fn print(mut messages: Subscription, count: Option<u64>, output: Output) -> anyhow::Result<()> {
    let mut printed = 0;
    while count.is_none_or(|count| printed < count) {
        match messages.recv().await.context("the node has left the channel")? {
            Ok(message) => {
                output.line(shown(&message), &object(&message))?;
                printed += 1;
            }
            Err(lagged) => output.event(
                format_args!("{lagged}"),
                &json!({ "event": "lagged", "messages": lagged.count, "publisher": lagged.publisher }),
            ),
        }
    }
    Ok(())
}

/// A message for people.
fn shown(message: &ChannelMessage) -> String {
    match message.value() {
        Value::Text(text) => text,
        Value::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        value => json_of(&value).to_string(),
    }
}

/// A value in the JSON of the daemon's lines, in which bytes have a form as well.
fn json_of(value: &Value) -> serde_json::Value {
    let json = objects::json(value).ok();
    json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
}

/// A message for programs: its payload as text, where it is text, a value as JSON, otherwise as hexadecimal digits.
fn object(message: &ChannelMessage) -> serde_json::Value {
    let mut object = json!({
        "event": "message",
        "publisher": message.publisher,
        "number": message.number,
        "scope": message.scope,
        "sent_us": message.sent,
    });
    match message.value() {
        Value::Text(text) => object["text"] = text.into(),
        Value::Bytes(bytes) => object["hex"] = atoll::key::hex(&bytes).into(),
        value => object["value"] = json_of(&value),
    }
    object
}

/// So many messages a second, or as fast as it goes.
struct Pace {
    every: Duration,
    next: tokio::time::Instant,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        let every = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        Pace { every, next: tokio::time::Instant::now() }
    }

    async fn wait(&mut self) {
        if !self.every.is_zero() {
            tokio::time::sleep_until(self.next).await;
            self.next += self.every;
        }
    }
}

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
    let readers: Vec<_> =
        channels[1..].iter().map(|channel| tokio::spawn(read(channel.subscribe_all(), args.count))).collect();
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

//! `node-cli pub`, `sub` and `bench-channel`: messages of a channel, from standard input and to standard output.

mod bench;
mod way;

use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::object::Value;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use self::way::{Came, Way, with};
use crate::args::{NodeArgs, PubArgs, SubArgs};
use crate::objects;
use crate::output::Output;

pub(crate) use self::bench::bench;

pub(crate) async fn publish(args: &PubArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    with(&args.channel, node, output, async |way: &mut Way| {
        let scope = args.channel.scope.as_deref().unwrap_or_default();
        let (begun, mut published) = (Instant::now(), 0);
        let mut pace = Pace::new(args.rate);
        if let Some(message) = args.message.as_ref().filter(|message| *message != "-") {
            for _ in 0..args.count.unwrap_or(1) {
                pace.wait().await;
                way.publish(scope, message).await?;
                published += 1;
            }
        } else {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while args.count.is_none_or(|count| published < count)
                && let Some(line) = lines.next_line().await.context("cannot read standard input")?
            {
                pace.wait().await;
                way.publish(scope, &line).await?;
                published += 1;
            }
        }
        way.leave().await?;
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
    with(&args.channel, node, output, async |way: &mut Way| {
        let mut printed = 0;
        let joined = |id: &str| {
            output.event(format_args!("joined channel {id}"), &json!({ "event": "joined", "channel": id }));
        };
        way.subscribe(args.channel.scope.as_deref(), joined, |came| {
            match &came {
                Came::Message(message) => {
                    output.line(shown(message), &object(message))?;
                    printed += 1;
                }
                Came::Lagged { count, publisher } => output.event(
                    format_args!("{count} messages are lost"),
                    &json!({ "event": "lagged", "messages": count, "publisher": publisher }),
                ),
            }
            Ok(args.count.is_none_or(|count| printed < count))
        })
        .await?;
        way.leave().await
    })
    .await
}

/// A message for people.
fn shown(message: &way::Message) -> String {
    match &message.value {
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        value => json_of(value).to_string(),
    }
}

/// A value in the JSON of the daemon's lines, in which bytes have a form as well.
fn json_of(value: &Value) -> serde_json::Value {
    let json = objects::json(value).ok();
    json.and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default()
}

/// A message for programs: its payload as text, where it is text, a value as JSON, otherwise as hexadecimal digits.
fn object(message: &way::Message) -> serde_json::Value {
    let mut object = json!({
        "event": "message",
        "publisher": message.publisher,
        "number": message.number,
        "scope": message.scope,
        "sent_us": message.sent,
    });
    match &message.value {
        Value::Text(text) => object["text"] = text.as_str().into(),
        Value::Bytes(bytes) => object["hex"] = atoll::key::hex(bytes).into(),
        value => object["value"] = json_of(value),
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

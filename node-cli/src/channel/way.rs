//! How a command reaches a channel: through the daemon of this machine, or as a leaf of the ring.

use anyhow::Context;
use atoll::channel::{Channel, ChannelError, ChannelOptions};
use atoll::object::Value;
use atoll_door::DoorError;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::args::{ChannelArgs, NodeArgs};
use crate::join::Visit;
use crate::objects::{Client, Failed, daemon, json, value};
use crate::output::Output;
use crate::secrets;
use crate::stop::{self, Interrupted};

pub(super) enum Way {
    /// The fields that say which channel.
    Daemon(Box<Client>, serde_json::Value),
    Leaf(Channel),
}

/// What comes on a channel.
pub(super) enum Came {
    Message(Message),
    Lagged { count: u64, publisher: Option<String> },
}

pub(super) struct Message {
    pub(super) publisher: String,
    pub(super) number: u64,
    pub(super) scope: String,
    pub(super) sent: u64,
    pub(super) value: Value,
}

/// What the daemon says of a channel: a message, or that some are missing.
#[derive(Deserialize)]
struct Item<'a> {
    publisher: Option<String>,
    lagged: Option<u64>,
    number: Option<u64>,
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    sent: Option<u64>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Runs an errand, and leaves properly, however it ends.
pub(super) async fn with(
    args: &ChannelArgs,
    node: &NodeArgs,
    output: Output,
    errand: impl AsyncFnOnce(&mut Way) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let secret = args.channel_secret_file.as_ref().map(|file| secrets::read("channel secret", file)).transpose()?;
    let within = args.door.within();
    if let Some(client) = daemon(&args.door, node, output, "node-cli").await? {
        let stop = stop::asked()?;
        let secret = secret.map(|secret| encode(Value::Bytes(secret.into()))).transpose()?;
        let millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let channel = json!({ "channel": args.channel, "unsigned": args.unsigned, "secret": secret, "within": millis });
        let mut way = Way::Daemon(Box::new(client), channel);
        return tokio::select! {
            done = errand(&mut way) => done,
            () = stop => Err(Interrupted.into()),
        };
    }
    let mut options = ChannelOptions::new(&args.channel);
    if args.unsigned {
        options = options.unsigned();
    }
    if let Some(secret) = secret {
        options = options.secret(secret);
    }
    Visit::run(node, None, async |visit: &Visit| {
        let joining = tokio::time::timeout(within, visit.node.join(options)).await;
        let channel = joining.unwrap_or(Err(ChannelError::TimedOut)).map_err(failed)?;
        errand(&mut Way::Leaf(channel)).await
    })
    .await
}

impl Way {
    pub(super) async fn publish(&mut self, scope: &str, message: &str) -> anyhow::Result<()> {
        match self {
            Way::Daemon(client, channel) => {
                let payload = encode(message.into())?;
                client.ask(request("publish", channel, json!({ "scope": scope, "payload": payload }))).await?;
            }
            Way::Leaf(channel) => {
                channel.publish(scope, message.to_owned().into_bytes()).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Shows what comes, until it is enough; first, that the channel is joined.
    pub(super) async fn subscribe(
        &mut self,
        scope: Option<&str>,
        joined: impl FnOnce(&str),
        mut show: impl FnMut(Came) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        match self {
            Way::Daemon(client, channel) => {
                let said = client.ask(request("subscribe", channel, json!({ "scope": scope }))).await?;
                let id = said.ret.context("the daemon did not say which channel it is")?;
                joined(serde_json::from_str(id.get())?);
                while let Some(item) = client.next_item().await? {
                    if !show(serde_json::from_str::<Item<'_>>(item.get())?.read()?)? {
                        break;
                    }
                }
            }
            Way::Leaf(channel) => {
                let mut messages = match scope {
                    Some(scope) => channel.subscribe(scope),
                    None => channel.subscribe_all(),
                };
                joined(&channel.id().to_string());
                loop {
                    let came = match messages.recv().await.context("the node has left the channel")? {
                        Ok(message) => Came::Message(Message {
                            value: message.value(),
                            publisher: message.publisher.to_string(),
                            number: message.number,
                            scope: message.scope,
                            sent: message.sent,
                        }),
                        Err(lagged) => Came::Lagged {
                            count: lagged.count,
                            publisher: lagged.publisher.map(|publisher| publisher.to_string()),
                        },
                    };
                    if !show(came)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves, when what was published is on its way.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        match self {
            Way::Daemon(client, channel) => {
                client.ask(request("leave", channel, json!({}))).await?;
            }
            Way::Leaf(channel) => channel.clone().leave().await,
        }
        Ok(())
    }
}

impl Item<'_> {
    fn read(self) -> anyhow::Result<Came> {
        const MISSING: &str = "the daemon does not keep to the protocol: a message without a field";
        if let Some(count) = self.lagged {
            return Ok(Came::Lagged { count, publisher: self.publisher });
        }
        let Value::Text(scope) = value(self.scope.context(MISSING)?.get())? else { anyhow::bail!(MISSING) };
        let value = value(self.payload.context(MISSING)?.get())?;
        Ok(Came::Message(Message {
            publisher: self.publisher.context(MISSING)?,
            number: self.number.context(MISSING)?,
            scope,
            sent: self.sent.context(MISSING)?,
            value,
        }))
    }
}

fn request(kind: &str, channel: &serde_json::Value, fields: serde_json::Value) -> serde_json::Value {
    let mut request = json!({ "type": kind });
    for (name, field) in [channel, &fields].into_iter().flat_map(|fields| fields.as_object().into_iter().flatten()) {
        if !field.is_null() {
            request[name] = field.clone();
        }
    }
    request
}

/// A value as it is written at the door.
fn encode(value: Value) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_str(json(&value)?.get())?)
}

fn failed(error: impl Into<DoorError>) -> Failed {
    error.into().into()
}

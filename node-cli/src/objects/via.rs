//! How a command reaches a peer's objects: through the daemon of this machine, or as a leaf of the ring.

use std::time::Duration;

use anyhow::bail;
use atoll::Node;
use atoll::net::session::{SessionError, Unreachable};
use atoll::object::{CallError, Peer, Remote, Results, Value};
use atoll_door::DoorError;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::{Failed, json, value};
use crate::args::{DoorArgs, NodeArgs};
use crate::join::Visit;
use crate::output::Output;
use crate::stop::{self, Interrupted};
use crate::values::Whom;

/// How long a leaf that just came tries again while no way leads to the peer: the ring may be repairing itself.
const NO_ROUTE_FOR: Duration = Duration::from_secs(3);

/// Pause before it does.
const RETRY: Duration = Duration::from_millis(200);

/// A peer, a service of it, and what lies in that. Where something is called and the path is empty, the service is a scope.
pub(super) struct Place {
    peer: String,
    service: String,
    path: String,
}

impl Place {
    /// `Service`, `Service.path`, or a scope, which has no dots.
    pub(super) fn parse(peer: &Whom, what: &str) -> Self {
        let (service, path) = what.split_once('.').unwrap_or((what, ""));
        Place { peer: peer.to_string(), service: service.to_owned(), path: path.to_owned() }
    }

    pub(super) fn is_scope(&self) -> bool {
        self.path.is_empty()
    }
}

pub(super) enum Via<'a> {
    Daemon(Box<Client>, Duration),
    Leaf(&'a Node, Duration),
}

/// Runs an errand, and leaves properly, however it ends.
pub(super) async fn with(
    args: &DoorArgs,
    node: &NodeArgs,
    output: Output,
    errand: impl AsyncFnOnce(&mut Via<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if let Some(client) = daemon(args, node, output, "node-cli").await? {
        let stop = stop::asked()?;
        let mut via = Via::Daemon(Box::new(client), args.within());
        return tokio::select! {
            done = errand(&mut via) => done,
            () = stop => Err(Interrupted.into()),
        };
    }
    Visit::run(node, None, async |visit: &Visit| errand(&mut Via::Leaf(&visit.node, args.within())).await).await
}

/// A connection to the daemon, if one runs and is to be used.
pub(crate) async fn daemon(
    args: &DoorArgs,
    node: &NodeArgs,
    output: Output,
    name: &str,
) -> anyhow::Result<Option<Client>> {
    let Some((path, named)) = args.socket() else { return Ok(None) };
    let client = Client::connect(&path, name).await?;
    match &client {
        None if named => bail!("no daemon runs at {}; start one with node-cli daemon", path.display()),
        Some(_) if !named && (!node.signalling.is_empty() || node.key.is_some() || node.network.is_some()) => {
            output.note("the daemon's node is used, with its own settings; --no-daemon joins with those given here");
        }
        _ => {}
    }
    Ok(client)
}

impl Via<'_> {
    pub(super) async fn services(&mut self, peer: &str) -> anyhow::Result<Vec<String>> {
        match self {
            Via::Daemon(client, within) => {
                let request = json!({ "type": "remote", "remote": peer, "within": millis(*within) });
                Ok(client.ask(request).await?.list.unwrap_or_default())
            }
            Via::Leaf(node, within) => {
                let peer = node.peer(peer).timeout(*within);
                Ok(again(async || peer.services().await).await?)
            }
        }
    }

    pub(super) async fn get(&mut self, place: &Place) -> anyhow::Result<Box<RawValue>> {
        match self {
            Via::Daemon(client, within) => {
                let said = client.ask(request("get", place, *within)).await?;
                Ok(said.ret.unwrap_or_else(null))
            }
            Via::Leaf(node, within) => {
                let remote = remote(node, place, *within);
                Ok(json(&again(async || remote.get::<Value>(&place.path).await).await?)?)
            }
        }
    }

    pub(super) async fn call(&mut self, place: &Place, words: &[String]) -> anyhow::Result<Box<RawValue>> {
        let arguments = arguments(words)?;
        match self {
            Via::Daemon(client, within) => {
                let said = client.ask(call(place, words, *within, false)?).await?;
                Ok(said.ret.unwrap_or_else(null))
            }
            Via::Leaf(node, within) => {
                let called = again(async || match place.is_scope() {
                    true => owner(node, place, *within).await?.call::<Value>(&place.service, &arguments[..]).await,
                    false => remote(node, place, *within).call(&place.path, &arguments[..]).await,
                });
                Ok(json(&called.await?)?)
            }
        }
    }

    pub(super) async fn stream(
        &mut self,
        place: &Place,
        words: &[String],
        show: &mut dyn FnMut(&RawValue) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let arguments = arguments(words)?;
        match self {
            Via::Daemon(client, within) => client.ask_for_many(call(place, words, *within, true)?, show).await,
            Via::Leaf(node, within) => {
                let called = again(async || match place.is_scope() {
                    true => owner(node, place, *within).await?.stream::<Value>(&place.service, &arguments[..]).await,
                    false => remote(node, place, *within).stream(&place.path, &arguments[..]).await,
                });
                all(called.await?, show).await
            }
        }
    }

    pub(super) async fn watch(
        &mut self,
        place: &Place,
        show: &mut dyn FnMut(&RawValue) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Via::Daemon(client, within) => client.ask_for_many(request("watch", place, *within), show).await,
            Via::Leaf(node, within) => {
                let remote = remote(node, place, *within);
                all(again(async || remote.watch::<Value>(&place.path).await).await?, show).await
            }
        }
    }
}

async fn all(mut results: Results<Value>, show: &mut dyn FnMut(&RawValue) -> anyhow::Result<()>) -> anyhow::Result<()> {
    while let Some(value) = results.next().await {
        show(&json(&value.map_err(|error| Failed::from(DoorError::from(error)))?)?)?;
    }
    Ok(())
}

/// Asks again while no way leads to the peer. Nothing has reached it then.
async fn again<T>(ask: impl AsyncFn() -> Result<T, CallError>) -> Result<T, Failed> {
    let until = Instant::now() + NO_ROUTE_FOR;
    let no_route = SessionError::Unreachable(Unreachable::NoRoute).to_string();
    loop {
        match ask().await {
            Err(CallError::NoSuchPeer { reason, .. }) if reason == no_route && Instant::now() < until => {
                tokio::time::sleep(RETRY).await;
            }
            done => return done.map_err(|error| DoorError::from(error).into()),
        }
    }
}

fn remote(node: &Node, place: &Place, within: Duration) -> Remote {
    node.peer(place.peer.as_str()).timeout(within).remote(&place.service)
}

/// Whoever is at an address, or owns it, or has the name.
async fn owner(node: &Node, place: &Place, within: Duration) -> Result<Peer, CallError> {
    let owner = match place.peer.parse() {
        Ok(address) => timeout(within, node.objects().at(address)).await.map_err(|_| CallError::TimedOut)??,
        Err(_) => node.peer(place.peer.as_str()),
    };
    Ok(owner.timeout(within))
}

fn request(kind: &str, place: &Place, within: Duration) -> serde_json::Value {
    let Place { peer, service, path } = place;
    json!({ "type": kind, "remote": peer, "name": service, "path": path, "within": millis(within) })
}

fn call(place: &Place, words: &[String], within: Duration, stream: bool) -> anyhow::Result<serde_json::Value> {
    let args: Vec<serde_json::Value> = words.iter().map(|word| serde_json::from_str(word)).collect::<Result<_, _>>()?;
    let Place { peer, service, path } = place;
    let mut call = json!({ "type": "call", "remote": peer, "args": args, "within": millis(within), "stream": stream });
    if place.is_scope() {
        call["scope"] = service.as_str().into();
    } else {
        call["name"] = service.as_str().into();
        call["fun"] = path.as_str().into();
    }
    Ok(call)
}

fn arguments(words: &[String]) -> Result<Vec<Value>, Failed> {
    words.iter().map(|word| value(word)).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn null() -> Box<RawValue> {
    RawValue::from_string("null".to_owned()).expect("it is JSON")
}

//! What `measure` runs in processes of its own: a node that does what it reads from its standard input, a line at a time, and
//! answers on its standard output; and a signalling server. Both end when their standard input does, so none outlives `measure`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::proto::{Config, Phase};
use atoll::{Id, Node};
use atoll_signalling::{Limits, Server, Settings};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::channels::{self, Came};
use super::objects::{self, Fetched};
use super::process::{self, Memory};
use super::raw::RawEnd;
use super::services::{self, Flow, Pace};
use super::storage::{self, Wrote};

/// How a node is started.
#[derive(Args, Clone, Debug)]
pub struct NodeOptions {
    /// The signalling server to join through.
    #[arg(long)]
    pub(super) signalling: String,
    /// Links at most.
    #[arg(long, default_value_t = 64)]
    pub(super) max_links: usize,
    /// Fingers at most; by default as many as the budget of links is good for.
    #[arg(long)]
    pub(super) fingers: Option<usize>,
}

impl NodeOptions {
    pub(super) fn new(signalling: &str) -> Self {
        NodeOptions { signalling: signalling.to_owned(), max_links: 64, fingers: None }
    }

    /// The node, started and offering its [`services`], maybe not yet in its place on the ring.
    pub(super) fn spawn(&self) -> anyhow::Result<Node> {
        let mut config = Config::with_links(self.max_links);
        config.fingers = self.fingers.unwrap_or(config.fingers);
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let node = Node::builder().signalling(&self.signalling).bind(loopback).config(config).spawn()?;
        services::serve(node.sessions())?;
        node.provide(objects::SERVICE, objects::object())?;
        Ok(node)
    }
}

/// How a signalling server is started.
#[derive(Args, Clone, Copy, Debug)]
pub struct ServerOptions {
    /// The port of loopback; 0: any.
    #[arg(long, default_value_t = 0)]
    pub(super) port: u16,
}

/// What a node process is asked to do.
#[derive(Serialize, Deserialize, Debug)]
pub(super) enum Request {
    /// Tell where you stand.
    Place,
    /// Tell the hops to a peer.
    Trace { peer: Id },
    /// Call every one of these peers, each again and again until it answers, for so many milliseconds at most.
    Reach { peers: Vec<Id>, within_ms: u64 },
    /// Keep a stream to a peer going.
    Flow { peer: Id, pace: Pace },
    /// Answer the offer of a plain data channel, and serve it.
    Raw { offer: String },
    /// Fetch a result of so many bytes from a peer.
    Fetch { peer: Id, bytes: usize },
    /// Send so many bytes to a peer, as fast as it goes.
    Stream { peer: Id, bytes: usize },
    /// Forget the peak of resident memory; tell what is resident now.
    ForgetPeak,
    /// Tell the peak of resident memory.
    Peak,
    /// Join the channel, and note what comes.
    Join,
    /// Publish so many numbered messages, one every so many milliseconds.
    Publish { count: u32, every_ms: u64 },
    /// Tell what has come on the channel.
    Came,
    /// Write a record every so many milliseconds, for so many milliseconds.
    Write { every_ms: u64, for_ms: u64 },
    /// Read these records, until they are there or so many milliseconds have passed.
    Read { keys: Vec<String>, within_ms: u64 },
}

/// What a node process answers.
#[derive(Serialize, Deserialize, Debug)]
pub(super) enum Reply {
    Place(Place),
    Trace(Option<Vec<Id>>),
    /// How long the last of them took, and who never answered.
    Reached {
        slowest_ms: f64,
        missing: Vec<Id>,
    },
    Flow(Flow),
    Raw {
        answer: String,
    },
    Fetched(Fetched),
    /// Bytes a second.
    Rate(f64),
    /// Bytes.
    Resident(u64),
    /// The point of the ring whose owner is the channel's root.
    Joined {
        root: Id,
    },
    Published,
    Came(Came),
    Wrote(Wrote),
    /// How many are missing.
    Missing(usize),
    Failed(String),
}

/// Where a node stands, and what it costs.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(super) struct Place {
    pub(super) id: Id,
    pub(super) member: bool,
    pub(super) predecessor: Option<Id>,
    pub(super) successor: Option<Id>,
    pub(super) peers: Vec<Id>,
    pub(super) links_in_use: usize,
    pub(super) max_links: usize,
    pub(super) memory: Memory,
}

impl Place {
    pub(super) async fn of(node: &Node) -> anyhow::Result<Self> {
        let status = node.status().await.context("the node is closed")?;
        Ok(Place {
            id: status.id,
            member: status.phase == Phase::Member,
            predecessor: status.predecessors.first().copied(),
            successor: status.successors.first().copied(),
            peers: status.peers.iter().map(|peer| peer.id).collect(),
            links_in_use: status.links_in_use,
            max_links: status.max_links,
            memory: process::own_memory()?,
        })
    }
}

/// Whether these nodes are exactly one ring: each sees its true neighbours.
pub(super) fn is_one_ring(places: &[Place]) -> bool {
    let mut ids: Vec<Id> = places.iter().map(|place| place.id).collect();
    ids.sort_unstable();
    places.iter().all(|place| {
        let at = ids.partition_point(|&id| id < place.id);
        let before = ids[(at + ids.len() - 1) % ids.len()];
        let after = ids[(at + 1) % ids.len()];
        place.member && (ids.len() == 1 || place.predecessor == Some(before) && place.successor == Some(after))
    })
}

/// A line to a node process.
#[derive(Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) number: u64,
    pub(super) request: Request,
}

/// A line from a node process: questions are answered as soon as they can be, not in their order.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) reply: Reply,
}

/// Runs a node until the standard input ends.
pub async fn node(options: NodeOptions) -> anyhow::Result<()> {
    let node = Arc::new(options.spawn()?);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let Question { number, request } = serde_json::from_str(&line)?;
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            let reply = carry_out(&node, request).await.unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
            if let Ok(mut line) = serde_json::to_vec(&Answer { number, reply }) {
                line.push(b'\n');
                let mut out = std::io::stdout().lock();
                let _ = out.write_all(&line).and_then(|()| out.flush());
            }
        });
    }
    Ok(())
}

async fn carry_out(node: &Arc<Node>, request: Request) -> anyhow::Result<Reply> {
    Ok(match request {
        Request::Place => Reply::Place(Place::of(node).await?),
        Request::Trace { peer } => Reply::Trace(node.trace(peer).await.ok()),
        Request::Reach { peers, within_ms } => reach_all(node, peers, Duration::from_millis(within_ms)).await?,
        Request::Flow { peer, pace } => Reply::Flow(services::flow(node.sessions(), peer, pace).await),
        Request::Fetch { peer, bytes } => Reply::Fetched(objects::fetch(node, peer, bytes).await?),
        Request::Stream { peer, bytes } => Reply::Rate(services::bytes_a_second(node.sessions(), peer, bytes).await?),
        Request::ForgetPeak => {
            process::forget_peak()?;
            Reply::Resident(process::own_memory()?.resident)
        }
        Request::Peak => Reply::Resident(process::own_peak()?),
        Request::Join => Reply::Joined { root: channels::join(node).await? },
        Request::Publish { count, every_ms } => {
            channels::publish(node, count, Duration::from_millis(every_ms)).await?;
            Reply::Published
        }
        Request::Came => Reply::Came(channels::came()),
        Request::Write { every_ms, for_ms } => {
            Reply::Wrote(storage::write(node, Duration::from_millis(every_ms), Duration::from_millis(for_ms)).await)
        }
        Request::Read { keys, within_ms } => {
            Reply::Missing(storage::read(node, &keys, Duration::from_millis(within_ms)).await?)
        }
        Request::Raw { offer } => {
            let (end, answer) = RawEnd::answer(&offer).await?;
            tokio::spawn(async move {
                if end.opened().await.is_ok() {
                    end.serve().await;
                }
            });
            Reply::Raw { answer }
        }
    })
}

/// How long one call may take before it is tried anew.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// From one failed call to the next.
const CALL_AGAIN: Duration = Duration::from_millis(50);

async fn reach_all(node: &Arc<Node>, peers: Vec<Id>, within: Duration) -> anyhow::Result<Reply> {
    let begun = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for peer in peers {
        let node = Arc::clone(node);
        calls.spawn(async move {
            while begun.elapsed() < within {
                if let Ok(Ok(_)) = tokio::time::timeout(CALL_TIMEOUT, services::call(node.sessions(), peer)).await {
                    return (peer, Some(begun.elapsed()));
                }
                tokio::time::sleep(CALL_AGAIN).await;
            }
            (peer, None)
        });
    }
    let (mut slowest, mut missing) = (Duration::ZERO, Vec::new());
    while let Some(call) = calls.join_next().await {
        match call? {
            (_, Some(took)) => slowest = slowest.max(took),
            (peer, None) => missing.push(peer),
        }
    }
    Ok(Reply::Reached { slowest_ms: slowest.as_secs_f64() * 1e3, missing })
}

/// Runs a signalling server, and prints its address, until the standard input ends.
pub async fn server(options: ServerOptions) -> anyhow::Result<()> {
    // Every client is on this machine, and measuring is no attack.
    let limits = Limits {
        connections: 100_000,
        connections_per_address: 100_000,
        messages_per_second: 1_000_000,
        burst: 1_000_000,
        ..Limits::default()
    };
    let listen = (Ipv4Addr::LOCALHOST, options.port).into();
    let server = Server::bind(Settings { listen, limits, ..Settings::default() }).await?;
    println!("{}", server.url());
    let mut ended = [0];
    tokio::select! {
        () = server.serve() => bail!("the signalling server stopped"),
        _ = async { tokio::io::stdin().read(&mut ended).await } => Ok(()),
    }
}

//! A process that tests can kill: `test-node server PORT` is a signalling server, `test-node server PORT FOLDER` one with that page,
//! `test-node node URL` a node that takes commands,
//! `test-node node URL LINKS FINGERS` one with so many links and own fingers at most, `test-node leaf URL` one that only visits.
//!
//! Nodes echo what is dialled to them, and provide [`atoll_tests::echo_object`] as `Echo`.
//!
//! A line on stdin is a command, a line of JSON on stdout each answer:
//!
//! - `status`: the node's status.
//! - `trace PEER`: the nodes on the way to a peer, the peer last; null where no way is found.
//! - `reach SECONDS PEER…`: dials every peer until each has echoed; says who did not.
//! - `call PEER`: calls the `Echo` of a peer, and says what it said.
//! - `put TEXT`: stores a value, and says its key, or why not.
//! - `get SECONDS KEY…`: reads values again and again until they are all there; says which are missing when the time is over.
//! - `stream PEER`: sends numbered bytes to a peer and checks what it echoes, until `stop`, which says how it went.
//! - `slow-stream PEER`: the same, so slowly that the session gets no link of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::object::CallError;
use atoll::proto::Config;
use atoll::record::Key;
use atoll::wire::Role;
use atoll::{Id, Node};
use atoll_signalling::{PageSource, Server, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long one try to reach a peer may take.
const TRY: Duration = Duration::from_secs(2);

/// Between two pieces of a stream.
const TICK: Duration = Duration::from_millis(5);

/// The same for a stream that is not busy enough for a direct link: 25 KiB a second, and as much back.
const SLOW_TICK: Duration = Duration::from_millis(40);

/// Bytes in a piece of a stream.
const PIECE: usize = 1024;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    log();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server", port] => serve(port.parse()?, PageSource::Off).await,
        ["server", port, page] => serve(port.parse()?, PageSource::Folder(page.into())).await,
        ["node", url] => node(url, Config::default()).await,
        ["node", url, links, fingers] => {
            let mut config = Config::with_links(links.parse()?);
            config.fingers = fingers.parse()?;
            node(url, config).await
        }
        ["leaf", url] => {
            let mut config = Config::default();
            config.role = Role::Leaf;
            node(url, config).await
        }
        _ => bail!("usage: test-node server PORT [FOLDER] | node URL [LINKS FINGERS] | leaf URL"),
    }
}

/// Where `RUST_LOG` says what, the program tells on standard error what it does. With `ATOLL_LOGS` that goes into a file of this directory.
fn log() {
    let Ok(filter) = std::env::var("RUST_LOG") else { return };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match std::env::var_os("ATOLL_LOGS") {
        Some(directory) => {
            let path = std::path::Path::new(&directory).join(format!("{}.log", std::process::id()));
            let file = std::fs::File::create(path).expect("the directory of ATOLL_LOGS can be written");
            log.with_writer(std::sync::Mutex::new(file)).init();
        }
        None => log.with_writer(std::io::stderr).init(),
    }
}

fn say(value: Value) {
    println!("{value}");
}

async fn serve(port: u16, page: PageSource) -> anyhow::Result<()> {
    let mut settings = Settings { listen: (Ipv4Addr::LOCALHOST, port).into(), page, ..Settings::default() };
    settings.dht = true;
    settings.limits.connections_per_address = 1000;
    let server = Server::bind(settings).await?;
    say(json!({ "url": server.url(), "port": server.local_addr().port() }));
    server.serve().await;
    Ok(())
}

async fn node(url: &str, config: Config) -> anyhow::Result<()> {
    let node = Node::builder().signalling(url).bind(IpAddr::V4(Ipv4Addr::LOCALHOST)).config(config).start().await?;
    atoll_tests::echo(&node);
    node.provide("Echo", atoll_tests::echo_object())?;
    say(json!({ "id": node.id() }));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let mut stream: Option<(Arc<AtomicBool>, JoinHandle<Value>)> = None;
    while let Some(command) = commands.next_line().await? {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            ["status"] => say(serde_json::to_value(node.status().await.context("closed")?)?),
            ["trace", peer] => say(json!({ "hops": node.trace(peer.parse()?).await.ok() })),
            ["reach", seconds, ref peers @ ..] => {
                say(reach(&node, Duration::from_secs(seconds.parse()?), peers).await?);
            }
            ["call", peer] => say(match call(&node, peer).await {
                Ok(said) => json!({ "said": said }),
                Err(error) => json!({ "error": error.to_string() }),
            }),
            ["put", text] => say(match node.put(text.to_owned(), Duration::from_secs(3600)).await {
                Ok(put) => json!({ "key": put.key.to_string(), "copies": put.copies }),
                Err(error) => json!({ "error": error.to_string() }),
            }),
            ["get", seconds, ref keys @ ..] => {
                say(json!({ "missing": read(&node, Duration::from_secs(seconds.parse()?), keys).await? }));
            }
            [verb @ ("stream" | "slow-stream"), peer] => {
                let tick = if verb == "stream" { TICK } else { SLOW_TICK };
                let stop = Arc::new(AtomicBool::new(false));
                let (flowing, flows) = oneshot::channel();
                let stream_stops = Arc::clone(&stop);
                let task = tokio::spawn(run_stream(node.clone(), peer.parse()?, tick, stream_stops, flowing));
                if flows.await.is_ok() {
                    say(json!({ "streaming": peer, "flows": true }));
                    stream = Some((stop, task));
                } else {
                    say(json!({ "streaming": peer, "flows": false, "why": task.await? }));
                }
            }
            ["stop"] => {
                let (stop, task) = stream.take().context("no stream")?;
                stop.store(true, Ordering::Relaxed);
                say(task.await?);
            }
            ["close"] => break,
            _ => bail!("no such command: {command}"),
        }
    }
    node.close().await;
    Ok(())
}

async fn call(node: &Node, peer: &str) -> Result<String, CallError> {
    node.peer(peer).service("Echo").await?.call("echo", ("Hello world!",)).await
}

/// Dials all peers at once, each again and again.
/// The keys under which nothing was found in time.
async fn read(node: &Node, within: Duration, keys: &[&str]) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + within;
    let mut missing: Vec<Key> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    loop {
        let found = futures::future::join_all(missing.iter().map(|key| node.get(key))).await;
        let mut found = found.iter().map(|found| matches!(found, Ok(Some(_))));
        missing.retain(|_| !found.next().expect("one for each"));
        if missing.is_empty() || Instant::now() >= until {
            return Ok(missing.iter().map(Key::to_string).collect());
        }
        tokio::time::sleep(TRY / 10).await;
    }
}

async fn reach(node: &Node, limit: Duration, peers: &[&str]) -> anyhow::Result<Value> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for peer in peers {
        let (node, peer): (Node, Id) = (node.clone(), peer.parse()?);
        let task = tokio::spawn(async move {
            loop {
                let said = tokio::time::timeout(TRY, atoll_tests::echoes(&node, peer, b"are you there?")).await;
                match said.unwrap_or_else(|_| Err(format!("no echo within {TRY:?}"))) {
                    Ok(()) => return Ok(()),
                    Err(error) if start.elapsed() > limit => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        tasks.push((peer, task));
    }
    let mut failed = BTreeMap::new();
    for (peer, task) in tasks {
        if let Err(error) = task.await? {
            failed.insert(peer.to_string(), error);
        }
    }
    Ok(json!({ "failed": failed, "took_ms": start.elapsed().as_millis() as u64 }))
}

/// Sends until told to stop, checks every byte of the echo, and says how much came back and the longest silence. `flowing` hears of
/// the first byte.
async fn run_stream(
    node: Node,
    peer: Id,
    tick: Duration,
    stop: Arc<AtomicBool>,
    flowing: oneshot::Sender<()>,
) -> Value {
    let mut flowing = Some(flowing);
    let socket = match node.dial(peer).await {
        Ok(socket) => socket,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let (mut reader, mut writer) = tokio::io::split(socket);
    let sending = tokio::spawn(async move {
        let mut sent = 0u64;
        while !stop.load(Ordering::Relaxed) {
            let piece: Vec<u8> = (sent..sent + PIECE as u64).map(byte_at).collect();
            writer.write_all(&piece).await.map_err(|error| error.to_string())?;
            sent += PIECE as u64;
            tokio::time::sleep(tick).await;
        }
        writer.shutdown().await.map_err(|error| error.to_string())?;
        Ok::<u64, String>(sent)
    });
    let (mut received, mut intact, mut silence) = (0u64, true, Duration::ZERO);
    let mut last = Instant::now();
    let mut piece = vec![0; 64 * 1024];
    let error = loop {
        match reader.read(&mut piece).await {
            Ok(0) => break None,
            Ok(count) => {
                if let Some(flowing) = flowing.take() {
                    let _ = flowing.send(());
                }
                intact &= piece[..count].iter().zip(received..).all(|(&byte, at)| byte == byte_at(at));
                received += count as u64;
                silence = silence.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    let sent = match sending.await {
        Ok(Ok(sent)) => json!(sent),
        other => json!(format!("{other:?}")),
    };
    let silence_ms = silence.as_millis() as u64;
    json!({ "sent": sent, "received": received, "intact": intact, "silence_ms": silence_ms, "error": error })
}

/// A pattern that shows when anything is missing, doubled or out of its place.
fn byte_at(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

//! How fast nodes become one ring, whether its messages arrive, and whether the budget of links is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll::proto::Config;
use atoll::{Id, Node};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use sim::engine::{Happening, Network, Routes, World};

use super::child::NodeOptions;
use super::children::{NodeProcess, await_ring};
use super::report::{Figure, Report};
use super::samples::Samples;
use super::services;
use crate::{TestServer, await_one_ring};

/// How often nodes are started to see how fast they are one ring.
const STARTS: usize = 3;

/// Messages between random pairs.
const MESSAGES: usize = 10_000;

/// Messages on their way at one time.
const AT_ONCE: usize = 32;

/// The budget of links where messages are counted: that of a browser, so that not everybody has a link to everybody.
const BUDGET: usize = 16;

/// How often the links of every node are counted.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a ring may take to form before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one message may take before it counts as lost.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    started_in_one_process(report, 32, 5.0).await?;
    started_in_processes(report, 8, 3.0).await?;
    for count in [10, 32] {
        messages_between_nodes(report, count).await?;
    }
    for count in [10, 32, 100] {
        messages_in_memory(report, count).await?;
    }
    Ok(())
}

async fn started_in_one_process(report: &mut Report, count: usize, target: f64) -> anyhow::Result<()> {
    let mut times = Samples::default();
    for _ in 0..STARTS {
        report.progress(&format!("{count} nodes in one process"));
        let server = TestServer::start().await;
        let begun = Instant::now();
        let nodes = (0..count).map(|_| server.node().spawn()).collect::<Result<Vec<_>, _>>()?;
        await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
        times.push_time(begun.elapsed());
        close(&nodes).await;
    }
    report_start(report, format!("{count} nodes at once in one process: one ring"), &times, target, count);
    Ok(())
}

async fn started_in_processes(report: &mut Report, count: usize, target: f64) -> anyhow::Result<()> {
    let mut times = Samples::default();
    for _ in 0..STARTS {
        report.progress(&format!("{count} nodes in processes of their own"));
        let server = TestServer::start().await;
        let begun = Instant::now();
        let nodes = NodeProcess::start_all(count, &NodeOptions::new(&server.url))?;
        await_ring(&nodes, PATIENCE).await?;
        times.push_time(begun.elapsed());
    }
    report_start(report, format!("{count} nodes at once in {count} processes: one ring"), &times, target, count);
    Ok(())
}

fn report_start(report: &mut Report, name: String, times: &Samples, target: f64, nodes: usize) {
    let figure = Figure::new(name, times.median(), "s").at_most(target);
    report.add(figure.with("nodes", nodes).with("runs", times.count()).with_number("worst", times.max()));
}

/// Each message is dialled to its receiver and comes back.
async fn messages_between_nodes(report: &mut Report, count: usize) -> anyhow::Result<()> {
    report.progress(&format!("{MESSAGES} messages among {count} nodes"));
    let server = TestServer::start().await;
    let spawn = |_| server.node().max_links(BUDGET).direct_links(false).spawn();
    let nodes: Arc<[Node]> = (0..count).map(spawn).collect::<Result<Vec<_>, _>>()?.into();
    let links = LinkWatch::start(Arc::clone(&nodes));
    for node in nodes.iter() {
        services::serve(node.sessions())?;
    }
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;

    let begun = Instant::now();
    let arrived = exchange(&nodes, report.seed()).await?;
    let took = begun.elapsed();
    let (hops, loops, untraced) = trace_all(&nodes).await;
    let most_links = links.stop().await?;
    close(&nodes).await;

    let percent = 100.0 * arrived as f64 / MESSAGES as f64;
    let name = format!("{count} real nodes: messages between random pairs delivered");
    let figure = Figure::new(name, percent, "%").at_least(100.0).with("messages", MESSAGES);
    report.add(figure.with("links", BUDGET).with_number("seconds", took.as_secs_f64()));
    report_routes(report, &format!("{count} real nodes"), &hops, loops, "untraced", untraced);
    report_links(report, &format!("{count} real nodes"), most_links, "every 5 ms");
    Ok(())
}

/// Sends the messages, some at once, and counts those that were echoed.
async fn exchange(nodes: &Arc<[Node]>, seed: u64) -> anyhow::Result<usize> {
    let (left, arrived) = (Arc::new(AtomicUsize::new(MESSAGES)), Arc::new(AtomicUsize::new(0)));
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..AT_ONCE {
        let (nodes, left, arrived) = (Arc::clone(nodes), Arc::clone(&left), Arc::clone(&arrived));
        let mut rng = Pcg32::seed_from_u64(seed * 1000 + sender as u64);
        senders.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let from = rng.random_range(0..nodes.len());
                let to = (from + rng.random_range(1..nodes.len())) % nodes.len();
                let call = services::call(nodes[from].sessions(), nodes[to].id());
                match tokio::time::timeout(MESSAGE_TIMEOUT, call).await {
                    Ok(Ok(_)) => drop(arrived.fetch_add(1, Ordering::Relaxed)),
                    Ok(Err(error)) => eprintln!("ring: a message was lost: {error:#}"),
                    Err(_) => eprintln!("ring: a message was lost: no echo within {MESSAGE_TIMEOUT:?}"),
                }
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended?;
    }
    Ok(arrived.load(Ordering::Relaxed))
}

/// The lengths of the routes between all pairs, how many visit a node twice, and how many were not found.
async fn trace_all(nodes: &[Node]) -> (Samples, usize, usize) {
    let (mut hops, mut loops, mut untraced) = (Samples::default(), 0, 0);
    for from in nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            match from.trace(to.id()).await {
                Ok(route) => {
                    hops.push(route.len() as f64);
                    loops += usize::from(visits_twice(from.id(), &route));
                }
                Err(_) => untraced += 1,
            }
        }
    }
    (hops, loops, untraced)
}

fn visits_twice(from: Id, route: &[Id]) -> bool {
    let visited: BTreeSet<Id> = route.iter().copied().chain([from]).collect();
    visited.len() != route.len() + 1
}

/// Looks at the links of all nodes, again and again, from their start on.
struct LinkWatch {
    stopped: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<usize>,
}

impl LinkWatch {
    fn start(nodes: Arc<[Node]>) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stopped);
        let watching = tokio::spawn(async move {
            let mut most = 0;
            while !until.load(Ordering::Relaxed) {
                for node in nodes.iter() {
                    most = most.max(node.status().await.map_or(0, |status| status.links_in_use));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            most
        });
        LinkWatch { stopped, watching }
    }

    /// The most links that any node was seen with.
    async fn stop(self) -> anyhow::Result<usize> {
        self.stopped.store(true, Ordering::Relaxed);
        self.watching.await.context("the watch of the links failed")
    }
}

/// Nodes in memory on a virtual clock, where every step is seen.
async fn messages_in_memory(report: &mut Report, count: usize) -> anyhow::Result<()> {
    report.progress(&format!("{MESSAGES} messages among {count} nodes in memory"));
    let seed = report.seed();
    let world = tokio::task::spawn_blocking(move || run_world(count, seed)).await??;
    let percent = 100.0 * world.arrived as f64 / MESSAGES as f64;
    let name = format!("{count} nodes in memory: messages between random pairs delivered");
    let figure = Figure::new(name, percent, "%").at_least(100.0).with("messages", MESSAGES);
    report.add(figure.with("links", BUDGET).with("events", world.events));
    report_routes(report, &format!("{count} nodes in memory"), &world.hops, world.loops, "routes", world.hops.count());
    report_links(report, &format!("{count} nodes in memory"), world.most_links, "every step");
    Ok(())
}

struct WorldFigures {
    arrived: usize,
    hops: Samples,
    loops: usize,
    most_links: usize,
    events: u64,
}

fn run_world(count: usize, seed: u64) -> anyhow::Result<WorldFigures> {
    let mut world = World::new(seed, Network::default());
    world.audit = true;
    world.start(count, &Config::with_links(BUDGET));
    let formed = world.run_until(PATIENCE, count, |world| world.is_ideal());
    formed.with_context(|| format!("no ring of {count} nodes:\n{}", world.describe()))?;
    // The fingers fill in.
    world.run_for(Duration::from_secs(20));
    let routes = Routes::watch(&mut world);
    let living: Vec<usize> = world.running().collect();
    for number in 0..MESSAGES as u64 {
        let pair: Vec<usize> = living.sample(world.rng(), 2).copied().collect();
        let [from, to] = pair[..] else { bail!("fewer than two nodes") };
        let to = world.nodes[to].proto.id();
        world.send(from, to, number.to_be_bytes().to_vec().into());
    }
    world.run_for(Duration::from_secs(3));
    let arrived = |(_, happening): &&(_, Happening)| matches!(happening, Happening::Packet { .. });
    Ok(WorldFigures {
        arrived: world.happened.iter().filter(arrived).count(),
        hops: routes.hops().into_iter().map(|hops| hops as f64).collect(),
        loops: routes.loops(),
        most_links: world.counts().most_links,
        events: world.counts().events,
    })
}

fn report_routes(report: &mut Report, of: &str, hops: &Samples, loops: usize, with: &str, number: usize) {
    let figure = Figure::new(format!("{of}: messages that visit a node twice"), loops as f64, "").exactly(0.0);
    report.add(figure.with(with, number));
    let figure = Figure::new(format!("{of}: hops, mean"), hops.mean(), "hops");
    report.add(figure.with("most", hops.max()).with("routes", hops.count()));
}

fn report_links(report: &mut Report, of: &str, most: usize, looked: &str) {
    let figure = Figure::new(format!("{of}: most links of a node at any step"), most as f64, "links");
    report.add(figure.at_most(BUDGET as f64).with("looked", looked));
}

async fn close(nodes: &[Node]) {
    futures::future::join_all(nodes.iter().map(Node::close)).await;
}

//! Calls of objects beside sockets and a plain data channel, large results, functions that come and go, many callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atoll::net::session::memory::{Conditions, MemoryRing};
use atoll::net::session::{Sessions, Settings};
use atoll::object::{
    ArgumentError, Call, CallError, Failure, Function, Limits, Object, Objects, Remote, Reply, Ring, Value,
};
use atoll::{Id, Identity, Node};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};

use super::child::NodeOptions;
use super::children::{NodeProcess, await_ring};
use super::pair::Pair;
use super::process::own_memory;
use super::report::{Figure, Report};
use super::samples::Samples;
use super::services;
use crate::{TestServer, await_one_ring};

/// The service that measured nodes provide.
pub(super) const SERVICE: &str = "measure";

/// What is compared takes turns, so often, for the machine is not quiet.
const ROUNDS: usize = 8;

/// Calls in a round, one after the other.
const CALLS: usize = 300;

/// Calls in a round with [`IN_FLIGHT`] at once.
const MANY_CALLS: usize = 20_000;

/// Calls under way at once where the rate is measured.
const IN_FLIGHT: usize = 64;

/// Large results that nobody reads, beside calls.
const UNREAD: usize = 16;

/// Bytes of a large result.
const LARGE: usize = 100_000_000;

/// Bytes that its provider gives at once.
const PIECE: usize = 64 << 10;

/// Remote functions that are created and released.
const FUNCTIONS: usize = 10_000;

/// Of them, held at once.
const HELD: usize = 100;

/// Callers at once, and calls of each.
const CALLERS: (usize, usize) = (10, 100);

/// Nodes where routes of several links are measured, with few links each, so that there are such routes.
const RING: (usize, usize) = (24, 6);

/// Links of the longest route that is measured.
const LONGEST: usize = 3;

/// How long anything may take before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    over_one_link(report, Pair::in_one_process().await?).await?;
    over_one_link(report, Pair::in_two_processes().await?).await?;
    over_several_links(report).await?;
    large_results(report).await?;
    functions_come_and_go(report).await?;
    many_callers(report).await?;
    where_the_time_goes(report).await?;
    super::daemon::measure(report).await
}

/// What the measured nodes provide.
pub(super) fn object() -> Object {
    Object::new()
        .function("echo", |call: Call| async move { call.arg::<Value>(0) })
        .function("large", |call: Call| async move { Ok::<_, ArgumentError>(large(call.arg(0)?)) })
        .function("never", |_call: Call| std::future::pending::<Result<(), Failure>>())
        .function("adder", |call: Call| async move {
            let more: i64 = call.arg(0)?;
            Ok::<_, ArgumentError>(Function::new(move |call: Call| async move {
                Ok::<_, ArgumentError>(call.arg::<i64>(0)? + more)
            }))
        })
        .function("apply", |call: Call| async move {
            let function: Function = call.arg(0)?;
            function.call::<Value>((call.arg::<Value>(1)?,)).await.map_err(Failure::relay)
        })
}

/// So many bytes, piece by piece.
fn large(bytes: usize) -> Reply {
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = stream::iter((0..bytes).step_by(PIECE))
        .map(move |from| Ok::<_, Failure>(piece.slice(..PIECE.min(bytes - from))));
    Reply::bytes(pieces)
}

fn remote(node: &Objects, peer: Id) -> Remote {
    node.peer(peer).remote(SERVICE)
}

/// 64 bytes there and back.
async fn call(remote: &Remote) -> anyhow::Result<Duration> {
    let message = Bytes::from_static(&[7; services::MESSAGE]);
    let begun = Instant::now();
    let echo: Bytes = remote.call("echo", (&message,)).await?;
    let took = begun.elapsed();
    ensure!(echo == message, "the echo differs from what was sent");
    Ok(took)
}

async fn calls(remote: &Remote, count: usize) -> anyhow::Result<Samples> {
    let mut times = Samples::default();
    for _ in 0..count {
        times.push_time(call(remote).await?);
    }
    Ok(times)
}

/// Calls a second with so many under way.
async fn calls_a_second(remote: &Remote, count: usize, in_flight: usize) -> anyhow::Result<f64> {
    let left = Arc::new(AtomicUsize::new(count));
    let begun = Instant::now();
    let callers = (0..in_flight).map(|_| {
        let (remote, left) = (remote.clone(), left.clone());
        tokio::spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                call(&remote).await?;
            }
            anyhow::Ok(())
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

async fn over_one_link(report: &mut Report, pair: Pair) -> anyhow::Result<()> {
    let (what, raw, node, peer) = (pair.what, &pair.raw, &pair.node, pair.peer);
    report.progress(&format!("calls over one link, {what}"));
    let remote = remote(node.objects(), peer);
    let [mut raw_times, mut times, mut trips, mut dials, mut beside] = [const { Samples::new() }; 5];
    let mut rates = Samples::default();
    for round in 0..=ROUNDS {
        let raw_round = raw.round_trips(CALLS).await?;
        let round_of_calls = calls(&remote, CALLS).await?;
        let trip_round = services::round_trips(node.sessions(), peer, CALLS).await?;
        let dial_round = services::calls(node.sessions(), peer, CALLS).await?;
        let unread = futures::future::try_join_all((0..UNREAD).map(|_| remote.bytes("large", (LARGE,)))).await?;
        let beside_round = calls(&remote, CALLS).await?;
        drop(unread);
        // The first makes the session, and warms up.
        if round > 0 {
            raw_times.append(raw_round);
            times.append(round_of_calls);
            trips.append(trip_round);
            dials.append(dial_round);
            beside.append(beside_round);
            rates.push(calls_a_second(&remote, MANY_CALLS, IN_FLIGHT).await?);
        }
    }
    let (p50, raw_p50) = (times.median(), raw_times.median());
    let figure =
        Figure::new(format!("{what}: a call of 64 B, p50 / plain round trip"), p50 / raw_p50, "x").at_most(2.5);
    let figure = figure.with_number("p50_µs", p50 * 1e6).with_number("p99_µs", times.percentile(99) * 1e6);
    report.add(figure.with_number("plain_p50_µs", raw_p50 * 1e6).with("calls", times.count()));
    let figure = Figure::new(format!("{what}: calls of 64 B, {IN_FLIGHT} under way"), rates.median(), "a second");
    let figure = figure.at_least(20_000.0).with_number("best", rates.max()).with("calls_a_round", MANY_CALLS);
    report.add(figure.with("rounds", ROUNDS));
    let name = format!("{what}: a call of 64 B beside {UNREAD} large results that nobody reads / alone, p50");
    report.add(Figure::new(name, beside.median() / p50, "x").with_number("p99_µs", beside.percentile(99) * 1e6));
    // Each is the one before it and something more.
    for (name, samples) in [("echo on an open socket", &trips), ("a socket for each echo", &dials), ("a call", &times)]
    {
        let figure = Figure::new(format!("{what}: {name}, p50"), samples.median() * 1e6, "µs");
        report.add(figure.with_number("times_plain", samples.median() / raw_p50));
    }
    pair.close().await;
    Ok(())
}

/// Calls over one, two and three links in one ring.
async fn over_several_links(report: &mut Report) -> anyhow::Result<()> {
    let (count, links) = RING;
    report.progress("calls over several links");
    let server = TestServer::start().await;
    let spawn = |_| server.node().max_links(links).direct_links(false).spawn();
    let nodes = (0..count).map(spawn).collect::<Result<Vec<_>, _>>()?;
    for node in &nodes {
        node.provide(SERVICE, object())?;
    }
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    let mut times = vec![Samples::default(); LONGEST];
    for _ in 0..ROUNDS {
        for length in 1..=LONGEST {
            let pair = super::session::pair_at(&nodes, length).await;
            let (from, to) = pair.with_context(|| format!("no route of {length} links"))?;
            let remote = remote(from.objects(), to.id());
            calls(&remote, CALLS / 10).await?;
            let round = calls(&remote, CALLS).await?;
            // Fingers come and go: what was measured over another route does not count.
            if super::session::are_at(from, to, length).await {
                times[length - 1].append(round);
            }
        }
    }
    close(&nodes).await;
    let one = times[0].median();
    let most = times[LONGEST - 1].median();
    let name = format!("ring of {count}: a call of 64 B over {LONGEST} links, p50 / over one");
    let figure = Figure::new(name, most / one, "x").at_most(4.0).with_number("p50_µs", most * 1e6);
    let figure = figure.with_number("over_one_µs", one * 1e6).with_number("over_two_µs", times[1].median() * 1e6);
    report.add(figure.with("calls", times[LONGEST - 1].count()).with("links_a_node", links));
    Ok(())
}

/// Between two processes: how fast, beside a plain stream, and what either takes for it.
async fn large_results(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("results of {} MB", LARGE / 1_000_000));
    let server = TestServer::start().await;
    let options = NodeOptions::new(&server.url);
    let [provider, caller] = [NodeProcess::start(&options)?, NodeProcess::start(&options)?];
    let nodes = [provider, caller];
    let peer = await_ring(&nodes, PATIENCE).await?[0].id;
    let [provider, caller] = &nodes;
    let (mut rates, mut streams) = (Samples::default(), Samples::default());
    let [mut of_provider, mut of_caller, mut whole_provider, mut whole_caller] = [const { Samples::new() }; 4];
    for round in 0..=ROUNDS {
        let before = provider.forget_peak().await?;
        let fetched = caller.fetch(peer, LARGE).await?;
        // Memory that the first took is not given back to the system, so it counts.
        let peak = provider.peak().await?;
        of_caller.push(fetched.memory as f64 / 1e6);
        of_provider.push(peak.saturating_sub(before) as f64 / 1e6);
        whole_caller.push(fetched.resident as f64 / 1e6);
        whole_provider.push(peak as f64 / 1e6);
        let stream = caller.stream_rate(peer, LARGE).await?;
        // The first makes the session and its direct link.
        if round > 0 {
            rates.push(fetched.rate);
            streams.push(stream);
        }
    }
    let ratio = rates.median() / streams.median();
    let name = format!("two processes: a result of {} MB / a stream", LARGE / 1_000_000);
    let figure = Figure::new(name, ratio, "x").at_least(0.7).with_number("result_MiB_s", rates.median() / 1048576.0);
    report.add(figure.with_number("stream_MiB_s", streams.median() / 1048576.0).with("rounds", ROUNDS));
    let ends = [("provider", &of_provider, &whole_provider), ("caller", &of_caller, &whole_caller)];
    for (who, samples, whole) in ends {
        let figure = Figure::new(format!("two processes: memory of the {who} for it, at most"), samples.max(), "MB");
        report.add(figure.at_most(32.0).with_number("whole_process_MB", whole.max()));
    }
    Ok(())
}

async fn functions_come_and_go(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("{FUNCTIONS} remote functions"));
    let server = TestServer::start().await;
    let nodes = [server.node().start().await?, server.node().start().await?];
    nodes[1].provide(SERVICE, object())?;
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    let remote = remote(nodes[0].objects(), nodes[1].id());
    // Half of them come as results, half go as arguments.
    let come_and_go = async || {
        for _ in 0..FUNCTIONS / 2 / HELD {
            let adders =
                futures::future::try_join_all((0..HELD).map(|n| remote.call::<Function>("adder", (n,)))).await?;
            let sums = futures::future::try_join_all(adders.iter().map(|adder| adder.call::<i64>((1,)))).await?;
            ensure!(sums.iter().sum::<i64>() == (HELD * (HELD + 1) / 2) as i64, "wrong sums: {sums:?}");
            let back = (0..HELD).map(|_| {
                let function = Function::new(|call: Call| async move { call.arg::<Value>(0) });
                remote.call::<i64>("apply", (function, 1))
            });
            futures::future::try_join_all(back).await?;
        }
        let begun = Instant::now();
        while nodes.iter().any(|node| node.objects().held_by_peers() > 0) {
            ensure!(begun.elapsed() < PATIENCE, "functions are not released");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    come_and_go().await?;
    let before = own_memory()?.anonymous;
    let begun = Instant::now();
    come_and_go().await?;
    let took = begun.elapsed();
    let grown = own_memory()?.anonymous.saturating_sub(before);
    let figure = Figure::new(
        format!("{FUNCTIONS} remote functions called and released: memory more"),
        grown as f64 / 1024.0 / FUNCTIONS as f64,
        "KiB each",
    );
    let figure = figure.at_most(0.1).with_number("grown_KiB", grown as f64 / 1024.0);
    report.add(figure.with_number("a_second", FUNCTIONS as f64 / took.as_secs_f64()));
    close(&nodes).await;
    Ok(())
}

/// Many callers at once, while others wait for functions that never answer.
async fn many_callers(report: &mut Report) -> anyhow::Result<()> {
    let (callers, each) = CALLERS;
    report.progress(&format!("{} calls at once of {callers} callers", callers * each));
    let server = TestServer::start().await;
    let nodes = server.ring(callers + 1).await;
    let (provider, nodes) = nodes.split_first().context("a provider")?;
    provider.provide(SERVICE, object())?;
    let all: Vec<Node> = nodes.iter().chain([provider]).cloned().collect();
    await_one_ring(&all, PATIENCE).await.map_err(anyhow::Error::msg)?;
    let remotes: Vec<Remote> = nodes.iter().map(|node| remote(node.objects(), provider.id())).collect();
    let stuck: Vec<_> = (0..20)
        .map(|_| {
            let remote = remotes[0].clone();
            tokio::spawn(async move { remote.call::<()>("never", ()).await })
        })
        .collect();
    let begun = Instant::now();
    let at_once = remotes.iter().flat_map(|remote| (0..each).map(move |_| remote.call::<i64>("echo", (1,))));
    let results = futures::future::join_all(at_once).await;
    let took = begun.elapsed();
    let answered = results.iter().filter(|result| **result == Ok(1)).count();
    let refused = results.iter().filter(|result| **result == Err(CallError::TooManyCalls)).count();
    let name = format!("{} calls at once of {callers} callers: answered or refused", callers * each);
    let figure = Figure::new(name, (answered + refused) as f64, "").exactly((callers * each) as f64);
    let figure = figure.with("answered", answered).with("refused", refused).with("never_answered", stuck.len());
    report.add(figure.with_number("took_ms", took.as_secs_f64() * 1e3));
    for stuck in stuck {
        ensure!(stuck.await? == Err(CallError::TimedOut), "what never answers ends otherwise");
    }
    close(&all).await;
    Ok(())
}

/// No ring at all.
struct Nowhere;

impl Ring for Nowhere {
    fn owner(&self, _key: Id) -> BoxFuture<'static, Result<Id, String>> {
        Box::pin(async { Err("no ring".to_owned()) })
    }
}

/// The same call with less and less of what it needs: without WebRTC, without a session.
async fn where_the_time_goes(report: &mut Report) -> anyhow::Result<()> {
    report.progress("calls in memory");
    let ring = MemoryRing::new(Conditions::default(), report.seed());
    let join = || {
        let identity = Identity::generate();
        let sessions = ring.join(&identity, Settings::default())?;
        let objects = Objects::start(identity.public(), &sessions, Limits::default(), Nowhere)?;
        anyhow::Ok((sessions, objects))
    };
    let (near, near_objects): (Sessions, Objects) = join()?;
    let (far, far_objects) = join()?;
    services::serve(&far)?;
    far_objects.provide(SERVICE, object())?;
    let over_session = remote(&near_objects, far.id());
    let at_home = remote(&far_objects, far.id());
    let [mut dials, mut over, mut home] = [const { Samples::new() }; 3];
    let mut rates = Samples::default();
    for round in 0..=ROUNDS {
        let dial_round = services::calls(&near, far.id(), CALLS).await?;
        let over_round = calls(&over_session, CALLS).await?;
        let home_round = calls(&at_home, CALLS).await?;
        if round > 0 {
            dials.append(dial_round);
            over.append(over_round);
            home.append(home_round);
            rates.push(calls_a_second(&over_session, MANY_CALLS, IN_FLIGHT).await?);
        }
    }
    let figure = Figure::new("in memory, QUIC alone: a socket for each echo, p50", dials.median() * 1e6, "µs");
    report.add(figure.with("calls", dials.count()));
    let figure = Figure::new("in memory, QUIC alone: a call, p50", over.median() * 1e6, "µs");
    report.add(figure.with_number("calls_a_second_of_64", rates.median()).with("calls", over.count()));
    let figure = Figure::new("no session: a call of the node's own function, p50", home.median() * 1e6, "µs");
    report.add(figure.with("calls", home.count()));
    Ok(())
}

/// What fetching a large result came to.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Fetched {
    /// Bytes a second.
    pub(super) rate: f64,
    /// Bytes of memory that this process took for it, at most.
    pub(super) memory: u64,
    /// Bytes that were resident then, all in all.
    pub(super) resident: u64,
}

/// Fetches a large result and drops it piece by piece.
pub(super) async fn fetch(node: &Node, peer: Id, bytes: usize) -> anyhow::Result<Fetched> {
    super::process::forget_peak()?;
    let before = own_memory()?.resident;
    let begun = Instant::now();
    let mut pieces = remote(node.objects(), peer).bytes("large", (bytes,)).await?;
    let mut read = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        ensure!(piece.iter().all(|&byte| byte == 7), "a wrong byte after {read}");
        read += piece.len();
    }
    let took = begun.elapsed();
    ensure!(read == bytes, "{read} of {bytes} bytes arrived");
    let resident = super::process::own_peak()?;
    let memory = resident.saturating_sub(before);
    Ok(Fetched { rate: bytes as f64 / took.as_secs_f64(), memory, resident })
}

async fn close(nodes: &[Node]) {
    futures::future::join_all(nodes.iter().map(Node::close)).await;
}

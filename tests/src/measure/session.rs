//! Sockets over the ring, and beside them, in the same run, a plain data channel.

use std::time::Duration;

use anyhow::Context;
use atoll::net::session::Settings;
use atoll::net::session::memory::{Conditions, MemoryRing};
use atoll::{Identity, Node};

use super::pair::Pair;
use super::raw::RawEnd;
use super::report::{Figure, Report};
use super::samples::Samples;
use super::services;
use crate::{TestServer, await_one_ring};

/// Ours and the plain channel take turns, so often, for the machine is not quiet.
const ROUNDS: usize = 8;

/// Calls in a round, one after the other.
const CALLS: usize = 300;

/// Small messages one way in a round.
const MESSAGES: usize = 200_000;

/// Bytes of the stream in a round.
const STREAM: usize = 64 << 20;

/// Bytes of a message of the plain channel that a stream is compared with.
const RAW_MESSAGE: usize = 16 << 10;

/// Nodes where routes of several links are measured, with few links each, so that there are such routes.
const RING: (usize, usize) = (24, 6);

/// Links of the longest route that is measured.
const LONGEST: usize = 3;

/// How long a ring may take to form before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    over_one_link(report, Pair::in_one_process().await?).await?;
    over_one_link(report, Pair::in_two_processes().await?).await?;
    over_several_links(report).await?;
    without_webrtc(report).await
}

async fn over_one_link(report: &mut Report, pair: Pair) -> anyhow::Result<()> {
    let (what, raw, node, peer) = (pair.what, &pair.raw, pair.node.sessions(), pair.peer);
    report.progress(&format!("calls over one link, {what}"));
    let (mut raw_times, mut calls, mut trips) = (Samples::default(), Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let raw_round = raw.round_trips(CALLS).await?;
        let call_round = services::calls(node, peer, CALLS).await?;
        let trip_round = services::round_trips(node, peer, CALLS).await?;
        // The first makes the session, and warms up.
        if round > 0 {
            raw_times.append(raw_round);
            calls.append(call_round);
            trips.append(trip_round);
        }
    }
    let raw_median = raw_times.median();
    for (name, times, target) in [("dial and echo", &calls, Some(2.0)), ("echo on an open socket", &trips, None)] {
        let name = format!("{what}: {name} of 64 B, p50 / plain round trip");
        let figure = Figure::new(name, times.median() / raw_median, "x").with("samples", times.count());
        let figure = target.into_iter().fold(figure, Figure::at_most);
        let figure =
            figure.with_number("p50_µs", times.median() * 1e6).with_number("p99_µs", times.percentile(99) * 1e6);
        report.add(figure.with_number("plain_p50_µs", raw_median * 1e6));
    }

    report.progress(&format!("streams over one link, {what}"));
    let (mut raw_rates, mut rates, mut messages) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        raw_rates.push(raw.messages_a_second(RAW_MESSAGE, STREAM / RAW_MESSAGE).await? * RAW_MESSAGE as f64);
        rates.push(services::bytes_a_second(node, peer, STREAM).await?);
        messages.push(services::messages_a_second(node, peer, MESSAGES).await?);
    }
    let figure = Figure::new(format!("{what}: one-way messages of 64 B"), messages.median(), "a second");
    report.add(figure.at_least(50_000.0).with("messages", MESSAGES).with("rounds", ROUNDS));
    let name = format!("{what}: stream / plain channel, 16 KiB messages");
    let figure = Figure::new(name, rates.median() / raw_rates.median(), "x").at_least(0.7);
    let figure = figure.with_number("stream_MiB_s", mebibytes(rates.median())).with("rounds", ROUNDS);
    let figure =
        figure.with_number("stream_best", mebibytes(rates.max())).with_number("plain_best", mebibytes(raw_rates.max()));
    let figure = figure.with_number("plain_MiB_s", mebibytes(raw_rates.median()));
    report.add(figure.with("bytes_a_round", STREAM));
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
        services::serve(node.sessions())?;
    }
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    let raw = RawEnd::served().await?;

    let (mut raw_times, mut times) = (Samples::default(), vec![Samples::default(); LONGEST]);
    for _ in 0..ROUNDS {
        raw_times.append(raw.round_trips(CALLS).await?);
        for length in 1..=LONGEST {
            let (from, to) = pair_at(&nodes, length).await.with_context(|| format!("no route of {length} links"))?;
            services::calls(from.sessions(), to.id(), CALLS / 10).await?;
            let round = services::calls(from.sessions(), to.id(), CALLS).await?;
            // Fingers come and go: what was measured over another route does not count.
            if are_at(from, to, length).await {
                times[length - 1].append(round);
            }
        }
    }
    raw.close().await;
    close(&nodes).await;

    let raw_median = raw_times.median();
    for (index, samples) in times.iter().enumerate() {
        let name = format!("ring of {count}: dial and echo of 64 B over {} link(s), p50", index + 1);
        let figure = Figure::new(name, samples.median() * 1e6, "µs").with("calls", samples.count());
        let figure = figure.with_number("p99_µs", samples.percentile(99) * 1e6);
        report.add(figure.with_number("times_plain", samples.median() / raw_median));
    }
    for (which, pair) in ["second", "third"].into_iter().zip(times.windows(2)) {
        let more = pair[1].median() - pair[0].median();
        let name = format!("ring of {count}: the {which} link costs, p50 / plain round trip");
        let figure = Figure::new(name, more / raw_median, "x").at_most(1.2).with_number("more_µs", more * 1e6);
        report.add(figure.with_number("plain_p50_µs", raw_median * 1e6).with("links_a_node", links));
    }
    Ok(())
}

/// Two nodes with so many links between them, there and back.
pub(super) async fn pair_at(nodes: &[Node], links: usize) -> Option<(&Node, &Node)> {
    for from in nodes {
        for to in nodes.iter().filter(|to| to.id() != from.id()) {
            if are_at(from, to, links).await {
                return Some((from, to));
            }
        }
    }
    None
}

pub(super) async fn are_at(from: &Node, to: &Node, links: usize) -> bool {
    let there = from.trace(to.id()).await.is_ok_and(|route| route.len() == links);
    there && to.trace(from.id()).await.is_ok_and(|route| route.len() == links)
}

/// What QUIC costs by itself: one bounded queue and one task a node, as a driver has, and no WebRTC.
async fn without_webrtc(report: &mut Report) -> anyhow::Result<()> {
    report.progress("QUIC over a ring in memory");
    let ring = MemoryRing::new(Conditions::default(), report.seed());
    let near = ring.join(&Identity::generate(), Settings::default())?;
    let far = ring.join(&Identity::generate(), Settings::default())?;
    services::serve(&far)?;
    let mut calls = Samples::default();
    let (mut messages, mut rates) = (Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        calls.append(services::calls(&near, far.id(), CALLS).await?);
        messages.push(services::messages_a_second(&near, far.id(), MESSAGES).await?);
        rates.push(services::bytes_a_second(&near, far.id(), STREAM).await?);
    }
    let figure = Figure::new("in memory, QUIC alone: dial and echo of 64 B, p50", calls.median() * 1e6, "µs");
    report.add(figure.with("calls", calls.count()));
    let figure = Figure::new("in memory, QUIC alone: one-way messages of 64 B", messages.median(), "a second");
    report.add(figure.with("messages", MESSAGES));
    let figure = Figure::new("in memory, QUIC alone: stream", mebibytes(rates.median()), "MiB/s");
    report.add(figure.with("bytes_a_round", STREAM));
    Ok(())
}

async fn close(nodes: &[Node]) {
    futures::future::join_all(nodes.iter().map(Node::close)).await;
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / 1048576.0
}

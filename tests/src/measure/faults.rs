//! Real processes, killed: the ring heals, streams go on, and nobody misses the signalling server.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use atoll::Id;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg32;

use super::child::{NodeOptions, Place};
use super::children::{NodeProcess, ServerProcess, await_ring, places};
use super::report::{Figure, Report};
use super::services::{Flow, Pace};

/// Nodes, and how many of them are killed.
const NODES: usize = 16;
const KILLED: usize = NODES / 3;

/// Own fingers of a node: few, so that not everybody has a link to everybody, and room in the budget for links on demand.
const FINGERS: usize = 1;

/// How long a ring may take to form or to heal before the measurement counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream slow enough to get no direct link, so that it depends on the nodes in between: 25 KiB a second.
const THROUGH_HOPS: Pace = Pace { chunk: 1024, every_ms: 40, for_ms: 15_000 };

/// How long a ring has to fill its fingers before anything is done to it.
const SETTLING: Duration = Duration::from_secs(3);

/// How long streams flow before anybody is killed.
const BEFORE: Duration = Duration::from_secs(2);

/// A stream that is busy enough to get a direct link: 1.6 MB a second.
const BUSY: Pace = Pace { chunk: 16 << 10, every_ms: 10, for_ms: 6000 };

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    a_third_is_killed(report).await?;
    without_signalling(report).await
}

/// A ring of processes, and their signalling server.
async fn start(report: &Report) -> anyhow::Result<(ServerProcess, NodeOptions, Vec<NodeProcess>)> {
    report.progress(&format!("a ring of {NODES} processes"));
    let server = ServerProcess::start(0).await?;
    let options = NodeOptions { fingers: Some(FINGERS), ..NodeOptions::new(&server.url) };
    let nodes = NodeProcess::start_all(NODES, &options)?;
    await_ring(&nodes, PATIENCE).await?;
    tokio::time::sleep(SETTLING).await;
    Ok((server, options, nodes))
}

/// Kills a third, among them the nodes that carry a stream.
async fn a_third_is_killed(report: &mut Report) -> anyhow::Result<()> {
    let (_server, _, nodes) = start(report).await?;
    let before = places(&nodes).await?;
    let Relayed { from, to, hops } =
        relayed_pair(&nodes, &before).await?.context("all pairs have a link of their own")?;
    let victims = victims(&before, from, to, &hops, report.seed());
    report.progress(&format!("kill -9 of {KILLED} of {NODES}"));
    let (mut survivors, mut doomed) = (Vec::new(), Vec::new());
    for (node, place) in nodes.into_iter().zip(&before) {
        match victims.contains(&place.id) {
            true => doomed.push(node),
            false => survivors.push((node, place.id)),
        }
    }
    let sender = &survivors.iter().find(|(_, id)| *id == from).context("the sender is among the dead")?.0;
    let killing = async {
        tokio::time::sleep(BEFORE).await;
        let killed = Instant::now();
        futures::future::try_join_all(doomed.into_iter().map(NodeProcess::kill)).await?;
        let missing = reach_each_other(&survivors).await?;
        let healed = killed.elapsed();
        anyhow::Ok((healed, missing))
    };
    let (flow, (healed, missing)) = tokio::try_join!(sender.flow(to, THROUGH_HOPS), killing)?;
    // Once more, for what works for a moment only.
    let unreachable_again = reach_each_other(&survivors).await?;

    let pairs = survivors.len() * (survivors.len() - 1);
    let name = format!("kill -9 of {KILLED} of {NODES}: all remaining pairs reach each other");
    let figure = Figure::new(name, healed.as_secs_f64(), "s").at_most(10.0).with("pairs", pairs);
    report.add(figure.with("pairs_never", missing).with("pairs_never_later", unreachable_again));
    let name = format!("kill -9 of {KILLED} of {NODES}: bytes lost of a stream between survivors");
    report.add(lost(name, &flow).with("links_before", hops.len() + 1).with("hops_killed", hops.len().min(KILLED)));
    Ok(())
}

/// Two nodes, and those in between.
struct Relayed {
    from: Id,
    to: Id,
    hops: Vec<Id>,
}

/// The first pair without a link of its own.
async fn relayed_pair(nodes: &[NodeProcess], places: &[Place]) -> anyhow::Result<Option<Relayed>> {
    for (node, place) in nodes.iter().zip(places) {
        for to in places.iter().map(|place| place.id).filter(|id| *id != place.id && !place.peers.contains(id)) {
            if let Some(mut hops) = node.trace(to).await?
                && hops.len() > 1
            {
                hops.pop();
                return Ok(Some(Relayed { from: place.id, to, hops }));
            }
        }
    }
    Ok(None)
}

/// Those who carry the stream, and random others.
fn victims(places: &[Place], from: Id, to: Id, hops: &[Id], seed: u64) -> BTreeSet<Id> {
    let mut others: Vec<Id> = places.iter().map(|place| place.id).filter(|id| *id != from && *id != to).collect();
    others.sort_unstable();
    others.shuffle(&mut Pcg32::seed_from_u64(seed));
    others.sort_by_key(|id| !hops.contains(id));
    others.into_iter().take(KILLED).collect()
}

/// Has every node call every other, again and again until it answers. Gives the number of pairs that never did.
async fn reach_each_other(nodes: &[(NodeProcess, Id)]) -> anyhow::Result<usize> {
    let ids: Vec<Id> = nodes.iter().map(|(_, id)| *id).collect();
    let reaching = nodes.iter().map(|(node, id)| {
        let peers = ids.iter().copied().filter(|peer| peer != id).collect();
        node.reach(peers, PATIENCE)
    });
    let reached = futures::future::try_join_all(reaching).await?;
    Ok(reached.into_iter().map(|(_, missing)| missing.len()).sum())
}

fn lost(name: String, flow: &Flow) -> Figure {
    let figure = Figure::new(name, flow.sent.saturating_sub(flow.arrived) as f64, "B").exactly(0.0);
    let figure = figure.with("sent", flow.sent).with("arrived", flow.arrived);
    flow.broken.iter().fold(figure, |figure, reason| figure.with("broken", reason.as_str()))
}

/// Kills the signalling server, then a node; makes a link; and brings the server back for a newcomer.
async fn without_signalling(report: &mut Report) -> anyhow::Result<()> {
    let (server, options, mut nodes) = start(report).await?;
    report.progress("kill -9 of the signalling server");
    let before = places(&nodes).await?;
    let port = server.port()?;
    let flow = {
        let pace = Pace { for_ms: 5000, ..THROUGH_HOPS };
        let killing = async {
            tokio::time::sleep(BEFORE).await;
            server.kill().await
        };
        tokio::try_join!(nodes[0].flow(before[1].id, pace), killing)?.0
    };
    report.add(lost("no signalling server: bytes lost of a stream".into(), &flow));

    let killed = nodes.pop().context("no node is left")?.kill().await?;
    await_ring(&nodes, PATIENCE).await?;
    let healed = killed.elapsed();
    let figure = Figure::new("no signalling server: a dead node is healed around", healed.as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()));

    let linked = new_link(&nodes).await?;
    let figure = Figure::new("no signalling server: a new link through the ring", linked.as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()));

    let begun = Instant::now();
    let _server = ServerProcess::start(port).await?;
    nodes.push(NodeProcess::start(&options)?);
    await_ring(&nodes, PATIENCE).await?;
    let figure =
        Figure::new("signalling server back: a newcomer is in the same ring", begun.elapsed().as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()));
    Ok(())
}

/// From the begin of a busy stream between two nodes without a link until they have one.
async fn new_link(nodes: &[NodeProcess]) -> anyhow::Result<Duration> {
    let places = places(nodes).await?;
    let Relayed { from, to, .. } = relayed_pair(nodes, &places).await?.context("all pairs have a link of their own")?;
    let at = places.iter().position(|place| place.id == from).context("a node is gone")?;
    let begun = Instant::now();
    let linked = async {
        while !nodes[at].place().await?.peers.contains(&to) {
            ensure!(begun.elapsed() < PATIENCE, "no link through the ring within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    };
    let (_, took) = tokio::try_join!(nodes[at].flow(to, BUSY), linked)?;
    Ok(took)
}

//! Real processes, killed: the ring heals, streams go on, and nobody misses the signalling server.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::child::NodeOptions;
use super::children::{NodeProcess, ServerProcess, await_ring, places};
use super::kills::{self, BEFORE, PATIENCE, Route, THROUGH_HOPS, lost, routes, start};
use super::report::{Figure, Report};
use super::services::Pace;

/// Links of a node at most, where two members are to make one more: few, so that not everybody has a link to everybody.
const LINKS: usize = 8;

/// Own fingers of such a node: few, so that there is room in the budget for links on demand.
const FINGERS: usize = 1;

/// A stream that is busy enough to get a direct link: 1.6 MB a second.
const BUSY: Pace = Pace { chunk: 16 << 10, every_ms: 10, for_ms: 6000 };

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    kills::measure(report).await?;
    without_signalling(report).await
}

/// Kills the signalling server, then a node; makes a link; and brings the server back for a newcomer.
async fn without_signalling(report: &mut Report) -> anyhow::Result<()> {
    let options = |url: &str| NodeOptions { max_links: LINKS, fingers: Some(FINGERS), ..NodeOptions::new(url) };
    let (server, options, mut nodes) = start(report, options).await?;
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
    report.add(lost("no signalling server: bytes lost of a stream".into(), &[flow]));

    let killed = nodes.pop().context("no node is left")?.kill().await?;
    await_ring(&nodes, PATIENCE).await?;
    let healed = killed.elapsed();
    let figure = Figure::new("no signalling server: a dead node is healed around", healed.as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()));

    let linked = new_link(&nodes).await?;
    let name = "no signalling server: two members without a link make one through the ring";
    let figure = Figure::new(name, linked.as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()).with("max_links", LINKS));

    let begun = Instant::now();
    let _server = ServerProcess::start(port).await?;
    nodes.push(NodeProcess::start(&options)?);
    await_ring(&nodes, PATIENCE).await?;
    let figure =
        Figure::new("signalling server back: a newcomer is in the same ring", begun.elapsed().as_secs_f64(), "s");
    report.add(figure.at_most(10.0).with("nodes", nodes.len()));
    Ok(())
}

/// From the begin of a busy stream between two members without a link until both have one.
async fn new_link(nodes: &[NodeProcess]) -> anyhow::Result<Duration> {
    let places = places(nodes).await?;
    let routes = routes(nodes, &places).await?;
    let Route { from, to, .. } = routes.first().context("all pairs have a link of their own")?;
    let node = |id| nodes.iter().zip(&places).find(|(_, place)| place.id == id).map(|(node, _)| node);
    let (near, far) = (node(*from).context("a node is gone")?, node(*to).context("a node is gone")?);
    let begun = Instant::now();
    let linked = async {
        while !near.place().await?.peers.contains(to) || !far.place().await?.peers.contains(from) {
            ensure!(begun.elapsed() < PATIENCE, "no link through the ring within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(begun.elapsed())
    };
    let (_, took) = tokio::try_join!(near.flow(*to, BUSY), linked)?;
    Ok(took)
}

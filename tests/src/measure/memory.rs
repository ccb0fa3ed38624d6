//! What a node weighs, and what is left behind when links and sockets are opened and closed again and again.

use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::Node;

use super::child::{NodeOptions, Place};
use super::children::{NodeProcess, await_ring};
use super::link;
use super::process::{Memory, living_tasks, open_files, own_memory};
use super::report::{Figure, Report};
use super::services::{self, Pace};
use crate::{TestServer, await_one_ring};

/// Links of the node that is weighed.
const LINKS: usize = 8;

/// Opens and closes, counted after a few that warm up.
const OPENINGS: usize = 500;

/// Opens and closes that warm up: the allocator and the tables have then grown to what they need.
const WARM_UP: usize = 100;

/// Memory may grow by so many KiB an opening and still count as flat: what an allocator scatters, not what a link leaves behind,
/// which would be a hundred times as much.
const FLAT: f64 = 1.0;

/// How long closed links may take to vanish.
const SETTLING: Duration = Duration::from_secs(10);

/// How long a node of a small ring may take to have links with all the others. After that busy sessions ask for them.
const NATURALLY: Duration = Duration::from_secs(10);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Busy enough to be given a direct link, light enough to leave no large buffers.
const BUSY: Pace = Pace { chunk: 16 << 10, every_ms: 100, for_ms: 2500 };

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    node_with_links(report).await?;
    links_opened_and_closed(report).await?;
    sockets_opened_and_closed(report).await
}

/// A process with one node, whose peers are in this one.
async fn node_with_links(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("a node with {LINKS} links"));
    let server = TestServer::start().await;
    let weighed = [NodeProcess::start(&NodeOptions::new(&server.url))?];
    let alone = await_ring(&weighed, PATIENCE).await?.remove(0);
    let peers = server.ring(LINKS).await;
    let (linked, how) = match await_links(&weighed[0], NATURALLY).await? {
        Some(place) => (place, "by the ring"),
        None => {
            let streams = peers.iter().map(|peer| services::flow(peer.sessions(), alone.id, BUSY));
            futures::future::join_all(streams).await;
            let linked = await_links(&weighed[0], PATIENCE).await?;
            (linked.with_context(|| format!("the node does not get {LINKS} links"))?, "for busy sessions")
        }
    };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let figure =
        Figure::new(format!("a node process with {LINKS} links, resident"), megabytes(linked.memory.resident), "MB");
    let figure = figure.at_most(15.0).with("links", linked.peers.len()).with("made", how);
    let figure = figure.with_number("allocated_MB", megabytes(linked.memory.anonymous));
    let figure = figure.with_number("without_links_MB", megabytes(alone.memory.resident));
    report.add(figure.with_number("without_links_allocated_MB", megabytes(alone.memory.anonymous)));
    close(&peers).await;
    Ok(())
}

async fn await_links(node: &NodeProcess, limit: Duration) -> anyhow::Result<Option<Place>> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        let place = node.place().await?;
        if place.peers.len() >= LINKS {
            // What setting them up took is given back.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Ok(Some(node.place().await?));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

async fn links_opened_and_closed(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("{OPENINGS} links opened and closed"));
    let (a, b) = (link::transport()?, link::transport()?);
    let open_and_close = async || {
        let (near, far) = link::open(&a, &b).await?;
        near.sender().close();
        far.sender().closed().await;
        anyhow::Ok(())
    };
    for _ in 0..WARM_UP {
        open_and_close().await?;
    }
    let before = Held::settled(None).await?;
    for _ in 0..OPENINGS {
        open_and_close().await?;
    }
    let after = Held::settled(Some(before)).await?;
    report_growth(report, "links opened and closed", before, after);
    Ok(())
}

/// Sockets between two nodes, each with a session of its own made and ended.
async fn sockets_opened_and_closed(report: &mut Report) -> anyhow::Result<()> {
    report.progress(&format!("{OPENINGS} sessions and sockets opened and closed"));
    let server = TestServer::start().await;
    let nodes = server.ring(2).await;
    await_one_ring(&nodes, PATIENCE).await.map_err(anyhow::Error::msg)?;
    services::serve(nodes[1].sessions())?;
    let (near, far) = (nodes[0].sessions(), nodes[1].sessions());
    let open_and_close = async || {
        services::call(near, far.id()).await?;
        let session = near.get(far.id()).context("the session is gone already")?;
        let other_end = far.get(near.id());
        session.close();
        if let Some(other_end) = other_end {
            tokio::time::timeout(PATIENCE, other_end.closed()).await.context("the other end does not close")?;
        }
        anyhow::Ok(())
    };
    for _ in 0..WARM_UP {
        open_and_close().await?;
    }
    let before = Held::settled(None).await?;
    for _ in 0..OPENINGS {
        open_and_close().await?;
    }
    let after = Held::settled(Some(before)).await?;
    report_growth(report, "sessions opened and closed", before, after);
    close(&nodes).await;
    Ok(())
}

/// What this process holds.
#[derive(Clone, Copy)]
struct Held {
    files: usize,
    tasks: usize,
    memory: Memory,
}

impl Held {
    fn now() -> anyhow::Result<Self> {
        Ok(Held { files: open_files(), tasks: living_tasks(), memory: own_memory()? })
    }

    /// What is held once nothing more vanishes, or no more is held than before.
    async fn settled(before: Option<Held>) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut last = Self::now()?;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = Self::now()?;
            let as_before = before.is_none_or(|before| now.files <= before.files && now.tasks <= before.tasks);
            let quiet = now.files == last.files && now.tasks == last.tasks;
            if quiet && as_before || begun.elapsed() > SETTLING {
                return Ok(now);
            }
            last = now;
        }
    }
}

fn report_growth(report: &mut Report, what: &str, before: Held, after: Held) {
    let growth = |before: usize, after: usize| after as f64 - before as f64;
    let figure = Figure::new(format!("{OPENINGS} {what}: open files more"), growth(before.files, after.files), "");
    report.add(figure.at_most(0.0).with("before", before.files).with("after", after.files));
    let figure = Figure::new(format!("{OPENINGS} {what}: tasks more"), growth(before.tasks, after.tasks), "");
    report.add(figure.at_most(0.0).with("before", before.tasks).with("after", after.tasks));
    let grown = (after.memory.resident as f64 - before.memory.resident as f64) / 1024.0 / OPENINGS as f64;
    let figure = Figure::new(format!("{OPENINGS} {what}: memory more, each"), grown, "KiB").at_most(FLAT);
    let figure = figure.with_number("before_MB", before.memory.resident as f64 / 1e6);
    report.add(figure.with_number("after_MB", after.memory.resident as f64 / 1e6).with("warm_up", WARM_UP));
}

async fn close(nodes: &[Node]) {
    futures::future::join_all(nodes.iter().map(Node::close)).await;
}

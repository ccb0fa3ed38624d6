//! A third of a ring of processes is killed at once, in several patterns, while streams run over the dead.

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

/// Nodes, and a third of them.
pub(super) const NODES: usize = 16;
const THIRD: usize = NODES / 3;

/// Links of a node at most: so few that many pairs have none, and their streams run over others.
const LINKS: usize = 8;

/// Streams between survivors, at most.
const STREAMS: usize = 6;

/// How long a ring may take to form or to heal before the measurement counts as failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A stream slow enough to get no direct link, so that it depends on the nodes in between: 25 KiB a second.
pub(super) const THROUGH_HOPS: Pace = Pace { chunk: 1024, every_ms: 40, for_ms: 15_000 };

/// How long a ring has to fill its fingers before anything is done to it.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

/// How long streams flow before anybody is killed.
pub(super) const BEFORE: Duration = Duration::from_secs(2);

/// Who is killed.
#[derive(Clone, Copy)]
enum Pattern {
    /// So many neighbours in a row.
    Arc(usize),
    EveryThird,
    /// A third at random; the number tells one draw from another.
    Random(u64),
    /// Those who pass streams on.
    Hops,
}

const PATTERNS: [Pattern; 7] = [
    Pattern::Arc(THIRD),
    Pattern::Arc(THIRD + 1),
    Pattern::EveryThird,
    Pattern::Random(0),
    Pattern::Random(1),
    Pattern::Random(2),
    Pattern::Hops,
];

impl Pattern {
    fn name(self) -> String {
        match self {
            Pattern::Arc(length) => format!("{length} in a row"),
            Pattern::EveryThird => "every third".to_owned(),
            Pattern::Random(draw) => format!("{THIRD} at random, draw {draw}"),
            Pattern::Hops => format!("{THIRD} hops of streams"),
        }
    }

    /// Whom to kill, and between whom streams are to run meanwhile.
    fn choose(self, ids: &[Id], routes: &[Route], seed: u64) -> (BTreeSet<Id>, Vec<Route>) {
        let draw = if let Pattern::Random(draw) = self { draw } else { 0 };
        let mut rng = Pcg32::seed_from_u64(seed.wrapping_add(draw << 32));
        let mut shuffled: Vec<usize> = (0..ids.len()).collect();
        shuffled.shuffle(&mut rng);
        let mut routes = routes.to_vec();
        routes.shuffle(&mut rng);
        let mut streams = Vec::new();
        let victims: BTreeSet<Id> = match self {
            Pattern::Arc(length) => (0..length).map(|step| ids[(shuffled[0] + step) % ids.len()]).collect(),
            Pattern::EveryThird => ids.iter().copied().skip(shuffled[0] % 3).step_by(3).take(THIRD).collect(),
            Pattern::Random(_) => shuffled.iter().take(THIRD).map(|&at| ids[at]).collect(),
            Pattern::Hops => {
                let (mut victims, mut ends) = (BTreeSet::new(), BTreeSet::new());
                for route in &routes {
                    let with: BTreeSet<Id> = victims.iter().chain(&route.hops).copied().collect();
                    let spares = |id: &Id| !ends.contains(id) && *id != route.from && *id != route.to;
                    if with.len() <= THIRD && with.iter().all(spares) {
                        victims = with;
                        ends.extend([route.from, route.to]);
                        streams.push(route.clone());
                    }
                }
                victims
            }
        };
        let alive = |route: &&Route| !victims.contains(&route.from) && !victims.contains(&route.to);
        let mut others: Vec<Route> = routes.iter().filter(alive).cloned().collect();
        others.sort_by_key(|route| !route.hops.iter().any(|hop| victims.contains(hop)));
        streams.extend(others);
        streams.truncate(STREAMS);
        (victims, streams)
    }
}

/// Two nodes without a link of their own, and those in between.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) from: Id,
    pub(super) to: Id,
    pub(super) hops: Vec<Id>,
}

/// All pairs without a link of their own that a trace finds a way between.
pub(super) async fn routes(nodes: &[NodeProcess], places: &[Place]) -> anyhow::Result<Vec<Route>> {
    let mut routes = Vec::new();
    for (node, place) in nodes.iter().zip(places) {
        for to in places.iter().map(|place| place.id).filter(|id| *id != place.id && !place.peers.contains(id)) {
            if let Some(mut hops) = node.trace(to).await?
                && hops.len() > 1
            {
                hops.pop();
                routes.push(Route { from: place.id, to, hops });
            }
        }
    }
    Ok(routes)
}

/// A ring of processes, and their signalling server.
pub(super) async fn start(
    report: &Report,
    options: impl Fn(&str) -> NodeOptions,
) -> anyhow::Result<(ServerProcess, NodeOptions, Vec<NodeProcess>)> {
    report.progress(&format!("a ring of {NODES} processes"));
    let server = ServerProcess::start(0).await?;
    let options = options(&server.url);
    let nodes = NodeProcess::start_all(NODES, &options)?;
    await_ring(&nodes, PATIENCE).await?;
    tokio::time::sleep(SETTLING).await;
    Ok((server, options, nodes))
}

/// Kills in each pattern, a ring of its own each.
pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let (mut slowest, mut lost_in_all, mut never) = (Duration::ZERO, 0, 0);
    for pattern in PATTERNS {
        let killing = kill(report, pattern).await.with_context(|| format!("kill -9 of {}", pattern.name()))?;
        slowest = slowest.max(killing.healed);
        lost_in_all += killing.lost;
        never += killing.never;
    }
    let name = format!("kill -9 of a third of {NODES}, the worst pattern: all remaining pairs reach each other");
    let figure = Figure::new(name, slowest.as_secs_f64(), "s").at_most(10.0).with("patterns", PATTERNS.len());
    report.add(figure.with("links", LINKS).with("pairs_never", never));
    let name = format!("kill -9 of a third of {NODES}, all patterns: bytes lost of streams between survivors");
    report.add(Figure::new(name, lost_in_all as f64, "B").exactly(0.0).with("patterns", PATTERNS.len()));
    Ok(())
}

/// What became of a ring.
struct Killing {
    healed: Duration,
    lost: u64,
    never: usize,
}

async fn kill(report: &mut Report, pattern: Pattern) -> anyhow::Result<Killing> {
    let options = |url: &str| NodeOptions { max_links: LINKS, ..NodeOptions::new(url) };
    let (_server, _, nodes) = start(report, options).await?;
    let before = places(&nodes).await?;
    let mut ids: Vec<Id> = before.iter().map(|place| place.id).collect();
    ids.sort_unstable();
    let routes = routes(&nodes, &before).await?;
    let (victims, streams) = pattern.choose(&ids, &routes, report.seed());
    ensure!(!streams.is_empty(), "no two survivors are without a link of their own");
    report.progress(&format!("kill -9 of {}, {} streams", pattern.name(), streams.len()));
    let (mut survivors, mut doomed) = (Vec::new(), Vec::new());
    for (node, place) in nodes.into_iter().zip(&before) {
        match victims.contains(&place.id) {
            true => doomed.push(node),
            false => survivors.push((node, place.id)),
        }
    }
    let flows = streams.iter().map(async |stream| {
        let sender = survivors.iter().find(|(_, id)| *id == stream.from).context("the sender is among the dead")?;
        sender.0.flow(stream.to, THROUGH_HOPS).await
    });
    let killing = async {
        tokio::time::sleep(BEFORE).await;
        let killed = Instant::now();
        futures::future::try_join_all(doomed.into_iter().map(NodeProcess::kill)).await?;
        let never = reach_each_other(&survivors).await?;
        anyhow::Ok((killed.elapsed(), never))
    };
    let (flows, (healed, never)) = tokio::try_join!(futures::future::try_join_all(flows), killing)?;
    // Once more, for what works for a moment only.
    let never_later = reach_each_other(&survivors).await?;

    let pairs = survivors.len() * (survivors.len() - 1);
    let unlinked = routes.len();
    let name = format!("kill -9 of {}: all remaining pairs reach each other", pattern.name());
    let figure = Figure::new(name, healed.as_secs_f64(), "s").at_most(10.0).with("pairs", pairs);
    let figure = figure.with("links", LINKS).with("pairs_without_a_link_before", unlinked);
    report.add(figure.with("pairs_never", never).with("pairs_never_later", never_later));
    let hit = |stream: &&Route| stream.hops.iter().any(|hop| victims.contains(hop));
    let over_the_dead = streams.iter().filter(hit).count();
    let name = format!("kill -9 of {}: bytes lost of streams between survivors", pattern.name());
    let figure = lost(name, &flows).with("streams", streams.len()).with("over_the_dead", over_the_dead);
    report.add(figure);
    Ok(Killing { healed, lost: bytes_lost(&flows), never: never + never_later })
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

fn bytes_lost(flows: &[Flow]) -> u64 {
    flows.iter().map(|flow| flow.sent.saturating_sub(flow.arrived)).sum()
}

/// The bytes that streams lost.
pub(super) fn lost(name: String, flows: &[Flow]) -> Figure {
    let figure = Figure::new(name, bytes_lost(flows) as f64, "B").exactly(0.0);
    let (sent, arrived) = flows.iter().fold((0, 0), |sum, flow| (sum.0 + flow.sent, sum.1 + flow.arrived));
    let figure = figure.with("sent", sent).with("arrived", arrived);
    let broken = flows.iter().filter_map(|flow| flow.broken.as_deref());
    broken.fold(figure, |figure, reason| figure.with("broken", reason))
}

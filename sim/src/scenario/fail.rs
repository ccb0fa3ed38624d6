//! A share of all nodes dies at one moment: what arrives before anybody has repaired anything, and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use atoll::wire::kind;

use super::classic::{self, Kind, Walks};
use super::damage::{choose, kill};
use super::lookups::{Lookups, Outcome, Target, look_up};
use super::packets::{self, Packets};
use super::ring::{Growth, Recipe, pass, until_correct};
use super::samples::Samples;
use super::{Run, Scenario};
use crate::engine::{Fate, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory::PAPER_FAILURES;

/// What arrives when a share of all nodes dies at one moment: before any repair, and after it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sim fail --nodes 1000,10000 --dead 0.3\n  sim fail --protocol chord --nodes 1000 --runs 5"
)]
pub struct Fail {
    /// Sizes of the rings.
    #[arg(long, default_value = "300", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Shares of the nodes that die.
    #[arg(long, default_value = "0,0.1,0.2,0.3,0.4,0.5", value_name = "SHARE", value_delimiter = ',', value_parser = values::share)]
    pub(super) dead: Vec<f64>,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// Nodes as they ship (atoll), or as in the paper (chord): without repair, with the paper's figures beside.
    #[arg(long, default_value = "atoll", value_enum, value_name = "PROTOCOL")]
    pub(super) protocol: Kind,
    /// Packets between random survivors, all at one time, before the repair and as many after it.
    #[arg(long, default_value = "10000", value_name = "PACKETS", value_parser = values::count)]
    pub(super) packets: usize,
    /// Lookups by random survivors, all at one time, before the repair and as many after it.
    #[arg(long, default_value = "5000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// What is looked up: random keys, or random nodes that survived.
    #[arg(long, default_value = "nodes", value_enum, value_name = "TARGET")]
    pub(super) target: Target,
    /// Rings of each size and share, with seeds from --seed onwards: the figures are of all of them together.
    #[arg(long, default_value = "1", value_name = "RINGS", value_parser = values::count)]
    pub(super) runs: usize,
    /// Whether to go on until the ring is repaired, and to measure again. Large rings take long.
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_name = "YES", action = clap::ArgAction::Set)]
    pub(super) repair: bool,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// After the deaths nobody sends anything for so long: what was on its way has arrived, and links that were being closed are closed.
const CALM: Duration = Duration::from_secs(2);

/// Rings that lost nodes.
#[derive(Default)]
struct Measured {
    nodes: usize,
    dead: f64,
    packets: Packets,
    /// Frames that the packets took, together.
    frames: u64,
    before: Outcome,
    /// Virtual seconds until all lists were right again.
    repaired_after: Samples,
    packets_after: Packets,
    after: Outcome,
}

/// Rings of the paper's Chord that lost nodes.
struct Walked {
    nodes: usize,
    dead: f64,
    walks: Walks,
}

impl Scenario for Fail {
    fn check(&self) -> Result<(), Wrong> {
        if self.protocol == Kind::Atoll {
            self.common.protocol.check(&self.nodes, &[self.links])?;
        }
        match self.dead.iter().find(|&&dead| dead >= 1.0) {
            Some(_) => Err(Wrong::new("dead", "somebody must survive to look anything up: write less than 1")),
            None => Ok(()),
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|ring| ring.0).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        let after = if self.repair { 2 } else { 1 };
        let each = match self.protocol {
            Kind::Atoll => after * (self.lookups + self.packets),
            Kind::Chord => self.lookups * self.dead.len(),
        };
        run.progress.expect(rings.iter().map(|ring| (ring.0 + each) as u64).sum());
        match self.protocol {
            Kind::Atoll => Ok(self.report(&mut run.each(&rings, |&ring| self.measure(run, ring))?)),
            Kind::Chord => Ok(self.report_walks(run.each(&rings, |&ring| self.walk(run, ring))?)),
        }
    }
}

impl Fail {
    /// Sizes, shares and seeds. Of the paper's Chord, one ring serves for all shares: nothing in it changes.
    fn rings(&self) -> Vec<(usize, f64, u64)> {
        let seeds = || (0..self.runs as u64).map(|run| self.common.seed.wrapping_add(run));
        let shares = if self.protocol == Kind::Chord { &[0.0][..] } else { &self.dead };
        let of_size =
            |&nodes: &usize| shares.iter().flat_map(move |&dead| seeds().map(move |seed| (nodes, dead, seed)));
        self.nodes.iter().flat_map(of_size).collect()
    }

    fn measure(&self, run: &Run, (nodes, dead, seed): (usize, f64, u64)) -> Result<Option<Measured>> {
        let mut recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        recipe.seed = seed;
        recipe.network.links_notice = self.common.network.links_notice.map_or(Some(Duration::ZERO), |chosen| chosen.0);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let patience = recipe.patience();
        let lookups = Lookups { count: self.lookups, target: self.target, patience, asking: None, at_once: true };
        // Nor does anybody close a link by chance just before the packets or meanwhile: what is on it would be lost.
        world.stop_timers();
        kill(&mut world, dead);
        let frames = forbid_repair(&mut world);
        let calm = world.network.links_notice.unwrap_or_default() + CALM;
        pass(&mut world, run, calm);
        let packets = packets::send(&mut world, run, self.packets, patience);
        let frames = frames.load(Ordering::Relaxed);
        // Lookups need timers for their next tries.
        world.restart_timers();
        let before = look_up(&mut world, run, &lookups);
        let mut measured = Measured { nodes, dead, packets, frames, before, ..Measured::default() };
        if self.repair {
            allow_repair(&mut world);
            let began = world.now();
            let repaired = until_correct(&mut world, run, self.common.limit);
            let after = repaired.map(|at| at.saturating_sub(Duration::from_micros(began.0)).as_secs_f64());
            measured.repaired_after = after.into_iter().collect();
            // As before the deaths: fingers still change hands, and what is on its way over a link that closes is lost.
            pass(&mut world, run, self.common.settle);
            measured.packets_after = packets::send(&mut world, run, self.packets, patience);
            measured.after = look_up(&mut world, run, &lookups);
        }
        Ok(Some(measured))
    }

    fn walk(&self, run: &Run, (nodes, _, seed): (usize, f64, u64)) -> Result<Option<Vec<Walked>>> {
        let mut recipe = Recipe::classic(nodes, self.growth, &self.common);
        recipe.seed = seed;
        let Some(mut world) = classic::build(&recipe, run, self.common.limit)? else { return Ok(None) };
        let of_share = |&dead: &f64| {
            let killed = choose(&mut world, dead);
            Walked { nodes, dead, walks: classic::walk(&mut world, run, &killed, self.lookups) }
        };
        Ok(Some(self.dead.iter().map(of_share).collect()))
    }

    fn report(&self, rings: &mut Vec<Measured>) -> Report {
        let mut measured: Vec<Measured> = Vec::new();
        for ring in rings.drain(..) {
            match measured.last_mut().filter(|last| (last.nodes, last.dead) == (ring.nodes, ring.dead)) {
                Some(last) => last.append(ring),
                None => measured.push(ring),
            }
        }
        let mut report = Report::new("A share of all nodes dies at one moment").with_columns(&[
            ("nodes", "", 0),
            ("dead", "%", 0),
            ("packets-before", "% arrived", 3),
            ("frames-before", "a packet", 3),
            ("lookups-before", "% answered", 3),
            ("mean-before", "hops", 3),
            ("p99-before", "hops", 0),
            ("answer-before", "s, mean", 3),
            ("repaired-after", "s", 1),
            ("packets-after", "% arrived", 3),
            ("lookups-after", "% answered", 3),
            ("mean-after", "hops", 3),
        ]);
        let percent = |share: Option<f64>| share.map(|share| 100.0 * share);
        for ring in &mut measured {
            report.row([
                ring.nodes.into(),
                (100.0 * ring.dead).into(),
                percent(ring.packets.delivered()).into(),
                (ring.packets.sent > 0).then(|| ring.frames as f64 / ring.packets.sent as f64).into(),
                percent(ring.before.delivered()).into(),
                ring.before.hops.mean().into(),
                ring.before.hops.quantile(0.99).into(),
                ring.before.seconds.mean().into(),
                ring.repaired_after.mean().into(),
                percent(ring.packets_after.delivered()).into(),
                percent(ring.after.delivered()).into(),
                ring.after.hops.mean().into(),
            ]);
            if ring.packets.arrived < ring.packets.sent {
                let (nodes, dead, missing) = (ring.nodes, 100.0 * ring.dead, ring.packets.missing());
                report.notes.push(format!("{nodes} nodes, {dead:.0} % dead, packets that did not arrive: {missing}"));
            }
        }
        report.figures.push(Figure::Plot(self.delivered(&measured)));
        report.figures.push(Figure::Plot(self.hops(&measured)));
        report
    }

    fn report_walks(&self, rings: Vec<Vec<Walked>>) -> Report {
        let mut measured: Vec<Walked> = Vec::new();
        for ring in rings.into_iter().flatten() {
            match measured.iter_mut().find(|walked| (walked.nodes, walked.dead) == (ring.nodes, ring.dead)) {
                Some(walked) => walked.walks.append(ring.walks),
                None => measured.push(ring),
            }
        }
        let title = "The paper's Chord: a share of all nodes dies, and nobody repairs";
        let mut report = Report::new(title).with_columns(&[
            ("nodes", "", 0),
            ("dead", "%", 0),
            ("lookups", "", 0),
            ("failed", "", 0),
            ("mean", "live hops", 3),
            ("paper", "live hops", 2),
            ("difference", "%", 1),
            ("time-outs", "a lookup", 3),
            ("paper-time-outs", "a lookup", 2),
        ]);
        for Walked { nodes, dead, walks } in &mut measured {
            let paper = PAPER_FAILURES.iter().find(|row| *nodes == 1000 && (row.dead - *dead).abs() < 1e-9);
            let mean = walks.hops.mean();
            report.row([
                (*nodes).into(),
                (100.0 * *dead).into(),
                walks.begun.into(),
                (walks.begun - walks.right).into(),
                mean.into(),
                paper.map(|row| row.hops).into(),
                paper.and_then(|row| Some(100.0 * (mean? / row.hops - 1.0))).into(),
                walks.time_outs.mean().into(),
                paper.map(|row| row.timeouts).into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.paths(&measured)));
        report
    }

    fn paths(&self, measured: &[Walked]) -> Plot {
        let mut series = Vec::new();
        for &nodes in &self.nodes {
            let rings = || measured.iter().filter(|ring| ring.nodes == nodes);
            let hops = rings().filter_map(|ring| Some((100.0 * ring.dead, ring.walks.hops.mean()?)));
            let time_outs = rings().filter_map(|ring| Some((100.0 * ring.dead, ring.walks.time_outs.mean()?)));
            series.push(Series::new(format!("path, {nodes} nodes"), Style::Measured, hops));
            series.push(Series::new(format!("time-outs, {nodes} nodes"), Style::Measured, time_outs));
        }
        let paper = |of: fn(&crate::theory::PaperFailure) -> f64| {
            PAPER_FAILURES.iter().map(move |row| (100.0 * row.dead, of(row)))
        };
        series.push(Series::new("path (ToN 2003)", Style::Paper, paper(|row| row.hops)));
        series.push(Series::new("time-outs (ToN 2003)", Style::Paper, paper(|row| row.timeouts)));
        Plot {
            name: "paths".to_owned(),
            title: "The paper's Chord: mean path and time-outs of lookups".to_owned(),
            x: Axis::linear("nodes that died (%)"),
            y: Axis::linear("a lookup (live hops, time-outs)"),
            series,
        }
    }

    fn delivered(&self, measured: &[Measured]) -> Plot {
        let mut series = Vec::new();
        for &nodes in &self.nodes {
            let rings = || measured.iter().filter(move |ring| ring.nodes == nodes);
            let packets = rings().filter_map(|ring| Some((100.0 * ring.dead, 100.0 * ring.packets.delivered()?)));
            let lookups = rings().filter_map(|ring| Some((100.0 * ring.dead, 100.0 * ring.before.delivered()?)));
            series.push(Series::new(format!("packets, {nodes} nodes"), Style::Measured, packets));
            series.push(Series::new(format!("lookups, {nodes} nodes"), Style::Measured, lookups));
        }
        Plot {
            name: "delivered".to_owned(),
            title: "Packets that arrive, lookups that are answered, before any repair".to_owned(),
            x: Axis::linear("nodes that died (%)"),
            y: Axis::linear("delivered (%)"),
            series,
        }
    }

    fn hops(&self, measured: &[Measured]) -> Plot {
        let mut series = Vec::new();
        for &nodes in &self.nodes {
            let rings = || measured.iter().filter(|ring| ring.nodes == nodes);
            let before = rings().filter_map(|ring| Some((100.0 * ring.dead, ring.before.hops.mean()?)));
            let after = rings().filter_map(|ring| Some((100.0 * ring.dead, ring.after.hops.mean()?)));
            series.push(Series::new(format!("Atoll, {nodes} nodes, before repair"), Style::Measured, before));
            series.push(Series::new(format!("Atoll, {nodes} nodes, after repair"), Style::Measured, after));
        }
        let paper = PAPER_FAILURES.iter().map(|row| (100.0 * row.dead, row.hops));
        series.push(Series::new("Chord, 1000 nodes (ToN 2003)", Style::Paper, paper));
        Plot {
            name: "hops".to_owned(),
            title: "Mean path length of lookups".to_owned(),
            x: Axis::linear("nodes that died (%)"),
            y: Axis::linear("mean path length (hops)"),
            series,
        }
    }
}

impl Measured {
    fn append(&mut self, other: Measured) {
        self.packets.append(other.packets);
        self.frames += other.frames;
        self.before.append(other.before);
        self.repaired_after.append(other.repaired_after);
        self.packets_after.append(other.packets_after);
        self.after.append(other.after);
    }
}

/// From now on only packets, lookups and signs of life get through: nodes know which of their links are dead, and can do nothing
/// about it. Gives the frames of packets that were sent.
fn forbid_repair(world: &mut World) -> Arc<AtomicU64> {
    let frames = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&frames);
    world.server_up = false;
    world.sabotage = Some(Box::new(move |_, frame| match frame.header.kind {
        kind::DATAGRAM => {
            counted.fetch_add(1, Ordering::Relaxed);
            Fate::Goes
        }
        kind::FIND | kind::FOUND | kind::UNREACHABLE | kind::PING | kind::PONG => Fate::Goes,
        _ => Fate::Dropped,
    }));
    frames
}

fn allow_repair(world: &mut World) {
    world.server_up = true;
    world.sabotage = None;
}

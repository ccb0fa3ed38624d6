//! A share of all nodes dies at one moment: what lookups do before anybody has repaired anything, and after.

use std::time::Duration;

use anyhow::Result;
use atoll::wire::kind;

use super::damage::kill;
use super::lookups::{Lookups, Outcome, Target, look_up};
use super::ring::{Growth, Recipe, pass, until_correct};
use super::{Run, Scenario};
use crate::engine::World;
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory::PAPER_FAILURES;

/// What lookups do when a share of all nodes dies at one moment: before any repair, and after it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim fail --nodes 1000,10000 --dead 0.3 --links-notice 0s")]
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
    /// Lookups by random survivors, all at one time, before the repair and as many after it.
    #[arg(long, default_value = "5000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// What is looked up: random keys, or random nodes that survived.
    #[arg(long, default_value = "nodes", value_enum, value_name = "TARGET")]
    pub(super) target: Target,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring that lost nodes.
struct Measured {
    nodes: usize,
    dead: f64,
    before: Outcome,
    /// Virtual seconds until all lists were right again.
    repaired_after: Option<f64>,
    after: Outcome,
}

impl Scenario for Fail {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &[self.links])?;
        match self.dead.iter().find(|&&dead| dead >= 1.0) {
            Some(_) => Err(Wrong::new("dead", "somebody must survive to look anything up: write less than 1")),
            None => Ok(()),
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|(nodes, _)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|(nodes, _)| (nodes + 2 * self.lookups) as u64).sum());
        let measured = run.each(&rings, |&(nodes, dead)| self.measure(run, nodes, dead))?;
        Ok(self.report(measured))
    }
}

impl Fail {
    fn rings(&self) -> Vec<(usize, f64)> {
        self.nodes.iter().flat_map(|&nodes| self.dead.iter().map(move |&dead| (nodes, dead))).collect()
    }

    fn measure(&self, run: &Run, nodes: usize, dead: f64) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let patience = self.common.protocol.lookup_patience();
        let lookups = Lookups { count: self.lookups, target: self.target, patience, asking: None, at_once: true };
        kill(&mut world, dead);
        forbid_repair(&mut world);
        if let Some(notice) = self.common.network.links_notice.0 {
            pass(&mut world, run, notice + crate::engine::TICK);
        }
        let before = look_up(&mut world, run, &lookups);
        allow_repair(&mut world);
        let began = world.now();
        let repaired = until_correct(&mut world, run, self.common.limit);
        let repaired_after = repaired.map(|at| at.saturating_sub(Duration::from_micros(began.0)).as_secs_f64());
        let after = look_up(&mut world, run, &lookups);
        Ok(Some(Measured { nodes, dead, before, repaired_after, after }))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report = Report::new("A share of all nodes dies at one moment").with_columns(&[
            ("nodes", "", 0),
            ("dead", "%", 0),
            ("delivered-before", "%", 3),
            ("mean-before", "hops", 3),
            ("p99-before", "hops", 0),
            ("answer-before", "s, mean", 3),
            ("repaired-after", "s", 1),
            ("delivered-after", "%", 3),
            ("mean-after", "hops", 3),
        ]);
        for ring in &mut measured {
            report.row([
                ring.nodes.into(),
                (100.0 * ring.dead).into(),
                ring.before.delivered().map(|share| 100.0 * share).into(),
                ring.before.hops.mean().into(),
                ring.before.hops.quantile(0.99).into(),
                ring.before.seconds.mean().into(),
                ring.repaired_after.into(),
                ring.after.delivered().map(|share| 100.0 * share).into(),
                ring.after.hops.mean().into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.delivered(&measured)));
        report.figures.push(Figure::Plot(self.hops(&measured)));
        report
    }

    fn delivered(&self, measured: &[Measured]) -> Plot {
        let series = self.nodes.iter().map(|&nodes| {
            let rings = measured.iter().filter(|ring| ring.nodes == nodes);
            let points = rings.filter_map(|ring| Some((100.0 * ring.dead, 100.0 * ring.before.delivered()?)));
            Series::new(format!("Atoll, {nodes} nodes, before repair"), Style::Measured, points)
        });
        Plot {
            name: "delivered".to_owned(),
            title: "Lookups that name the right owner".to_owned(),
            x: Axis::linear("nodes that died (%)"),
            y: Axis::linear("delivered (%)"),
            series: series.collect(),
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

/// From now on only lookups and signs of life get through: nodes know which of their links are dead, and can do nothing about it.
fn forbid_repair(world: &mut World) {
    world.server_up = false;
    world.sabotage = Some(Box::new(|_, frame| {
        !matches!(frame.header.kind, kind::FIND | kind::FOUND | kind::UNREACHABLE | kind::PING | kind::PONG)
    }));
}

fn allow_repair(world: &mut World) {
    world.server_up = true;
    world.sabotage = None;
}

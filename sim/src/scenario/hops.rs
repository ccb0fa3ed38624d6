//! How long the ways of lookups are, against the size of the ring and the budget of links.

use anyhow::Result;

use super::lookups::{Lookups, Outcome, Target, look_up};
use super::ring::{Growth, Recipe};
use super::{Run, Scenario};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory;

/// How long the ways of lookups are, against the size of the ring and the budget of links.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim hops --nodes 1000,10000,100000 --links 16,64 --plot hops.svg")]
pub struct Hops {
    /// Sizes of the rings.
    #[arg(long, default_value = "100,316,1000", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Budgets of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_delimiter = ',', value_parser = values::count)]
    pub(super) links: Vec<usize>,
    /// Lookups of random keys by random nodes, on each ring.
    #[arg(long, default_value = "10000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring, measured.
struct Measured {
    nodes: usize,
    links: usize,
    links_held: f64,
    outcome: Outcome,
}

impl Scenario for Hops {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &self.links)
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|(nodes, _)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|(nodes, _)| (nodes + self.lookups) as u64).sum());
        let measured = run.each(&rings, |&(nodes, links)| self.measure(run, nodes, links))?;
        Ok(self.report(measured))
    }
}

impl Hops {
    fn rings(&self) -> Vec<(usize, usize)> {
        self.nodes.iter().flat_map(|&nodes| self.links.iter().map(move |&links| (nodes, links))).collect()
    }

    /// `None`: the run was stopped before anything was measured on this ring.
    fn measure(&self, run: &Run, nodes: usize, links: usize) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, links, self.growth, &self.common);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let held: usize = world.nodes.iter().map(|node| node.proto.links_in_use()).sum();
        let outcome = {
            let (count, patience) = (self.lookups, self.common.protocol.lookup_patience());
            let lookups = Lookups { count, target: Target::Keys, patience, asking: None, at_once: false };
            look_up(&mut world, run, &lookups)
        };
        Ok(Some(Measured { nodes, links, links_held: held as f64 / nodes as f64, outcome }))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report =
            Report::new("Path length against the size of the ring and the budget of links").with_columns(&[
                ("nodes", "", 0),
                ("links", "budget", 0),
                ("held", "links", 1),
                ("lookups", "", 0),
                ("delivered", "%", 3),
                ("mean", "hops", 3),
                ("p50", "hops", 0),
                ("p99", "hops", 0),
                ("max", "hops", 0),
                ("moore", "hops", 2),
                ("chord", "hops", 2),
            ]);
        for Measured { nodes, links, links_held, outcome } in &mut measured {
            report.row([
                (*nodes).into(),
                (*links).into(),
                (*links_held).into(),
                outcome.begun.into(),
                outcome.delivered().map(|share| 100.0 * share).into(),
                outcome.hops.mean().into(),
                outcome.hops.quantile(0.5).into(),
                outcome.hops.quantile(0.99).into(),
                outcome.hops.max().into(),
                theory::moore_hops(*nodes as f64, *links as f64).into(),
                theory::chord_hops(*nodes as f64).into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.plot(&measured)));
        report
    }

    fn plot(&self, measured: &[Measured]) -> Plot {
        let mut series = Vec::new();
        for &links in &self.links {
            let points = measured.iter().filter(|ring| ring.links == links);
            let points = points.filter_map(|ring| Some((ring.nodes as f64, ring.outcome.hops.mean()?)));
            series.push(Series::new(format!("Atoll, {links} links"), Style::Measured, points));
        }
        let sizes = || self.nodes.iter().map(|&nodes| nodes as f64);
        let range = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
        for &links in &self.links {
            let bound = |nodes| theory::moore_hops(nodes, links as f64);
            series.push(Series::formula(format!("Moore's bound, {links} links"), range, true, bound));
        }
        series.push(Series::formula("Chord: half log2 N (2001)", range, true, theory::chord_hops));
        Plot {
            name: "hops".to_owned(),
            title: "Mean path length of lookups".to_owned(),
            x: Axis::logarithmic("size of the ring (nodes)"),
            y: Axis::linear("mean path length (hops)"),
            series,
        }
    }
}

//! Nodes that join, all at once or one by one: how long it takes, and how much is said, until the ring is correct.

use anyhow::Result;

use super::ring::{Growth, Recipe};
use super::{Run, Scenario};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// How long it takes until nodes that join are one correct ring.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim join --nodes 1000,10000 --growth at-once,doubling:10s")]
pub struct Join {
    /// Sizes of the rings.
    #[arg(long, default_value = "32,100,316,1000", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// In what order nodes join: at-once, every:100ms, doubling:10s.
    #[arg(long, default_value = "at-once,every:100ms", value_name = "GROWTH", value_delimiter = ',')]
    pub(super) growth: Vec<Growth>,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring that grew.
struct Measured {
    nodes: usize,
    growth: Growth,
    correct_after: Option<f64>,
    last_start: f64,
    frames: f64,
    signals: f64,
    opened: f64,
}

impl Scenario for Join {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &[self.links])
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|(nodes, _)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|(nodes, _)| *nodes as u64).sum());
        let measured = run.each(&rings, |&(nodes, growth)| Ok(self.measure(run, nodes, growth)))?;
        Ok(self.report(&measured))
    }
}

impl Join {
    fn rings(&self) -> Vec<(usize, Growth)> {
        self.nodes.iter().flat_map(|&nodes| self.growth.iter().map(move |&growth| (nodes, growth))).collect()
    }

    fn measure(&self, run: &Run, nodes: usize, growth: Growth) -> Option<Measured> {
        let recipe = Recipe::new(nodes, self.links, growth, &self.common);
        let ring = recipe.build(run)?;
        let counts = ring.world.counts();
        let each = |count: u64| count as f64 / nodes as f64;
        Some(Measured {
            nodes,
            growth,
            correct_after: ring.correct_after.map(|after| after.as_secs_f64()),
            last_start: ring.last_start.as_secs_f64(),
            frames: each(counts.frames),
            signals: each(counts.signals),
            opened: each(counts.links),
        })
    }

    fn report(&self, measured: &[Measured]) -> Report {
        let mut report = Report::new("Joining: until every predecessor and successor list is exactly right")
            .with_columns(&[
                ("nodes", "", 0),
                ("growth", "", 0),
                ("last-start", "s", 1),
                ("correct-after", "s", 1),
                ("wait", "s", 1),
                ("frames", "a node", 1),
                ("signalling", "messages a node", 2),
                ("links-opened", "a node", 2),
            ]);
        for ring in measured {
            report.row([
                ring.nodes.into(),
                ring.growth.to_string().into(),
                ring.last_start.into(),
                ring.correct_after.into(),
                ring.correct_after.map(|after| after - ring.last_start).into(),
                ring.frames.into(),
                ring.signals.into(),
                ring.opened.into(),
            ]);
        }
        let late = measured.iter().filter(|ring| ring.correct_after.is_none()).count();
        if late > 0 {
            report.notes.push(format!("{late} of {} rings were not correct within --limit", measured.len()));
        }
        report.figures.push(Figure::Plot(self.plot(measured)));
        report
    }

    fn plot(&self, measured: &[Measured]) -> Plot {
        let series = self.growth.iter().map(|&growth| {
            let rings = measured.iter().filter(|ring| ring.growth == growth);
            let points = rings.filter_map(|ring| Some((ring.nodes as f64, ring.correct_after? - ring.last_start)));
            Series::new(growth.to_string(), Style::Measured, points)
        });
        Plot {
            name: "wait".to_owned(),
            title: "From the last start to a correct ring".to_owned(),
            x: Axis::logarithmic("size of the ring (nodes)"),
            y: Axis::linear("virtual time (s)"),
            series: series.collect(),
        }
    }
}

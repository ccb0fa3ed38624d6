//! Nodes that drop what they should forward: how many lookups come through all the same.

use std::collections::BTreeSet;

use anyhow::Result;
use atoll::wire::kind;

use super::damage::choose;
use super::lookups::{Lookups, Outcome, Target, look_up};
use super::ring::{Growth, Recipe};
use super::{Run, Scenario};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory;

/// How many lookups come through though a share of the nodes drops what it should forward.
///
/// The attackers take part in the ring as everybody does, answer for the keys that they own, and drop lookups and answers of others.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim attack --nodes 10000 --attackers 0.1 --lookup-tries 8")]
pub struct Attack {
    /// Sizes of the rings.
    #[arg(long, default_value = "300", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Shares of the nodes that attack.
    #[arg(long, default_value = "0,0.1,0.2,0.3", value_name = "SHARE", value_delimiter = ',', value_parser = values::share)]
    pub(super) attackers: Vec<f64>,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// Lookups of random nodes by random nodes that do not attack.
    #[arg(long, default_value = "5000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring with attackers.
struct Measured {
    nodes: usize,
    attackers: f64,
    outcome: Outcome,
}

impl Scenario for Attack {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &[self.links])?;
        match self.attackers.iter().find(|&&share| share >= 1.0) {
            Some(_) => Err(Wrong::new("attackers", "somebody must be honest to look anything up: write less than 1")),
            None => Ok(()),
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|(nodes, _)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|(nodes, _)| (nodes + self.lookups) as u64).sum());
        let measured = run.each(&rings, |&(nodes, attackers)| self.measure(run, nodes, attackers))?;
        Ok(self.report(measured))
    }
}

impl Attack {
    fn rings(&self) -> Vec<(usize, f64)> {
        self.nodes.iter().flat_map(|&nodes| self.attackers.iter().map(move |&share| (nodes, share))).collect()
    }

    fn measure(&self, run: &Run, nodes: usize, attackers: f64) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let attacking = choose(&mut world, attackers);
        let ids: BTreeSet<_> = attacking.iter().map(|&at| world.nodes[at].proto.id()).collect();
        let honest: Vec<usize> = world.running().filter(|at| !attacking.contains(at)).collect();
        world.sabotage = Some(Box::new(move |at, frame| {
            let of_others = !ids.contains(&frame.header.src);
            of_others && matches!(frame.header.kind, kind::FIND | kind::FOUND) && attacking.contains(&at)
        }));
        let patience = self.common.protocol.lookup_patience();
        let (count, asking) = (self.lookups, Some(honest.as_slice()));
        let lookups = Lookups { count, target: Target::Nodes, patience, asking, at_once: false };
        let outcome = look_up(&mut world, run, &lookups);
        Ok(Some(Measured { nodes, attackers, outcome }))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report = Report::new("Nodes that drop what they should forward").with_columns(&[
            ("nodes", "", 0),
            ("attackers", "%", 0),
            ("tries", "at most", 0),
            ("lookups", "", 0),
            ("delivered", "%", 3),
            ("mean", "hops", 3),
            ("p50", "s", 3),
            ("p99", "s", 3),
        ]);
        let tries = self.common.protocol.lookup_tries;
        for Measured { nodes, attackers, outcome } in &mut measured {
            report.row([
                (*nodes).into(),
                (100.0 * *attackers).into(),
                u64::from(tries).into(),
                outcome.begun.into(),
                outcome.delivered().map(|share| 100.0 * share).into(),
                outcome.hops.mean().into(),
                outcome.seconds.quantile(0.5).into(),
                outcome.seconds.quantile(0.99).into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.plot(&measured)));
        report
    }

    fn plot(&self, measured: &[Measured]) -> Plot {
        let tries = u32::from(self.common.protocol.lookup_tries);
        let mut series = Vec::new();
        for &nodes in &self.nodes {
            let rings = || measured.iter().filter(move |ring| ring.nodes == nodes);
            let points = rings().filter_map(|ring| Some((100.0 * ring.attackers, 100.0 * ring.outcome.delivered()?)));
            series.push(Series::new(format!("Atoll, {nodes} nodes"), Style::Measured, points));
            // There and back: both ways go by as many nodes.
            let hops =
                rings().filter_map(|ring| ring.outcome.hops.mean()).reduce(f64::max).map(|hops| 2.0 * hops - 1.0);
            let range = (0.0, self.attackers.iter().copied().fold(0.0, f64::max) * 100.0);
            if let Some(hops) = hops {
                let delivered = |percent| 100.0 * theory::delivered_despite_droppers(percent / 100.0, hops, tries);
                let name = format!("{tries} tries by independent ways, {nodes} nodes");
                series.push(Series::formula(name, range, false, delivered));
            }
        }
        Plot {
            name: "delivered".to_owned(),
            title: format!("Lookups that come through, at most {tries} tries"),
            x: Axis::linear("nodes that drop (%)"),
            y: Axis::linear("delivered (%)"),
            series,
        }
    }
}

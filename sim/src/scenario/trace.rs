//! Every event of one lookup, in the order of time.

use std::time::Duration;

use anyhow::{Result, bail};
use atoll::id::Id;

use super::damage::kill;
use super::journey::{Journey, follow};
use super::ring::{Growth, Recipe, pass};
use super::{Run, Scenario};
use crate::output::{Cell, Report};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// Every event of one lookup.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim trace --nodes 1000 --seed 7 --dead 0.3")]
pub struct Trace {
    /// Size of the ring.
    #[arg(long, default_value = "200", value_name = "NODES", value_parser = values::count)]
    pub(super) nodes: usize,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// The key, as twelve hexadecimal digits; without this, a random one.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<Id>,
    /// The share of nodes that dies just before the lookup.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub(super) dead: f64,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Scenario for Trace {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&[self.nodes], &[self.links])?;
        if self.dead >= 1.0 {
            return Err(Wrong::new("dead", "somebody must survive to look the key up: write less than 1"));
        }
        Ok(())
    }

    fn sizes(&self) -> Vec<usize> {
        vec![self.nodes]
    }

    fn run(&self, run: &Run) -> Result<Report> {
        run.progress.expect(self.nodes as u64);
        let recipe = Recipe::new(self.nodes, self.links, self.growth, &self.common);
        let mut report = Report::new("Every event of one lookup").with_columns(&[
            ("after", "ms", 1),
            ("node", "", 0),
            ("event", "", 0),
            ("hops-left", "", 0),
            ("dead-ends", "nodes on the trail", 0),
        ]);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(report) };
        kill(&mut world, self.dead);
        if let Some(notice) = world.network.links_notice {
            pass(&mut world, run, notice + crate::engine::TICK);
        }
        let key = self.key.unwrap_or_else(|| Id::random(world.rng()));
        let Some(from) = world.random_node() else { bail!("nobody survived to look the key up") };
        let journey = follow(&mut world, from, key, recipe.patience());
        report.title = title(&journey);
        tell(&journey, &mut report);
        Ok(report)
    }
}

pub(super) fn title(journey: &Journey) -> String {
    let Journey { from, key, answer, .. } = journey;
    match answer {
        Some((after, owner)) => {
            let hops = journey.path().len().saturating_sub(1);
            let ms = milliseconds(*after);
            format!("{from} looks up {key}: {owner} owns it, {hops} hops away, and has answered after {ms:.1} ms")
        }
        None => format!("{from} looks up {key}: no answer"),
    }
}

fn tell(journey: &Journey, report: &mut Report) {
    let mut asked = 0;
    let mut answered = false;
    for step in &journey.steps {
        let event = match step.back {
            false if step.is_try() => {
                asked += 1;
                if asked == 1 { "asks" } else { "asks again" }
            }
            false => "forwards the question",
            true if !answered => {
                answered = true;
                "owns the key, and answers"
            }
            true => "forwards the answer",
        };
        report.row([
            milliseconds(step.after).into(),
            step.node.to_string().into(),
            event.into(),
            u64::from(step.ttl).into(),
            step.trail.into(),
        ]);
    }
    let (after, event) = match journey.answer {
        Some((after, _)) => (milliseconds(after).into(), "has its answer"),
        None => (Cell::Missing, "gives up"),
    };
    report.row([after, journey.from.to_string().into(), event.into(), Cell::Missing, Cell::Missing]);
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

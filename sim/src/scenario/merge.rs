//! One network falls apart into two rings, and the two meet again.

use std::time::Duration;

use anyhow::Result;
use atoll::proto::Proto;

use super::damage::choose;
use super::lookups::{Lookups, Target, look_up};
use super::ring::{Growth, Recipe, SLICE, pass, until_correct};
use super::{Run, Scenario};
use crate::engine::World;
use crate::output::Report;
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// How long two rings that meet take to become one.
///
/// A ring is cut in two by a partition: nodes of different parts cannot reach each other, and only one part reaches the signalling
/// server. Each part becomes a ring of its own. Then the partition ends.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim merge --nodes 1000 --share 0.5 --apart 5min")]
pub struct Merge {
    /// Sizes of the networks, both parts together.
    #[arg(long, default_value = "100,300", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Shares of the nodes that are cut off from the signalling server and from the others.
    #[arg(long, default_value = "0.1,0.5", value_name = "SHARE", value_delimiter = ',', value_parser = values::share)]
    pub(super) share: Vec<f64>,
    /// Virtual time that the parts stay apart at least; they meet when each is a correct ring.
    #[arg(long, default_value = "60s", value_name = "WAIT", value_parser = values::wait)]
    pub(super) apart: Duration,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// Lookups of random keys by random nodes, once the rings are one.
    #[arg(long, default_value = "2000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One network that fell apart.
struct Measured {
    nodes: usize,
    share: f64,
    /// Virtual seconds until both parts were correct rings; `None`: they were not within the limit.
    two_after: Option<f64>,
    /// Virtual seconds from the end of the partition until there was one correct ring.
    one_after: Option<f64>,
    frames: f64,
    opened: f64,
    delivered: Option<f64>,
}

impl Scenario for Merge {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &[self.links])
    }

    fn sizes(&self) -> Vec<usize> {
        self.networks().into_iter().map(|(nodes, _)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let networks = self.networks();
        run.progress.expect(networks.iter().map(|(nodes, _)| (nodes + self.lookups) as u64).sum());
        let measured = run.each(&networks, |&(nodes, share)| self.measure(run, nodes, share))?;
        Ok(self.report(&measured))
    }
}

impl Merge {
    fn networks(&self) -> Vec<(usize, f64)> {
        self.nodes.iter().flat_map(|&nodes| self.share.iter().map(move |&share| (nodes, share))).collect()
    }

    fn measure(&self, run: &Run, nodes: usize, share: f64) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        for at in choose(&mut world, share) {
            world.nodes[at].group = 1;
        }
        let two_after = self.until_two(&mut world, run);
        if run.progress.is_stopped() {
            return Ok(None);
        }
        let (met, before) = (world.now(), world.counts());
        world.nodes.iter_mut().for_each(|node| node.group = 0);
        let one = until_correct(&mut world, run, self.common.limit);
        let one_after = one.map(|at| at.saturating_sub(Duration::from_micros(met.0)).as_secs_f64());
        let each = |count: u64| count as f64 / nodes as f64;
        let (frames, opened) = (each(world.counts().frames - before.frames), each(world.counts().links - before.links));
        let outcome = {
            let (count, patience) = (self.lookups, recipe.patience());
            let lookups = Lookups { count, target: Target::Keys, patience, asking: None, at_once: false };
            look_up(&mut world, run, &lookups)
        };
        Ok(Some(Measured { nodes, share, two_after, one_after, frames, opened, delivered: outcome.delivered() }))
    }

    /// Waits until both parts are correct rings, and as long as they are to stay apart.
    fn until_two(&self, world: &mut World, run: &Run) -> Option<f64> {
        let began = world.now();
        let mut two_after = None;
        while !run.progress.is_stopped() {
            let apart = world.now().since(began);
            if two_after.is_none() && is_correct(world, 0) && is_correct(world, 1) {
                two_after = Some(apart.as_secs_f64());
            }
            if apart >= self.common.limit || (two_after.is_some() && apart >= self.apart) {
                break;
            }
            pass(world, run, SLICE * 5);
        }
        two_after
    }

    fn report(&self, measured: &[Measured]) -> Report {
        let mut report = Report::new("Two rings that meet").with_columns(&[
            ("nodes", "", 0),
            ("cut-off", "%", 0),
            ("two-rings-after", "s", 1),
            ("one-ring-after", "s", 1),
            ("frames", "a node", 1),
            ("links-opened", "a node", 2),
            ("delivered", "%", 3),
        ]);
        for network in measured {
            report.row([
                network.nodes.into(),
                (100.0 * network.share).into(),
                network.two_after.into(),
                network.one_after.into(),
                network.frames.into(),
                network.opened.into(),
                network.delivered.map(|share| 100.0 * share).into(),
            ]);
        }
        report
    }
}

/// Whether the members of one part are a correct ring of their own.
fn is_correct(world: &World, group: u8) -> bool {
    let of_group = world.nodes.iter().filter(|node| node.group == group && node.is_running());
    let mut members: Vec<&Proto> = of_group.map(|node| &node.proto).collect();
    members.sort_unstable_by_key(|member| member.id());
    let count = members.len();
    members.iter().enumerate().all(|(at, member)| {
        let length = member.config().successors.min(count - 1);
        let after = (1..=length).map(|step| members[(at + step) % count].id());
        after.eq(member.successors().iter().copied())
    })
}

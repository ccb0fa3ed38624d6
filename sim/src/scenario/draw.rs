//! The ring with its links and the way of one lookup, as SVG.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use atoll::id::Id;

use super::journey::follow;
use super::ring::{Growth, Recipe};
use super::trace::title;
use super::{Run, Scenario};
use crate::engine::World;
use crate::output::ring::Drawing;
use crate::output::{Figure, Report};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// Draws the ring with its links and the way of one lookup. Without --plot the SVG goes to standard output.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim draw --nodes 64 --links 8 --plot ring.svg")]
pub struct Draw {
    /// Size of the ring.
    #[arg(long, default_value = "48", value_name = "NODES", value_parser = values::count)]
    pub(super) nodes: usize,
    /// Budget of links.
    #[arg(long, default_value = "8", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// The key, as twelve hexadecimal digits; without this, the point opposite to the node that asks.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<Id>,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Scenario for Draw {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&[self.nodes], &[self.links])
    }

    fn sizes(&self) -> Vec<usize> {
        vec![self.nodes]
    }

    fn run(&self, run: &Run) -> Result<Report> {
        run.progress.expect(self.nodes as u64);
        let recipe = Recipe::new(self.nodes, self.links, self.growth, &self.common);
        let mut report = Report::new("A ring").with_columns(&[("hop", "", 0), ("node", "", 0)]);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(report) };
        let Some(from) = world.random_node() else { bail!("there is nobody to look the key up") };
        let key = self.key.unwrap_or_else(|| world.nodes[from].proto.id().plus(1 << (Id::BITS - 1)));
        let journey = follow(&mut world, from, key, recipe.patience());
        report.title = title(&journey);
        for (hop, node) in journey.path().iter().enumerate() {
            report.row([hop.into(), node.to_string().into()]);
        }
        let links = links(&world);
        let (nodes, count) = (self.nodes, links.len());
        let drawing = Drawing {
            caption: format!(
                "{nodes} nodes, {count} links; a lookup takes {} hops",
                journey.path().len().saturating_sub(1)
            ),
            nodes: world.nodes.iter().map(|node| node.proto.id()).collect(),
            links: links.into_iter().collect(),
            path: journey.path(),
            key: Some(key),
        };
        report.figures.push(Figure::Drawing { name: "ring".to_owned(), svg: drawing.to_svg() });
        Ok(report)
    }
}

/// Every link once.
fn links(world: &World) -> BTreeSet<(Id, Id)> {
    let of = |node: &crate::engine::Node| {
        let me = node.proto.id();
        node.proto.peers().map(move |peer| (me.min(peer.id), me.max(peer.id))).collect::<Vec<_>>()
    };
    world.nodes.iter().filter(|node| node.is_member()).flat_map(of).collect()
}

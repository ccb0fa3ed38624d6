//! How long the ways of lookups are, against the size of the ring and the budget of links.

use anyhow::Result;
use atoll::proto::{Config, Placement, Routing};

use super::lookups::{Lookups, Outcome, Target, look_up};
use super::ring::{Growth, Recipe};
use super::{Run, Scenario};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory::{self, Ingredients};

/// How long the ways of lookups are, against the size of the ring and the budget of links.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sim hops --nodes 1000,10000,100000 --links 16,64 --plot hops.svg\n  sim hops --nodes 1000 --ablation"
)]
pub struct Hops {
    /// Sizes of the rings.
    #[arg(long, default_value = "100,316,1000", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Budgets of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_delimiter = ',', value_parser = values::count)]
    pub(super) links: Vec<usize>,
    /// Lookups by random nodes, on each ring.
    #[arg(long, default_value = "10000", value_name = "LOOKUPS", value_parser = values::count)]
    pub(super) lookups: usize,
    /// What is looked up: other nodes, as messages are sent to, or keys, each of which is found through the node before its owner.
    #[arg(long, default_value = "nodes", value_enum, value_name = "TARGET")]
    pub(super) target: Target,
    /// Whether to measure each ingredient of routing alone, too, with the figures of the design beside.
    #[arg(long, default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, value_name = "YES", action = clap::ArgAction::Set)]
    pub(super) ablation: bool,
    /// In what order nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring, measured.
struct Measured {
    ring: Ring,
    links_held: f64,
    /// Bytes of the node and its surroundings, and of events that wait.
    bytes: f64,
    outcome: Outcome,
}

/// One ring to measure.
#[derive(Clone, Copy, Debug)]
struct Ring {
    nodes: usize,
    links: usize,
    ingredients: Ingredients,
}

impl Scenario for Hops {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&self.nodes, &self.links)
    }

    fn sizes(&self) -> Vec<usize> {
        self.rings().into_iter().map(|ring| ring.nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|ring| (ring.nodes + self.lookups) as u64).sum());
        let measured = run.each(&rings, |&ring| self.measure(run, ring))?;
        Ok(self.report(measured))
    }
}

impl Hops {
    fn rings(&self) -> Vec<Ring> {
        let kinds: &[Ingredients] = if self.ablation { &Ingredients::EACH } else { &[Ingredients::All] };
        let mut rings = Vec::new();
        for &nodes in &self.nodes {
            for &ingredients in kinds {
                // Chord has no budget.
                let budgets = if ingredients == Ingredients::Chord { &self.links[..1] } else { &self.links };
                rings.extend(budgets.iter().map(|&links| Ring { nodes, links, ingredients }));
            }
        }
        rings
    }

    /// `None`: the run was stopped before anything was measured on this ring.
    fn measure(&self, run: &Run, ring: Ring) -> Result<Option<Measured>> {
        let nodes = ring.nodes as f64;
        let recipe = match ring.ingredients {
            Ingredients::Chord => {
                let recipe = Recipe::classic(ring.nodes, self.growth, &self.common);
                let [mut config, _] = recipe.configs().map(Config::clone);
                // Its list of 20 would shorten the ways: here it has what a ring needs.
                (config.successors, config.linked_successors) = (2, 2);
                recipe.with_config(config)
            }
            ingredients => {
                let recipe = Recipe::new(ring.nodes, ring.links, self.growth, &self.common);
                let configs = recipe.configs().map(|config| leave_out(config.clone(), ingredients));
                recipe.with_configs(configs)
            }
        };
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let held: usize = world.nodes.iter().map(|node| node.proto.links_in_use()).sum();
        let (of_nodes, of_events) = world.memory();
        let outcome = {
            let (count, target, patience) = (self.lookups, self.target, recipe.patience());
            look_up(&mut world, run, &Lookups { count, target, patience, asking: None, at_once: false })
        };
        let bytes = (of_nodes + of_events) as f64 / nodes;
        Ok(Some(Measured { ring, links_held: held as f64 / nodes, bytes, outcome }))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report =
            Report::new("Path length against the size of the ring and the budget of links").with_columns(&[
                ("nodes", "", 0),
                ("routing", "", 0),
                ("links", "budget", 0),
                ("held", "links", 1),
                ("memory", "B a node", 0),
                ("lookups", "", 0),
                ("delivered", "%", 3),
                ("mean", "hops", 3),
                ("design", "hops", 2),
                ("p50", "hops", 0),
                ("p99", "hops", 0),
                ("max", "hops", 0),
                ("moore", "hops", 2),
                ("chord", "hops", 2),
            ]);
        let rich = self.common.protocol.rich_share;
        for Measured { ring: Ring { nodes, links, ingredients }, links_held, bytes, outcome } in &mut measured {
            let capped = *ingredients != Ingredients::Chord;
            report.row([
                (*nodes).into(),
                ingredients.name().into(),
                capped.then_some(*links).into(),
                (*links_held).into(),
                (*bytes).into(),
                outcome.begun.into(),
                outcome.delivered().map(|share| 100.0 * share).into(),
                outcome.hops.mean().into(),
                (*links == 16).then(|| theory::design_hops(*ingredients, rich, *nodes)).flatten().into(),
                outcome.hops.quantile(0.5).into(),
                outcome.hops.quantile(0.99).into(),
                outcome.hops.max().into(),
                capped.then(|| theory::moore_hops(*nodes as f64, *links as f64)).into(),
                theory::chord_hops(*nodes as f64).into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.plot(&measured)));
        report
    }

    fn plot(&self, measured: &[Measured]) -> Plot {
        let mut series = Vec::new();
        let mut kinds: Vec<(Ingredients, usize)> = Vec::new();
        for kind in self.rings().iter().map(|ring| (ring.ingredients, ring.links)) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for (ingredients, links) in kinds {
            let points = measured.iter().filter(|one| (one.ring.ingredients, one.ring.links) == (ingredients, links));
            let points = points.filter_map(|one| Some((one.ring.nodes as f64, one.outcome.hops.mean()?)));
            let name = match ingredients {
                Ingredients::All => format!("Atoll, {links} links"),
                Ingredients::Chord => ingredients.name().to_owned(),
                _ => format!("{}, {links} links", ingredients.name()),
            };
            series.push(Series::new(name, Style::Measured, points));
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

/// The settings without what does not belong to these ingredients.
fn leave_out(mut config: Config, ingredients: Ingredients) -> Config {
    match ingredients {
        Ingredients::Deterministic => {
            config.placement = Placement::FixedPoint;
            config.routing = Routing::Clockwise;
            config.lookahead = false;
        }
        Ingredients::RandomMembers => config.lookahead = false,
        Ingredients::All | Ingredients::Chord => {}
    }
    config
}

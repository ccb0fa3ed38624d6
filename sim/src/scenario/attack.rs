//! Nodes that drop what they should forward, or send it astray: how many lookups come through all the same.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use atoll::id::Id;
use atoll::wire::kind;

use super::damage::choose;
use super::lookups::{Lookups, Outcome, Target, look_up};
use super::ring::{Growth, Recipe};
use super::{Run, Scenario};
use crate::engine::{Fate, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory;

/// What an attacker does with the frames that it should forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Misdeed {
    /// It drops them.
    Drop,
    /// It sends them to another of its neighbours, drawn at random.
    Misroute,
}

impl Misdeed {
    fn name(self) -> &'static str {
        match self {
            Misdeed::Drop => "drop",
            Misdeed::Misroute => "misroute",
        }
    }

    fn fate(self) -> Fate {
        match self {
            Misdeed::Drop => Fate::Dropped,
            Misdeed::Misroute => Fate::Astray,
        }
    }
}

/// How many lookups come through though a share of the nodes drops what it should forward, or sends it astray.
///
/// The attackers take part in the ring as everybody does, answer for the keys that they own, and mistreat all that others send over
/// the ring.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim attack --nodes 10000 --attackers 0.1 --lookup-tries 8 --misdeed drop,misroute")]
pub struct Attack {
    /// Sizes of the rings.
    #[arg(long, default_value = "300", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Shares of the nodes that attack.
    #[arg(long, default_value = "0,0.1,0.2,0.3", value_name = "SHARE", value_delimiter = ',', value_parser = values::share)]
    pub(super) attackers: Vec<f64>,
    /// What they do with what they should forward.
    #[arg(long, default_value = "drop", value_enum, value_name = "MISDEED", value_delimiter = ',')]
    pub(super) misdeed: Vec<Misdeed>,
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
    misdeed: Misdeed,
    outcome: Outcome,
    /// Lookups whose question came to the owner in one of its tries.
    reached: usize,
}

impl Measured {
    fn reached(&self) -> Option<f64> {
        (self.outcome.begun > 0).then(|| 100.0 * self.reached as f64 / self.outcome.begun as f64)
    }
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
        self.rings().into_iter().map(|(nodes, ..)| nodes).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let rings = self.rings();
        run.progress.expect(rings.iter().map(|(nodes, ..)| (nodes + self.lookups) as u64).sum());
        let measured = run.each(&rings, |&ring| self.measure(run, ring))?;
        Ok(self.report(measured))
    }
}

impl Attack {
    fn rings(&self) -> Vec<(usize, f64, Misdeed)> {
        let of_share = |nodes, share| self.misdeed.iter().map(move |&misdeed| (nodes, share, misdeed));
        let of_size = |&nodes: &usize| self.attackers.iter().flat_map(move |&share| of_share(nodes, share));
        self.nodes.iter().flat_map(of_size).collect()
    }

    fn measure(&self, run: &Run, (nodes, attackers, misdeed): (usize, f64, Misdeed)) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        let attacking = choose(&mut world, attackers);
        let honest: Vec<usize> = world.running().filter(|at| !attacking.contains(at)).collect();
        let answered = attack(&mut world, attacking, misdeed);
        let (count, patience, asking) = (self.lookups, recipe.patience(), Some(honest.as_slice()));
        let lookups = Lookups { count, target: Target::Nodes, patience, asking, at_once: false };
        let outcome = look_up(&mut world, run, &lookups);
        world.sabotage = None;
        let was_answered = |question: &&(Id, Id)| answered.lock().is_ok_and(|answered| answered.contains(question));
        let reached = outcome.questions.iter().filter(was_answered).count();
        Ok(Some(Measured { nodes, attackers, misdeed, outcome, reached }))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report = Report::new("Nodes that drop what they should forward, or send it astray").with_columns(&[
            ("nodes", "", 0),
            ("attackers", "%", 0),
            ("misdeed", "", 0),
            ("tries", "at most", 0),
            ("lookups", "", 0),
            ("reached", "%", 3),
            ("answered", "%", 3),
            ("mean", "hops", 3),
            ("p50", "s", 3),
            ("p99", "s", 3),
        ]);
        let tries = self.common.protocol.lookup_tries;
        for ring in &mut measured {
            let reached = ring.reached();
            let Measured { nodes, attackers, misdeed, outcome, .. } = ring;
            report.row([
                (*nodes).into(),
                (100.0 * *attackers).into(),
                misdeed.name().into(),
                u64::from(tries).into(),
                outcome.begun.into(),
                reached.into(),
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
            for &misdeed in &self.misdeed {
                let rings = || measured.iter().filter(|ring| (ring.nodes, ring.misdeed) == (nodes, misdeed));
                let reached = rings().filter_map(|ring| Some((100.0 * ring.attackers, ring.reached()?)));
                let answered =
                    rings().filter_map(|ring| Some((100.0 * ring.attackers, 100.0 * ring.outcome.delivered()?)));
                let of = format!("{nodes} nodes, {}", misdeed.name());
                series.push(Series::new(format!("reached, {of}"), Style::Measured, reached));
                series.push(Series::new(format!("answered, {of}"), Style::Measured, answered));
            }
            let rings = || measured.iter().filter(|ring| ring.nodes == nodes);
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
            x: Axis::linear("nodes that attack (%)"),
            y: Axis::linear("delivered (%)"),
            series,
        }
    }
}

/// Has these nodes mistreat what they should forward. Gives who was answered by whom: an answer that leaves the owner shows that the
/// question has come to it, whatever becomes of the answer.
fn attack(world: &mut World, attacking: BTreeSet<usize>, misdeed: Misdeed) -> Arc<Mutex<BTreeSet<(Id, Id)>>> {
    let ids: Vec<Id> = world.nodes.iter().map(|node| node.proto.id()).collect();
    let answered = Arc::new(Mutex::new(BTreeSet::new()));
    let told = Arc::clone(&answered);
    world.sabotage = Some(Box::new(move |at, frame| {
        let header = &frame.header;
        let own = ids.get(at) == Some(&header.src);
        if own
            && header.kind == kind::FOUND
            && let Ok(mut told) = told.lock()
        {
            told.insert((header.dst, header.src));
        }
        if !own && header.kind >= kind::FIRST_ROUTED && attacking.contains(&at) { misdeed.fate() } else { Fate::Goes }
    }));
    answered
}
